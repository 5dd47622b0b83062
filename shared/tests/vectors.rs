//! The public vectors, all of them, against the verifier that tokens go through.

mod forge;

use countersign_claims::{Alg, Keyring, Reject, Signature, VerifyingKey};
use jwt_compact::Algorithm;
use serde_json::Value;

fn vectors(name: &str) -> Value {
    // Asked when it runs: a checkout that was copied or moved has its own.
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let path = format!("{folder}/tests/vectors/{name}");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

fn verifies(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let (Ok(key), Ok(signature)) = (key.try_into(), signature.try_into()) else { return false };
    let Ok(key) = VerifyingKey::from_bytes(key) else { return false };
    let plain = Alg::EdDsa.verify_signature(&Signature(signature), &key, message);
    key.prepare();
    assert_eq!(Alg::EdDsa.verify_signature(&Signature(signature), &key, message), plain, "with a table");
    plain
}

#[test]
fn wycheproof() {
    let file = vectors("wycheproof_ed25519_test.json");
    let mut tried = 0;
    for group in file["testGroups"].as_array().unwrap() {
        let key = bytes(&group["publicKey"]["pk"]);
        for test in group["tests"].as_array().unwrap() {
            let valid = verifies(&key, &bytes(&test["msg"]), &bytes(&test["sig"]));
            assert_eq!(valid, test["result"] == "valid", "{test}");
            tried += 1;
        }
    }
    assert_eq!(tried, file["numberOfTests"]);
}

#[test]
fn speccheck_as_the_strict_verifiers_decide() {
    let cases = vectors("ed25519_speccheck_cases.json");
    let cases = cases["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 12);
    for case in cases {
        let valid = verifies(&bytes(&case["pub_key"]), &bytes(&case["message"]), &bytes(&case["signature"]));
        assert_eq!(valid, case["expected_strict"] == "accept", "{case}");
    }
}

#[test]
fn rfc_8037_appendix_a() {
    let vectors = vectors("rfc8037_appendix_a.json");
    let mut jwk = vectors["A.2_public_jwk"].clone();
    jwk["kid"] = "a".into();
    let set = serde_json::json!({"keys": [jwk]}).to_string();
    let keyring = Keyring::from_json(set.as_bytes()).unwrap();

    // The signature is right; the token is refused all the same, since it is no access token.
    let compact = vectors["A.4_signing"]["compact"].as_str().unwrap();
    assert_eq!(forge::verifier().verify(compact.as_bytes(), &keyring, 0), Err(Reject::WrongType));

    let (signed, signature) = compact.rsplit_once('.').unwrap();
    let signature = <base64ct::Base64UrlUnpadded as base64ct::Encoding>::decode_vec(signature).unwrap();
    let x =
        <base64ct::Base64UrlUnpadded as base64ct::Encoding>::decode_vec(jwk["x"].as_str().unwrap()).unwrap();
    assert!(verifies(&x, signed.as_bytes(), &signature));
    assert!(!verifies(&x, &signed.as_bytes()[1..], &signature));
}
