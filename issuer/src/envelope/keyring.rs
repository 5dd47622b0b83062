//! Key-encryption keys from files: the current one wraps what is new, the others only unwrap. A key's id is derived from
//! its secret, so that no two keys have the same, and an operator has none to give.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{DataKey, Error, KEY, WrappedKey, decrypt, encrypt};
use crate::ambient::Entropy;
use crate::config::Secrets;

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Keyring(Arc<[WrappingKey]>);

struct WrappingKey {
    id: String,
    key: Zeroizing<[u8; KEY]>,
}

/// What ids begin with: which kind of provider has the key.
const PREFIX: &str = "file:";

impl WrappingKey {
    fn derive(secret: &[u8]) -> Self {
        let root = Hkdf::<Sha256>::new(None, secret);
        let (mut id, mut key) = ([0; 8], Zeroizing::new([0; KEY]));
        // Fails only for outputs longer than 8160 bytes.
        let _ = root.expand(b"countersign key-encryption key id", &mut id);
        let _ = root.expand(b"countersign key-encryption key", &mut *key);
        Self { id: format!("{PREFIX}{}", HEXLOWER.encode(&id)), key }
    }
}

impl Keyring {
    /// Empty without secrets.
    pub(super) fn new(secrets: Option<&Secrets>) -> Self {
        let all = secrets.into_iter().flat_map(Secrets::iter);
        Self(all.map(|secret| WrappingKey::derive(secret.bytes())).collect())
    }

    pub(super) fn current(&self) -> Option<&str> {
        self.0.first().map(|key| key.id.as_str())
    }

    pub(super) fn wrap(
        &self,
        aad: &[u8],
        data_key: &DataKey,
        entropy: &Entropy,
    ) -> Result<WrappedKey, Error> {
        let WrappingKey { id, key } = self.0.first().ok_or(Error::Off)?;
        let wrapped_key = encrypt(key, aad, &data_key[..], entropy)?;
        Ok(WrappedKey { key_id: id.clone(), wrapped_key })
    }

    pub(super) fn unwrap(&self, aad: &[u8], wrapped: &WrappedKey) -> Result<DataKey, Error> {
        let named = self.0.iter().find(|key| key.id == wrapped.key_id);
        let WrappingKey { key, .. } = named.ok_or_else(|| Error::Unavailable {
            key_id: wrapped.key_id.clone(),
            why: "it is neither encryption.current_file nor among encryption.previous_files",
        })?;
        let bytes = decrypt(key, aad, &wrapped.wrapped_key)?;
        let bytes: &[u8; KEY] = bytes.as_slice().try_into().map_err(|_| Error::Forged)?;
        Ok(Zeroizing::new(*bytes))
    }
}
