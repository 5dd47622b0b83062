//! An issuer in miniature: a signing key, and the tokens and key sets that it gives out.

use base64ct::{Base64UrlUnpadded, Encoding};
use countersign_claims::{AccessClaims, Alg, Audience, Jwk, JwkSet, SigningKey, VerifyingKey, mint};
use ed25519_dalek::Signer;
use serde_json::Value;

use super::START;

/// Signs tokens with one key.
#[derive(Debug, Clone)]
pub struct Issuer {
    pub kid: String,
    key: SigningKey,
}

impl Issuer {
    /// The same `seed` gives the same key.
    pub fn new(kid: &str, seed: u8) -> Self {
        Self { kid: kid.into(), key: SigningKey::from_bytes(&[seed; 32]) }
    }

    /// Ada, logged in at [`START`] for 15 minutes.
    pub fn claims() -> AccessClaims {
        AccessClaims {
            iss: "user_service".into(),
            aud: Audience::One("trading_platform".into()),
            sub: "u-ada".into(),
            exp: START + 900,
            nbf: None,
            iat: Some(START),
            jti: Some("t-1".into()),
            client_id: Some("first-party".into()),
            session_id: Some("s-ada".into()),
            credential_id: None,
            email: Some("ada@example.com".into()),
            name: Some("Ada".into()),
            roles: vec!["user".into(), "trader".into()],
            scope: Some("alerts:read alerts:write".into()),
            amr: vec!["pwd".into()],
            auth_time: Some(START),
        }
    }

    pub fn token(&self, claims: &AccessClaims) -> String {
        mint(&self.kid, claims, &self.key, Alg::EdDsa).expect("claims that serialise")
    }

    /// Ada's token.
    pub fn ada(&self) -> String {
        self.token(&Self::claims())
    }

    /// A token with any header and payload, rightly signed.
    pub fn sign(&self, header: &Value, payload: &Value) -> String {
        let encode = |part: &[u8]| Base64UrlUnpadded::encode_string(part);
        let signed = [header, payload].map(|part| encode(part.to_string().as_bytes())).join(".");
        let signature = self.key.sign(signed.as_bytes());
        format!("{signed}.{}", encode(&signature.to_bytes()))
    }

    pub fn jwk(&self) -> Jwk {
        let key = VerifyingKey::from_bytes(self.key.verifying_key().as_bytes()).expect("a sound key");
        Jwk::ed25519(&self.kid, &key, Alg::EdDsa)
    }
}

/// A JWK Set document with the keys of all these issuers.
pub fn jwks<'i>(issuers: impl IntoIterator<Item = &'i Issuer>) -> Value {
    let keys = issuers.into_iter().map(Issuer::jwk).collect();
    serde_json::to_value(JwkSet { keys }).expect("keys that serialise")
}
