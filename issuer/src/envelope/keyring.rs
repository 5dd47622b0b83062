//! Key-encryption keys from files. A key's id is derived from
//! its secret, so that no two keys have the same, and an operator has none to give.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{DataKey, Error, KEY, WrappedKey, decrypt, encrypt};
use crate::ambient::Entropy;
use crate::config;

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Keyring(Arc<[WrappingKey]>);

pub(super) struct WrappingKey {
    pub(super) id: String,
    key: Zeroizing<[u8; KEY]>,
}

/// What ids begin with: which kind of provider has the key.
const PREFIX: &str = "file:";

impl WrappingKey {
    pub(super) fn derive(secret: &[u8]) -> Self {
        let root = Hkdf::<Sha256>::new(None, secret);
        let (mut id, mut key) = ([0; 8], Zeroizing::new([0; KEY]));
        // Fails only for outputs longer than 8160 bytes.
        let _ = root.expand(b"countersign key-encryption key id", &mut id);
        let _ = root.expand(b"countersign key-encryption key", &mut *key);
        Self { id: format!("{PREFIX}{}", HEXLOWER.encode(&id)), key }
    }

    pub(super) fn wrap(
        &self,
        aad: &[u8],
        data_key: &DataKey,
        entropy: &Entropy,
    ) -> Result<WrappedKey, Error> {
        let wrapped_key = encrypt(&self.key, aad, &data_key[..], entropy)?;
        Ok(WrappedKey { key_id: self.id.clone(), wrapped_key })
    }

    pub(super) fn unwrap(&self, aad: &[u8], wrapped_key: &[u8]) -> Result<DataKey, Error> {
        let bytes = decrypt(&self.key, aad, wrapped_key)?;
        let bytes: &[u8; KEY] = bytes.as_slice().try_into().map_err(|_| Error::Forged)?;
        Ok(Zeroizing::new(*bytes))
    }
}

impl Keyring {
    /// The current key is the first one, if it is from a file.
    pub(super) fn new(settings: &config::Encryption) -> Self {
        let current = match &settings.current {
            Some(config::WrappingKey::File(secret)) => Some(secret),
            _ => None,
        };
        let all = current.into_iter().chain(&settings.previous_files);
        Self(all.map(|secret| WrappingKey::derive(secret.bytes())).collect())
    }

    pub(super) fn named(&self, id: &str) -> Option<&WrappingKey> {
        self.0.iter().find(|key| key.id == id)
    }
}
