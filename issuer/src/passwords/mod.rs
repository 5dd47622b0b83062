//! Passwords: what a good one is, and how one is hashed and checked. A password is never logged, never shown by
//! `Debug`, and its memory is wiped when it is dropped.

mod argon2id;
mod hasher;
mod http;

use std::collections::BTreeSet;
use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer};
use zxcvbn::Score;

use crate::accounts::{Email, Name};

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

/// zxcvbn looks at this many characters from either end: a part that is hard to guess makes the whole so.
const SCORED_CHARS: usize = 20;

/// zxcvbn tries every way of reading symbols and digits as letters, and the ways multiply with each different one.
/// Ten unrelated ones are a good password by themselves, and both ends together cost less than a hash.
const SCORED_SYMBOLS: usize = 10;

/// Shorter parts of a name or address turn up in good passwords by chance.
const PERSONAL_CHARS: usize = 4;

/// Parts of a name and address that zxcvbn looks for in disguise; as they stand, all of them are looked for.
const SCORED_PERSONAL: usize = 8;

impl Password {
    /// Checks that a new password has 12 to 128 characters.
    ///
    /// # Errors
    /// [`WeakPassword::TooShort`] or [`WeakPassword::TooLong`].
    pub fn check_length(&self) -> Result<(), WeakPassword> {
        match self.expose().chars().count() {
            0..12 => Err(WeakPassword::TooShort),
            12..=128 => Ok(()),
            _ => Err(WeakPassword::TooLong),
        }
    }
}

/// Checks a new password: its length, zxcvbn score 3 or more, not made from the e-mail or name. May take as long as
/// hashing it: [`Hasher::check_strength`] does it where nobody waits.
///
/// # Errors
/// The first rule it breaks.
pub fn check_strength(password: &Password, email: &Email, name: &Name) -> Result<(), WeakPassword> {
    password.check_length()?;
    let password = password.expose();
    let lower = password.to_lowercase();
    let (email, name) = (email.as_str(), name.as_str());
    let local = email.split('@').next().unwrap_or_default();
    let personal: Vec<String> = [local, name]
        .into_iter()
        .chain(name.split_whitespace())
        .map(str::to_lowercase)
        .filter(|part| part.chars().count() >= PERSONAL_CHARS)
        .collect();
    if personal.iter().any(|part| lower.contains(part.as_str())) {
        return Err(WeakPassword::Personal);
    }
    let inputs: Vec<&str> = personal.iter().map(String::as_str).take(SCORED_PERSONAL).collect();
    let strong = |part: String| zxcvbn::zxcvbn(&part, &inputs).score() >= Score::Three;
    if strong(scored(password.chars())) || strong(scored(password.chars().rev()).chars().rev().collect()) {
        Ok(())
    } else {
        Err(WeakPassword::Guessable)
    }
}

/// As many of the characters as zxcvbn can look at in bounded time.
fn scored(password: impl Iterator<Item = char>) -> String {
    let mut symbols = BTreeSet::new();
    let bounded = |c: &char| {
        if !c.is_alphabetic() {
            symbols.insert(*c);
        }
        symbols.len() <= SCORED_SYMBOLS
    };
    password.take(SCORED_CHARS).take_while(bounded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(password: &str) -> Result<(), WeakPassword> {
        let (email, name) = (Email::parse("ada.lovelace@example.com"), Name::parse("Ada King Lovelace"));
        check_strength(&Password::new(password.into()), &email.unwrap(), &name.unwrap())
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
    fn what_is_scored_has_few_different_symbols() {
        for costly in ["4@({[<691!|7$5+4", "+50$(<91[%|6{!37@4", "a4@e3i1!|o0s$5t7+b8c({[<g69l1z2x%"] {
            let scored = scored(costly.chars());
            let symbols: BTreeSet<char> = scored.chars().filter(|c| !c.is_alphabetic()).collect();
            assert!(symbols.len() <= 10 && scored.chars().count() <= 20, "{scored}");
            assert_eq!(check(costly), Ok(()));
        }
        assert_eq!(scored("Kd8#mQz2!vTr".chars()), "Kd8#mQz2!vTr");
    }

    #[test]
    fn names_of_many_words_are_all_looked_for() {
        let words: Vec<String> = (0..25).map(|word| format!("{word:04}")).collect();
        let name = Name::parse(&words.join(" ")).unwrap();
        let email = Email::parse("ada@example.com").unwrap();
        let check = |password: &str| check_strength(&Password::new(password.into()), &email, &name);
        assert_eq!(check("tundra-0024-velvet"), Err(WeakPassword::Personal));
        assert_eq!(check("tundra-adagio-velvet"), Ok(()));
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
