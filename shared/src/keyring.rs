//! The keys that tokens are verified with, by key id. Keys are decoded once, here; those in use are prepared,
//! within a bound, and only a valid signature shows that a key is in use.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use jwt_compact::Algorithm;

use crate::{Alg, InvalidKey, JwkSet, Reject, Signature, VerifyingKey, strict_json};

/// A set with more keys than this is refused: no schedule publishes that many.
pub const MAX_KEYS: usize = 256;

/// How many keys of one ring hold a table: a key, its successor during a rotation, and one to spare.
pub const MAX_PREPARED_KEYS: usize = 3;
/// After so many seconds without a valid signature a key's table may go to another key.
const IDLE_AFTER: i64 = 60;

/// Public keys by key id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keyring {
    keys: BTreeMap<Box<str>, VerifyingKey>,
}

/// Why a set of keys is refused as a whole: one of its Ed25519 keys is not sound, or it is no set. Keys of other kinds
/// and uses are ignored.
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
    #[error("no Ed25519 key to verify with")]
    NoUsableKey,
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

    /// Takes over what `previous` has computed for the same keys, so that a refresh which brings them again
    /// costs nothing.
    pub fn adopt(&mut self, previous: &Self) {
        for (kid, key) in &mut self.keys {
            if let Some(known) = previous.keys.get(kid).filter(|known| *known == key) {
                *key = known.clone();
            }
        }
    }

    /// Computes now what the first token would otherwise wait for (some milliseconds): the basepoint's table,
    /// and the keys' where there are no more than [`MAX_PREPARED_KEYS`] of them.
    pub fn prepare(&self) {
        VerifyingKey::prepare_basepoint();
        if self.keys.len() <= MAX_PREPARED_KEYS {
            self.keys.values().for_each(VerifyingKey::prepare);
        }
    }

    /// Checks a signature with the key that the token names, at `now` (Unix seconds).
    pub(crate) fn verify(
        &self,
        kid: Option<&str>,
        message: &[u8],
        signature: &Signature,
        now: i64,
    ) -> Result<(), Reject> {
        let key = self.find(kid)?;
        if !Alg::EdDsa.verify_signature(signature, key, message) {
            return Err(Reject::BadSignature);
        }
        key.used(now);
        if !key.is_prepared() && self.has_room(now) {
            key.prepare();
        }
        Ok(())
    }

    /// Whether one more key may be prepared, if need be instead of the one that has been idle longest.
    fn has_room(&self, now: i64) -> bool {
        if self.prepared().count() < MAX_PREPARED_KEYS {
            return true;
        }
        let idlest = self.prepared().min_by_key(|key| key.last_use());
        let idle = idlest.filter(|key| now.saturating_sub(key.last_use()) >= IDLE_AFTER);
        idle.inspect(|key| key.release()).is_some()
    }

    fn prepared(&self) -> impl Iterator<Item = &VerifyingKey> {
        self.keys.values().filter(|key| key.is_prepared())
    }

    /// The key that a token names. A token without a key id is taken only where one key is all there is.
    fn find(&self, kid: Option<&str>) -> Result<&VerifyingKey, Reject> {
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
