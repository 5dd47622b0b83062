//! Passwords: what a good one is, how one is hashed and checked, changed and reset. A password is never logged, never
//! shown by `Debug`, and its memory is wiped when it is dropped.

mod argon2id;
mod bcrypt;
pub mod breached;
mod figures;
mod hasher;
pub mod http;
mod new;
mod pbkdf2;
mod reset;
mod scheme;
mod scrypt;
mod strength;

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer};
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

pub use argon2id::{Cost, Unusable};
pub use breached::{BreachedError, BreachedList};
pub use figures::Figures;
pub use hasher::{HashError, Hasher, StoredHash, Verification, available_memory_kib};
pub use new::NewPasswords;
pub use reset::Resets;
pub use scheme::check_importable;
pub use strength::{Policy, WeakPassword};

use strength::check_strength;

/// A password as someone typed it.
#[derive(Clone)]
pub struct Password(SecretString);

/// The most that a password may have, in characters of its normal form.
const MAX_CHARS: usize = 128;

/// A character of the normal form is composed of four at most, and each has four bytes at most. What is longer than
/// that for every character is too long, and need not be normalised to know.
const MAX_BYTES: usize = MAX_CHARS * 4 * 4;

impl Password {
    pub fn new(text: String) -> Self {
        Self(text.into())
    }

    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }

    /// The form in which it is judged and hashed (Unicode NFKC, as NIST SP 800-63B says), so that it is the same
    /// password from every keyboard.
    ///
    /// # Errors
    /// [`WeakPassword::TooLong`]. Bounded work, however long it is.
    fn normal(&self) -> Result<Zeroizing<String>, WeakPassword> {
        let typed = self.expose();
        if typed.len() > MAX_BYTES || typed.nfkc().count() > MAX_CHARS {
            return Err(WeakPassword::TooLong);
        }
        // With its size known, nothing is left behind unwiped by growing.
        let mut normal = String::with_capacity(typed.nfkc().map(char::len_utf8).sum());
        normal.extend(typed.nfkc());
        Ok(Zeroizing::new(normal))
    }
}

impl Default for Password {
    fn default() -> Self {
        Self::new(String::new())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::new(text.into())
    }

    #[test]
    fn no_password_of_128_characters_is_over_the_bound_of_bytes() {
        let composed = (char::MIN..=char::MAX).map(|c| std::iter::once(c).nfd().count()).max();
        assert_eq!(composed, Some(4));
        // One letter of four bytes, a Hangul syllable of three times three, a Greek letter with three marks.
        for one in ["\u{1D49C}", "\u{1112}\u{1161}\u{11AB}", "\u{1D6C2}\u{313}\u{300}\u{345}"] {
            assert_eq!(password(&one.repeat(128)).normal().unwrap().chars().count(), 128, "{one}");
            assert!(password(&one.repeat(129)).normal().is_err(), "{one}");
        }
    }

    #[test]
    fn what_is_over_the_bound_of_bytes_is_not_looked_at() {
        assert_eq!(password(&"x".repeat(1 << 20)).normal(), Err(WeakPassword::TooLong));
    }

    #[test]
    fn what_grows_when_normalised_is_counted_as_it_then_is() {
        assert_eq!(password(&"\u{FDFA}".repeat(7)).normal().unwrap().chars().count(), 126);
        assert!(password(&"\u{FDFA}".repeat(8)).normal().is_err());
    }

    #[test]
    fn debug_shows_no_password() {
        assert!(!format!("{:?}", password("hunter2")).contains("hunter2"));
    }
}
