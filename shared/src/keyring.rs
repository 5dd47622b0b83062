//! The keys that tokens are verified with, by key id. Keys are decoded once, here.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::{InvalidKey, JwkSet, Reject, VerifyingKey, strict_json};

/// A set with more keys than this is refused: no schedule publishes that many.
pub const MAX_KEYS: usize = 256;

/// Public keys by key id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keyring {
    keys: BTreeMap<Box<str>, VerifyingKey>,
}

/// Why a set of keys is refused as a whole. A set with one bad key is not half trusted.
#[derive(Debug, thiserror::Error)]
pub enum InvalidKeyring {
    #[error("not a JWK Set: {0}")]
    NotAJwkSet(#[from] serde_json::Error),
    #[error("an Ed25519 key has no \"kid\"")]
    NoKid,
    #[error("key {kid:?}: \"x\" is not 32 bytes of unpadded base64url")]
    NotAKey { kid: Box<str> },
    #[error("key {kid:?}: {source}")]
    Key { kid: Box<str>, source: InvalidKey },
    #[error("key {kid:?} carries its private part \"d\": withdraw it, it must be taken as known to others")]
    PrivateKey { kid: Box<str> },
    #[error("two keys have the kid {kid:?}")]
    DuplicateKid { kid: Box<str> },
    #[error("more than {MAX_KEYS} keys")]
    TooMany,
}

impl Keyring {
    /// # Errors
    /// Refuses two entries with one key id, and more than [`MAX_KEYS`].
    pub fn new(keys: impl IntoIterator<Item = (String, VerifyingKey)>) -> Result<Self, InvalidKeyring> {
        let mut ring = Self::default();
        for (kid, key) in keys {
            match ring.keys.entry(kid.into()) {
                Entry::Vacant(vacant) => vacant.insert(key),
                Entry::Occupied(taken) => {
                    return Err(InvalidKeyring::DuplicateKid { kid: taken.key().clone() });
                }
            };
            if ring.keys.len() > MAX_KEYS {
                return Err(InvalidKeyring::TooMany);
            }
        }
        Ok(ring)
    }

    /// Decodes the Ed25519 signature keys of a set and ignores keys of other kinds (RFC 7517 §5).
    ///
    /// # Errors
    /// Refuses the whole set when one of its Ed25519 keys is not sound.
    pub fn from_jwk_set(set: &JwkSet) -> Result<Self, InvalidKeyring> {
        if set.keys.len() > MAX_KEYS {
            return Err(InvalidKeyring::TooMany);
        }
        let mut keys = Vec::with_capacity(set.keys.len());
        for jwk in &set.keys {
            keys.extend(jwk.verifying_key()?.map(|(kid, key)| (kid.to_owned(), key)));
        }
        Self::new(keys)
    }

    /// Parses a JWK Set document.
    ///
    /// # Errors
    /// As [`from_jwk_set`](Self::from_jwk_set), and for what is not strict JSON of that shape.
    pub fn from_json(json: &[u8]) -> Result<Self, InvalidKeyring> {
        Self::from_jwk_set(&strict_json::from_slice(json)?)
    }

    /// Both sets together. The same key in both is one key.
    ///
    /// # Errors
    /// Refuses one key id that stands for two different keys.
    pub fn merge(mut self, other: Self) -> Result<Self, InvalidKeyring> {
        for (kid, key) in other.keys {
            match self.keys.entry(kid) {
                Entry::Vacant(vacant) => {
                    vacant.insert(key);
                }
                Entry::Occupied(same) if *same.get() == key => {}
                Entry::Occupied(taken) => {
                    return Err(InvalidKeyring::DuplicateKid { kid: taken.key().clone() });
                }
            }
        }
        if self.keys.len() > MAX_KEYS { Err(InvalidKeyring::TooMany) } else { Ok(self) }
    }

    /// The key that a token names. A token without a key id is taken only where one key is all there is.
    pub(crate) fn find(&self, kid: Option<&str>) -> Result<&VerifyingKey, Reject> {
        let mut keys = self.keys.values();
        match (kid, keys.next(), keys.next()) {
            (_, None, _) => Err(Reject::Unavailable),
            (None, Some(only), None) => Ok(only),
            (None, ..) => Err(Reject::UnknownKey),
            (Some(kid), ..) => self.keys.get(kid).ok_or(Reject::UnknownKey),
        }
    }

    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(AsRef::as_ref)
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}
