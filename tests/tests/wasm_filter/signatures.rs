//! The shipped module decides about signatures as the crate does natively, where the public vectors and a second
//! implementation hold it: on tokens that are signed in every way of the corpus, honest and hostile.

use base64ct::{Base64UrlUnpadded, Encoding};
use countersign_claims::VerifyingKey;
use countersign_tests::host::{Process, Request};
use serde_json::json;

use super::{corpus, edge_config, issuer};

#[test]
fn a_token_is_admitted_exactly_if_its_signature_is_strictly_valid() {
    let honest = issuer().ada();
    let (message, _) = honest.rsplit_once('.').unwrap();
    let process = Process::new();
    let mut edge = process.worker(&edge_config()).unwrap();
    let (mut admitted, mut refused, mut distrusted) = (0, 0, 0);
    for number in 0..12 * corpus::Kind::ALL.len() as u64 {
        let case = corpus::case_with(number, message.as_bytes().to_vec());
        let mut config = edge_config();
        let x = Base64UrlUnpadded::encode_string(&case.public);
        config["keys"]["inline"] = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": x}]});
        let taken = edge.configure(&config);
        let Ok(key) = VerifyingKey::from_bytes(&case.public) else {
            assert!(taken.unwrap_err().contains("keys.inline"), "case {number}");
            distrusted += 1;
            continue;
        };
        taken.unwrap();
        let token =
            [&case.message, &b"."[..], Base64UrlUnpadded::encode_string(&case.signature).as_bytes()].concat();
        let request = Request::get("/api/x").header("Authorization", [&b"Bearer "[..], &token].concat());
        let outcome = edge.send(&request);
        let valid = key.verifies(&case.message, &case.signature);
        assert_eq!(outcome.refusal.is_none(), valid, "case {number}: {:?}", outcome.refusal);
        *(if valid { &mut admitted } else { &mut refused }) += 1;
    }
    assert!(admitted >= 12 && refused >= 12 && distrusted >= 12, "{admitted} {refused} {distrusted}");
}
