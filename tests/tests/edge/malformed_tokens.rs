//! What RFC 8725 warns of, and what else a token must not be: each through real Envoy as a bearer token and in a handshake's
//! query, refused with its reason and seen by no upstream.

use base64ct::{Base64UrlUnpadded, Encoding};
use countersign_claims::SigningKey;
use countersign_tests::host::Issuer;
use ed25519_dalek::Signer;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use super::stage::{HANDSHAKE, Stage, bearer, claims, config, issuer, token};
use super::{module, raw};

fn encode(part: impl AsRef<[u8]>) -> String {
    Base64UrlUnpadded::encode_string(part.as_ref())
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

/// Two parts as they stand, rightly signed by the issuer's key.
fn sealed(header: &str, payload: &str) -> String {
    let signed = format!("{header}.{payload}");
    format!("{signed}.{}", encode(key().sign(signed.as_bytes()).to_bytes()))
}

fn signed(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    sealed(&encode(header), &encode(payload))
}

fn header() -> Value {
    json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "k1"})
}

fn payload() -> Value {
    serde_json::to_value(claims("ada", 900)).unwrap()
}

/// The same with this member; without it, if it is null.
fn with(mut part: Value, name: &str, value: Value) -> String {
    match value {
        Value::Null => drop(part.as_object_mut().unwrap().remove(name)),
        value => part[name] = value,
    }
    part.to_string()
}

fn in_header(name: &str, value: Value) -> String {
    signed(with(header(), name, value), payload().to_string())
}

fn in_claims(name: &str, value: Value) -> String {
    signed(header().to_string(), with(payload(), name, value))
}

/// HMAC-SHA-512 (RFC 2104) with the issuer's public key for a secret: what a verifier checks that believes `alg`.
fn by_public_key(header: &str, payload: &str) -> String {
    let mut block = [0; 128];
    block[..32].copy_from_slice(key().verifying_key().as_bytes());
    let padded = |pad: u8| block.map(|byte| byte ^ pad);
    let signed = format!("{}.{}", encode(header), encode(payload));
    let inner = Sha512::new().chain_update(padded(0x36)).chain_update(&signed).finalize();
    let mac = Sha512::new().chain_update(padded(0x5c)).chain_update(inner).finalize();
    format!("{signed}.{}", encode(mac))
}

