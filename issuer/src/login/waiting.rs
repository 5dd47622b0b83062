//! A login whose password was right and whose code is still to come: a row that any issuer can finish, named by a
//! token of which only the hash is stored.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use sha2::{Digest as _, Sha256};

use super::Wishes;
use crate::ambient::Entropy;

/// How long a login waits, in seconds.
pub(super) const LIFETIME: i64 = 300;

/// How many codes are looked at.
pub(super) const ATTEMPTS: i64 = 5;

/// A login that waits.
#[derive(Debug, Clone, Copy)]
pub struct Waiting {
    /// As it was when the password was checked; if it has moved, the login is void.
    pub epoch: i64,
    pub wishes: Wishes,
}

/// Names a waiting login.
#[derive(Clone)]
pub struct SessionToken(String);

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(…)")
    }
}

impl SessionToken {
    pub(super) fn draw(entropy: &Entropy) -> Self {
        Self(Base64UrlUnpadded::encode_string(&entropy.bytes::<32>()))
    }

    /// Whatever a client sent for one.
    pub(super) fn sent(text: String) -> Self {
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }
}
