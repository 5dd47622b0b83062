//! What a JWK Set may bring, and what refuses it whole.

mod forge;

use countersign_claims::{Alg, InvalidKeyring, Jwk, JwkSet, Keyring, MAX_KEYS};
use forge::*;
use serde_json::{Value, json};

fn jwk(change: Value) -> Value {
    let mut jwk = serde_json::to_value(Jwk::ed25519(KID, &public(&key(1)), Alg::EdDsa)).unwrap();
    for (name, value) in change.as_object().unwrap() {
        jwk[name] = value.clone();
    }
    jwk
}

fn load(keys: Vec<Value>) -> Result<Keyring, InvalidKeyring> {
    Keyring::from_json(json!({"keys": keys}).to_string().as_bytes())
}

#[test]
fn publishes_what_it_can_read_back() {
    let set = JwkSet { keys: vec![Jwk::ed25519(KID, &public(&key(1)), Alg::EdDsa)] };
    let json = serde_json::to_value(&set).unwrap();
    assert_eq!(json["keys"][0]["kty"], "OKP");
    assert_eq!(json["keys"][0]["crv"], "Ed25519");
    assert_eq!(json["keys"][0]["use"], "sig");
    assert_eq!(json["keys"][0]["alg"], "EdDSA");
    assert!(json["keys"][0].get("d").is_none());
    assert_eq!(Keyring::from_json(json.to_string().as_bytes()).unwrap(), keyring());
}

#[test]
fn ignores_keys_of_other_kinds_and_uses() {
    let others = vec![
        json!({"kty": "RSA", "n": "x", "e": "AQAB", "kid": "rsa"}),
        jwk(json!({"crv": "X25519", "kid": "x"})),
        jwk(json!({"use": "enc", "kid": "enc"})),
        jwk(json!({"alg": "ES256", "kid": "es"})),
        jwk(json!({"key_ops": ["sign"], "kid": "signs"})),
        jwk(json!({"key_ops": [], "kid": "nothing"})),
        jwk(json!({"key_ops": ["VERIFY", "verify "], "kid": "misspelt"})),
        jwk(json!({"x-vendor": {"a": 1}, "key_ops": ["sign", "verify"]})),
    ];
    let ring = load(others).unwrap();
    assert_eq!(ring.kids().collect::<Vec<_>>(), [KID]);
}

#[test]
fn refuses_two_keys_with_one_kid() {
    assert!(matches!(load(vec![jwk(json!({})), jwk(json!({}))]), Err(InvalidKeyring::DuplicateKid { .. })));
}

#[test]
fn refuses_a_published_private_key() {
    let error = load(vec![jwk(json!({"d": "secret-part"}))]).unwrap_err();
    assert!(matches!(error, InvalidKeyring::PrivateKey { .. }));
    assert!(!error.to_string().contains("secret-part"));
}

#[test]
fn refuses_a_key_that_is_none() {
    for x in [json!(""), json!("AA"), json!("A".repeat(43)), json!("!".repeat(43)), json!("A".repeat(44))] {
        let error = load(vec![jwk(json!({"x": x}))]).unwrap_err().to_string();
        assert!(error.contains(KID), "{error}");
    }
    let mut without_kid = jwk(json!({}));
    without_kid.as_object_mut().unwrap().remove("kid");
    assert!(matches!(load(vec![without_kid]), Err(InvalidKeyring::NoKid)));
}

#[test]
fn refuses_a_document_of_another_shape() {
    for json in ["", "{}", "[]", "null", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#, r#"{"keys":[1]}"#] {
        assert!(matches!(Keyring::from_json(json.as_bytes()), Err(InvalidKeyring::NotAJwkSet(_))), "{json}");
    }
    // The fields' values in the order in which the types declare them.
    let key = jwk(json!({}));
    let key = json!([key["kty"], key["crv"], key["x"], key["kid"]]);
    for set in [json!({"keys": [key]}), json!([[jwk(json!({}))]])] {
        assert!(
            matches!(Keyring::from_json(set.to_string().as_bytes()), Err(InvalidKeyring::NotAJwkSet(_))),
            "{set}"
        );
    }
}

#[test]
fn bounds_the_number_of_keys() {
    let many = (0..=MAX_KEYS).map(|i| jwk(json!({"kid": i.to_string()}))).collect();
    assert!(matches!(load(many), Err(InvalidKeyring::TooMany)));
}

#[test]
fn merging_keeps_one_meaning_for_each_kid() {
    let same = keyring().merge(keyring()).unwrap();
    assert_eq!(same.len(), 1);
    let other = Keyring::new([("b".into(), public(&key(2)))]).unwrap();
    assert_eq!(keyring().merge(other).unwrap().len(), 2);
    let conflict = Keyring::new([(KID.into(), public(&key(2)))]).unwrap();
    assert!(matches!(keyring().merge(conflict), Err(InvalidKeyring::DuplicateKid { .. })));
}
