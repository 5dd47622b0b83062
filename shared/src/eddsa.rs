//! `EdDSA` (RFC 8037 §3.1) as a jwt-compact [`Algorithm`]: the seam behind which the Ed25519 check lives.

use std::borrow::Cow;
use std::num::NonZeroUsize;

use jwt_compact::{Algorithm, AlgorithmSignature};

use crate::VerifyingKey;

/// Ed25519 for tokens. Verifies always; signs only with the feature `sign`, so that the edge cannot.
#[derive(Debug, Clone, Copy, Default)]
pub struct EdDsa;

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

impl Algorithm for EdDsa {
    #[cfg(feature = "sign")]
    type SigningKey = crate::SigningKey;
    #[cfg(not(feature = "sign"))]
    type SigningKey = std::convert::Infallible;
    type VerifyingKey = VerifyingKey;
    type Signature = Signature;

    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("EdDSA")
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
