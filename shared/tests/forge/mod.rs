//! Tokens of any shape: honest ones, and the ones an attacker would send.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use base64ct::{Base64UrlUnpadded, Encoding};
use countersign_claims::{
    AccessClaims, Alg, Audience, Keyring, Reject, SigningKey, Verifier, VerifyingKey, mint,
};
use ed25519_dalek::Signer;
use serde_json::{Value, json};

pub const NOW: i64 = 1_800_000_000;
pub const KID: &str = "2026-11-a";
pub const SKEW: i64 = 30;

pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub fn public(key: &SigningKey) -> VerifyingKey {
    VerifyingKey::from_bytes(key.verifying_key().as_bytes()).unwrap()
}

pub fn keyring() -> Keyring {
    Keyring::new([(KID.to_owned(), public(&key(1)))]).unwrap()
}

pub fn verifier() -> Verifier {
    Verifier::new("user_service".into(), vec!["trading_platform".into()], SKEW)
}

pub fn claims() -> AccessClaims {
    AccessClaims {
        iss: "user_service".into(),
        aud: Audience::One("trading_platform".into()),
        sub: "0193a1b2-0000-7000-8000-000000000001".into(),
        exp: NOW + 900,
        nbf: None,
        iat: Some(NOW),
        jti: Some("0193a1b2-0000-7000-8000-000000000002".into()),
        client_id: Some("first-party".into()),
        session_id: Some("0193a1b2-0000-7000-8000-000000000003".into()),
        credential_id: None,
        email: Some("ada@example.com".into()),
        name: Some("Ada".into()),
        roles: vec!["user".into()],
        scope: Some("positions:read alerts:write".into()),
        amr: vec!["pwd".into()],
        auth_time: Some(NOW),
    }
}

pub fn token() -> String {
    mint(KID, &claims(), &key(1), Alg::EdDsa).unwrap()
}

pub fn header() -> Value {
    json!({"alg": "EdDSA", "typ": "at+jwt", "kid": KID})
}

pub fn payload() -> Value {
    serde_json::to_value(claims()).unwrap()
}

/// A correctly signed token of these two texts, whatever they are.
pub fn sign(header: &[u8], payload: &[u8]) -> String {
    sign_parts(&Base64UrlUnpadded::encode_string(header), &Base64UrlUnpadded::encode_string(payload))
}

/// A correctly signed token of these two already encoded parts.
pub fn sign_parts(header: &str, payload: &str) -> String {
    let signed = format!("{header}.{payload}");
    let signature = key(1).sign(signed.as_bytes()).to_bytes();
    format!("{signed}.{}", Base64UrlUnpadded::encode_string(&signature))
}

/// The honest token with members of the header replaced (or removed: null).
pub fn with_header(change: Value) -> String {
    sign(merged(header(), change).to_string().as_bytes(), payload().to_string().as_bytes())
}

/// The honest token with claims replaced (or removed: null).
pub fn with_claims(change: Value) -> String {
    sign(header().to_string().as_bytes(), merged(payload(), change).to_string().as_bytes())
}

fn merged(mut into: Value, change: Value) -> Value {
    for (name, value) in change.as_object().unwrap() {
        let members = into.as_object_mut().unwrap();
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    into
}

pub fn verify(token: impl AsRef<[u8]>) -> Result<AccessClaims, Reject> {
    verifier().verify(token.as_ref(), &keyring(), NOW)
}
