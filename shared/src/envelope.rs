//! The outside of a token: three parts of strict base64url and a header that only names a key (RFC 7515 §3,
//! with what RFC 8725 §3 asks).
//!
//! jwt-compact's own parser is not used here: it takes `1.5` for a time, does not see a repeated member, and
//! copies every claim twice. `tests/agreement.rs` holds this parser against it.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, de::IgnoredAny};

use crate::strict_json::{self, not_null};
use crate::{Reject, Signature};

/// A token longer than this is refused unread.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// A token that has the right form and is not verified yet.
#[derive(Debug)]
pub(crate) struct Envelope<'a> {
    /// What the signature covers: header and payload with the dot between them.
    pub signed: &'a [u8],
    pub key_id: Option<String>,
    /// The payload, still encoded: nobody reads it before the signature holds.
    payload: &'a str,
    pub signature: Signature,
}

impl<'a> Envelope<'a> {
    pub(crate) fn parse(token: &'a [u8]) -> Result<Self, Reject> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Reject::TooLarge);
        }
        let token = std::str::from_utf8(token).map_err(|_| Reject::Malformed)?;
        let (signed, signature) = token.rsplit_once('.').ok_or(Reject::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(Reject::Malformed)?;
        if header.is_empty() || payload.is_empty() || payload.contains('.') {
            return Err(Reject::Malformed);
        }
        let mut bytes = [0; 64];
        if URL_SAFE_NO_PAD.decode_slice(signature, &mut bytes) != Ok(64) {
            return Err(Reject::Malformed);
        }
        let key_id = Header::parse(header)?.key_id()?;
        Ok(Self { signed: signed.as_bytes(), key_id, payload, signature: Signature(bytes) })
    }

    /// The payload's JSON. To be read only after the signature was verified.
    pub(crate) fn payload(&self) -> Result<Vec<u8>, Reject> {
        URL_SAFE_NO_PAD.decode(self.payload).map_err(|_| Reject::Malformed)
    }
}

/// The members of a JOSE header that are looked at.
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default, deserialize_with = "not_null")]
    typ: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    kid: Option<String>,
    // A key chosen by the token is a key chosen by the attacker (RFC 8725 §3.10) …
    #[serde(default, deserialize_with = "present")]
    jwk: bool,
    #[serde(default, deserialize_with = "present")]
    jku: bool,
    #[serde(default, deserialize_with = "present")]
    x5u: bool,
    #[serde(default, deserialize_with = "present")]
    x5c: bool,
    // … and none of these is understood here (RFC 7515 §4.1.11).
    #[serde(default, deserialize_with = "present")]
    crit: bool,
    #[serde(default, deserialize_with = "present")]
    zip: bool,
    #[serde(default, deserialize_with = "present")]
    b64: bool,
    #[serde(default, deserialize_with = "present")]
    cty: bool,
}

/// True for a member that is there, whatever its value: `"crit": null` counts.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

impl Header {
    fn parse(encoded: &str) -> Result<Self, Reject> {
        let json = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| Reject::Malformed)?;
        strict_json::from_slice(&json).map_err(|_| Reject::Malformed)
    }

    /// The key id, once the header is seen to ask for nothing else.
    fn key_id(self) -> Result<Option<String>, Reject> {
        if !matches!(self.alg.as_str(), "EdDSA" | "Ed25519") {
            return Err(Reject::AlgorithmNotAllowed);
        }
        let foreign_key = self.jwk || self.jku || self.x5u || self.x5c;
        let extension = self.crit || self.zip || self.b64 || self.cty;
        if foreign_key || extension {
            return Err(Reject::HeaderNotAllowed);
        }
        if !self.typ.as_deref().is_some_and(is_access_token) {
            return Err(Reject::WrongType);
        }
        Ok(self.kid)
    }
}

/// Compares as media types are compared: case-insensitively, `application/` optional (RFC 7515 §4.1.9).
fn is_access_token(typ: &str) -> bool {
    let typ = typ.to_ascii_lowercase();
    typ.strip_prefix("application/").unwrap_or(&typ) == "at+jwt"
}
