//! Ed25519 for tokens as a jwt-compact [`Algorithm`]: the seam behind which the check lives. It has two names.

use std::borrow::Cow;
use std::num::NonZeroUsize;

use jwt_compact::{Algorithm, AlgorithmSignature};

use crate::VerifyingKey;

/// What a token says of its signature (`alg`), which is Ed25519 either way; verifiers here take both. Verifies always;
/// signs only with the feature `sign`, so that the edge cannot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Alg {
    /// The name that every library knows (RFC 8037 §3.1).
    #[default]
    EdDsa,
    /// The name that says which curve (RFC 9864 §2.2).
    Ed25519,
}

impl Alg {
    /// As it stands in a header or a JWK.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Ed25519 => "Ed25519",
        }
    }
}

/// R then S (RFC 8032 §5.1.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

impl AlgorithmSignature for Signature {
    const LENGTH: Option<NonZeroUsize> = NonZeroUsize::new(64);

    fn try_from_slice(bytes: &[u8]) -> Result<Self, anyhow::Error> {
        Ok(Self(bytes.try_into()?))
    }

    fn as_bytes(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.0)
    }
}

impl Algorithm for Alg {
    #[cfg(feature = "sign")]
    type SigningKey = crate::SigningKey;
    #[cfg(not(feature = "sign"))]
    type SigningKey = std::convert::Infallible;
    type VerifyingKey = VerifyingKey;
    type Signature = Signature;

    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed(Self::name(*self))
    }

    #[cfg(feature = "sign")]
    fn sign(&self, key: &Self::SigningKey, message: &[u8]) -> Signature {
        Signature(ed25519_dalek::Signer::sign(key, message).to_bytes())
    }

    #[cfg(not(feature = "sign"))]
    fn sign(&self, key: &Self::SigningKey, _: &[u8]) -> Signature {
        match *key {}
    }

    fn verify_signature(&self, signature: &Signature, key: &VerifyingKey, message: &[u8]) -> bool {
        key.verifies(message, &signature.0)
    }
}
