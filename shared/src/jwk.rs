//! JSON Web Keys (RFC 7517) as far as this platform has them: Ed25519 public keys (RFC 8037 §2).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize, de::IgnoredAny};

use crate::{Alg, InvalidKeyring, VerifyingKey};

/// One key of a set, as it stands in the document.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Jwk {
    kty: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crv: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    #[serde(default, rename = "use", skip_serializing_if = "Option::is_none")]
    usage: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alg: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_ops: Option<Vec<String>>,
    /// Read so that a private key can be refused; never kept, never written.
    #[serde(default, skip_serializing)]
    d: Option<IgnoredAny>,
}

/// A JWK Set (RFC 7517 §5).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct JwkSet {
    pub keys: Vec<Jwk>,
}

impl Jwk {
    /// The published form of a signing key's public half.
    pub fn ed25519(kid: &str, key: &VerifyingKey, alg: Alg) -> Self {
        Self {
            kty: "OKP".into(),
            crv: Some("Ed25519".into()),
            x: Some(URL_SAFE_NO_PAD.encode(key.as_bytes())),
            kid: Some(kid.into()),
            usage: Some("sig".into()),
            alg: Some(alg.name().into()),
            key_ops: None,
            d: None,
        }
    }

    /// The key id and key, or `None` for a key of another kind, or that is not for verifying (RFC 7517 §4.2, §4.3):
    /// §5 says to ignore those.
    pub(crate) fn verifying_key(&self) -> Result<Option<(&str, VerifyingKey)>, InvalidKeyring> {
        let ours = self.kty == "OKP"
            && self.crv.as_deref() == Some("Ed25519")
            && self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self.alg.as_deref().is_none_or(|alg| matches!(alg, "EdDSA" | "Ed25519"))
            && self
                .key_ops
                .as_deref()
                .is_none_or(|operations| operations.iter().any(|name| name == "verify"));
        if !ours {
            return Ok(None);
        }
        let kid = self.kid.as_deref().ok_or(InvalidKeyring::NoKid)?;
        if self.d.is_some() {
            return Err(InvalidKeyring::PrivateKey { kid: kid.into() });
        }
        let mut encoded = [0; 32];
        let x = self.x.as_deref().unwrap_or_default();
        if URL_SAFE_NO_PAD.decode_slice(x, &mut encoded) != Ok(32) {
            return Err(InvalidKeyring::NotAKey { kid: kid.into() });
        }
        let key = VerifyingKey::from_bytes(&encoded)
            .map_err(|source| InvalidKeyring::Key { kid: kid.into(), source })?;
        Ok(Some((kid, key)))
    }
}