/// Each with the reason for which it is refused.
fn malformed() -> Vec<(&'static str, String)> {
    let good = token("ada", 900);
    let (first, signature) = good.rsplit_once('.').unwrap();
    let (head, body) = first.split_once('.').unwrap();
    let mallory = Issuer::new("k1", 66);
    let of_mallory = |more: Value| {
        let mut header = header();
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        mallory.sign(&header, &payload())
    };
    let mut cases = vec![
        // RFC 8725 §2.1, §3.1: the algorithm is ours to choose.
        (
            "algorithm_not_allowed",
            format!("{}.{body}.{signature}", encode(with(header(), "alg", json!("none")))),
        ),
        (
            "algorithm_not_allowed",
            by_public_key(&with(header(), "alg", json!("HS512")), &payload().to_string()),
        ),
        ("malformed_token", format!("{}.{body}.", encode(with(header(), "alg", json!("none"))))),
        // §2.2, §3.2, §3.10: keys are ours, whatever the token brings or points to.
        ("bad_signature", mallory.token(&claims("ada", 900))),
        ("unknown_key", Issuer::new("k9", 66).token(&claims("ada", 900))),
        ("header_not_allowed", of_mallory(json!({"jwk": mallory.jwk()}))),
        ("header_not_allowed", of_mallory(json!({"jku": "http://127.0.0.1/jwks"}))),
        ("header_not_allowed", of_mallory(json!({"x5u": "http://127.0.0.1/cert"}))),
        ("header_not_allowed", of_mallory(json!({"x5c": ["AA=="]}))),
        ("unknown_key", in_header("kid", json!("../../../dev/null"))),
        ("unknown_key", in_header("kid", json!("k1' OR '1'='1"))),
        ("unknown_key", in_header("kid", json!("K1"))),
        ("unknown_key", in_header("kid", json!("k1\u{0}"))),
        ("unknown_key", in_header("kid", json!(""))),
        ("malformed_token", in_header("kid", json!(["k1"]))),
        ("malformed_token", in_header("kid", json!(1))),
        // §2.3, §2.4: what the signature covers is what is read.
        ("bad_signature", format!("{head}.{}.{signature}", encode(with(payload(), "sub", json!("u-root"))))),
        ("bad_signature", format!("{first}.{}", encode([0; 64]))),
        ("malformed_token", format!("{first}.{}", encode([0; 63]))),
        ("malformed_token", format!("{good}.{signature}")),
        ("malformed_token", format!("{good}.{signature}.{signature}")),
        ("malformed_token", format!("{head}..{signature}")),
        ("malformed_token", format!(".{body}.{signature}")),
        ("malformed_token", first.into()),
        ("malformed_token", "a.b.c".into()),
        ("malformed_token", format!("{good}==")),
        ("malformed_token", sealed(&format!("{head}="), body)),
        ("malformed_token", sealed(head, &format!("{body}/"))),
        (
            "malformed_token",
            signed(r#"{"alg":"EdDSA","typ":"at+jwt","kid":"k9","kid":"k1"}"#, payload().to_string()),
        ),
        (
            "malformed_token",
            signed(r#"{"alg":"none","alg":"EdDSA","typ":"at+jwt","kid":"k1"}"#, payload().to_string()),
        ),
        ("malformed_token", signed("[]", payload().to_string())),
        ("malformed_token", signed("\u{feff}{}", payload().to_string())),
        ("malformed_token", signed("[".repeat(3000), payload().to_string())),
        ("malformed_token", signed(b"{\"alg\":\"EdDSA\",\"kid\":\"\xff\"}", payload().to_string())),
        ("invalid_claims", signed(header().to_string(), r#"{"sub":"u-ada","sub":"u-root"}"#)),
        ("invalid_claims", signed(header().to_string(), "[]")),
        ("malformed_token", signed(header().to_string(), "")),
        ("invalid_claims", signed(header().to_string(), "{}")),
        (
            "invalid_claims",
            signed(header().to_string(), format!("{}0{}", "[".repeat(3000), "]".repeat(3000))),
        ),
        ("invalid_claims", signed(header().to_string(), b"{\"sub\":\"\xff\"}")),
        // §2.6, §3.3, §3.4: no second language inside.
        ("header_not_allowed", in_header("zip", json!("DEF"))),
        ("header_not_allowed", in_header("cty", json!("JWT"))),
        ("header_not_allowed", in_header("b64", json!(false))),
        ("header_not_allowed", in_header("crit", json!(["exp"]))),
        // §2.7, §2.8, §3.8, §3.9, §3.11: for us, of our issuer, and of this kind.
        ("wrong_issuer", in_claims("iss", json!("user_service "))),
        ("wrong_issuer", in_claims("iss", json!("http://elsewhere"))),
        ("wrong_audience", in_claims("aud", json!("elsewhere"))),
        ("wrong_audience", in_claims("aud", json!([]))),
        ("wrong_audience", in_claims("aud", json!(["trading_platform2", "x"]))),
        ("wrong_type", in_header("typ", json!("JWT"))),
        ("wrong_type", in_header("typ", json!("logout+jwt"))),
        ("wrong_type", in_header("typ", Value::Null)),
        // And its times are times.
        ("token_expired", token("ada", -1)),
        ("token_expired", in_claims("exp", json!(-1))),
        ("not_yet_valid", in_claims("nbf", json!(4_000_000_000_i64))),
        ("not_yet_valid", in_claims("iat", json!(4_000_000_000_i64))),
        ("token_too_large", in_claims("name", json!("x".repeat(9_000)))),
    ];
    let algorithms =
        ["None", "nOnE", "HS256", "HS512", "RS256", "PS256", "ES256", "ES256K", "Ed448", "eddsa", ""];
    cases.extend(algorithms.map(|alg| ("algorithm_not_allowed", in_header("alg", json!(alg)))));
    for name in ["iss", "aud", "exp", "sub"] {
        let odd = [Value::Null, json!({}), json!([[]]), json!(true), json!(1.5)];
        cases.extend(odd.map(|value| ("invalid_claims", in_claims(name, value))));
    }
    for exp in ["1e400", "18446744073709551616", "\"4000000000\"", "4000000000.5"] {
        let text = payload().to_string();
        let (before, after) = text.split_once("\"exp\":").unwrap();
        let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
        cases.push(("invalid_claims", signed(header().to_string(), format!("{before}\"exp\":{exp}{rest}"))));
    }
    for sub in ["", "u-ada\r\nx-user-roles: admin", "u-ada,u-root", "u ada", "ü"] {
        cases.push(("invalid_claims", in_claims("sub", json!(sub))));
    }
    cases
}

#[tokio::test]
async fn every_malformed_token_is_refused_with_its_reason() {
    let stage = Stage::start(module(), &[config()]).await;
    let cases = malformed();
    assert!(issuer().ada().starts_with("eyJ") && cases.len() > 80, "{}", cases.len());
    for (reason, token) in cases {
        let answer = stage.get(&bearer(&token)).await;
        assert!(answer.is_refused(401, reason), "{reason}: {token:.200}: {}", answer.text);
        let request = format!("GET /ws/quotes?token={token} HTTP/1.1\r\nhost: edge\r\n{HANDSHAKE}\r\n");
        let answer = raw::send(stage.edge.port, request.as_bytes()).await;
        assert!(answer.is_refused(401, reason), "{reason}: {token:.200}: {}", answer.text);
    }
    assert_eq!(stage.upstream.seen(), "");
    stage.stop().await;
}
