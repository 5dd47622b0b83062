//! Passwords: what a good one is, and how one is hashed and checked. A password is never logged, never shown by
//! `Debug`, and its memory is wiped when it is dropped.

mod argon2id;
mod hasher;

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer};
use zxcvbn::Score;

pub use argon2id::Cost;
pub use hasher::{HashError, Hasher, Verification, available_memory_kib};

/// A password as someone typed it.
#[derive(Clone)]
pub struct Password(SecretString);

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

/// Why a password is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeakPassword {
    #[error("must have at least 12 characters")]
    TooShort,
    #[error("must have at most 128 characters")]
    TooLong,
    #[error("must not contain your e-mail address or name")]
    Personal,
    #[error("is too easy to guess; use several unrelated words or more varied characters")]
    Guessable,
}

/// zxcvbn looks at this many characters from either end: a part that is hard to guess makes the whole so. On
/// 64 characters chosen to cost much it takes half a second, on 24 about as long as hashing the password.
const SCORED_CHARS: usize = 24;

/// Shorter parts of a name or address turn up in good passwords by chance.
const PERSONAL_CHARS: usize = 4;

/// Checks a new password: 12 to 128 characters, zxcvbn score 3 or more, not made from the e-mail or name. May
/// take tens of milliseconds: [`Hasher::check_strength`] does it where nobody waits.
///
/// # Errors
/// The first rule it breaks.
pub fn check_strength(password: &Password, email: &str, name: &str) -> Result<(), WeakPassword> {
    let password = password.expose();
    match password.chars().count() {
        0..12 => return Err(WeakPassword::TooShort),
        12..=128 => {}
        _ => return Err(WeakPassword::TooLong),
    }
    let lower = password.to_lowercase();
    let local = email.split('@').next().unwrap_or_default();
    let personal: Vec<String> = std::iter::once(local)
        .chain(std::iter::once(name))
        .chain(name.split_whitespace())
        .map(|part| part.trim().to_lowercase())
        .filter(|part| part.chars().count() >= PERSONAL_CHARS)
        .collect();
    if personal.iter().any(|part| lower.contains(part.as_str())) {
        return Err(WeakPassword::Personal);
    }
    let inputs: Vec<&str> = [email, name].into_iter().chain(personal.iter().map(String::as_str)).collect();
    let strong = |part: String| zxcvbn::zxcvbn(&part, &inputs).score() >= Score::Three;
    let skipped = password.chars().count().saturating_sub(SCORED_CHARS);
    let head = password.chars().take(SCORED_CHARS).collect();
    if strong(head) || (skipped > 0 && strong(password.chars().skip(skipped).collect())) {
        Ok(())
    } else {
        Err(WeakPassword::Guessable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(password: &str) -> Result<(), WeakPassword> {
        check_strength(&Password::new(password.into()), "ada.lovelace@example.com", "Ada King Lovelace")
    }

    #[test]
    fn takes_what_is_long_and_hard_to_guess() {
        assert_eq!(check("correct horse battery staple"), Ok(()));
        assert_eq!(check("Kd8#mQz2!vTr"), Ok(()));
        // Three letters of a name are no clue.
        assert_eq!(check("tundra-adagio-velvet-97"), Ok(()));
    }

    #[test]
    fn only_the_ends_of_a_long_password_are_scored() {
        let (weak, strong) = ("a".repeat(24), "Kd8#mQz2!vTr");
        assert_eq!(check(&format!("{strong}{weak}{weak}")), Ok(()));
        assert_eq!(check(&format!("{weak}{weak}{strong}")), Ok(()));
        assert_eq!(check(&format!("{weak}{strong}{weak}")), Err(WeakPassword::Guessable));
    }

    #[test]
    fn counts_characters_not_bytes() {
        assert_eq!(check("żółw-gęś-ja"), Err(WeakPassword::TooShort));
        assert_eq!(check(&"ü".repeat(129)), Err(WeakPassword::TooLong));
    }

    #[test]
    fn refuses_what_is_guessed_first() {
        for password in
            ["password1234", "aaaaaaaaaaaaaaaa", "qwertyuiop123", "123456789012", &"a".repeat(128)]
        {
            assert_eq!(check(password), Err(WeakPassword::Guessable), "{password}");
        }
    }

    #[test]
    fn refuses_what_names_its_owner() {
        for password in ["xx-ADA.LOVELACE-93-kq", "7!kQ lovelace zr9#", "ada king lovelace 4!x"] {
            assert_eq!(check(password), Err(WeakPassword::Personal), "{password}");
        }
    }

    #[test]
    fn debug_shows_no_password() {
        assert!(!format!("{:?}", Password::new("hunter2".into())).contains("hunter2"));
    }
}
