//! What a good password is. It holds when a password is set, never when one is checked.

use std::collections::BTreeSet;

use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

use super::{MAX_CHARS, Password};
use crate::accounts::{Email, Name};
use crate::config;

/// What the configuration asks of a new password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// In characters.
    pub min_length: usize,
    /// The least score by zxcvbn, 0 to 4; 0 asks for none.
    pub min_score: u8,
}

impl Default for Policy {
    fn default() -> Self {
        Self { min_length: 12, min_score: 3 }
    }
}

impl From<&config::Passwords> for Policy {
    fn from(passwords: &config::Passwords) -> Self {
        Self { min_length: passwords.min_length, min_score: passwords.min_score }
    }
}

/// Why a password is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeakPassword {
    #[error("must have at least {0} characters")]
    TooShort(usize),
    #[error("must have at most {MAX_CHARS} characters")]
    TooLong,
    #[error("must not contain your e-mail address or name")]
    Personal,
    #[error("is in a list of passwords that leaked elsewhere; choose one that you use nowhere else")]
    Breached,
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
    /// Checks that a new password has as many characters as the policy asks for, and at most 128.
    ///
    /// # Errors
    /// [`WeakPassword::TooShort`] or [`WeakPassword::TooLong`].
    pub fn check_length(&self, policy: Policy) -> Result<(), WeakPassword> {
        long_enough(&self.normal()?, policy)
    }
}

fn long_enough(password: &str, Policy { min_length, .. }: Policy) -> Result<(), WeakPassword> {
    if password.chars().count() < min_length { Err(WeakPassword::TooShort(min_length)) } else { Ok(()) }
}

/// What [`Hasher::check_strength`](super::Hasher::check_strength) checks without the list of breached passwords. May
/// take as long as hashing.
///
/// # Errors
/// The first rule it breaks.
pub(super) fn check_strength(
    policy: Policy,
    password: &Password,
    email: &Email,
    name: &Name,
) -> Result<(), WeakPassword> {
    let password = password.normal()?;
    long_enough(&password, policy)?;
    let lower = Zeroizing::new(password.to_lowercase());
    // The password is compared in its normal form, so they must be, too.
    let (local, name) = (email.local_part(), name.as_str());
    let name: String = name.nfkc().collect();
    let personal: Vec<String> = [local, &name]
        .into_iter()
        .chain(name.split_whitespace())
        .map(str::to_lowercase)
        .filter(|part| part.chars().count() >= PERSONAL_CHARS)
        .collect();
    if personal.iter().any(|part| lower.contains(part.as_str())) {
        return Err(WeakPassword::Personal);
    }
    if policy.min_score == 0 {
        return Ok(());
    }
    let inputs: Vec<&str> = personal.iter().map(String::as_str).take(SCORED_PERSONAL).collect();
    let strong = |part: String| u8::from(zxcvbn::zxcvbn(&part, &inputs).score()) >= policy.min_score;
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
        check_by(Policy::default(), password)
    }

    fn check_by(policy: Policy, password: &str) -> Result<(), WeakPassword> {
        let (email, name) = (Email::parse("ada.lovelace@example.com"), Name::parse("Ada King Lovelace"));
        check_strength(policy, &Password::new(password.into()), &email.unwrap(), &name.unwrap())
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
        let check = |password: &str| {
            check_strength(Policy::default(), &Password::new(password.into()), &email, &name)
        };
        assert_eq!(check("tundra-0024-velvet"), Err(WeakPassword::Personal));
        assert_eq!(check("tundra-adagio-velvet"), Ok(()));
    }

    #[test]
    fn counts_characters_of_the_normal_form_not_bytes() {
        assert_eq!(check("żółw-gęś-ja"), Err(WeakPassword::TooShort(12)));
        assert_eq!(check(&"u\u{308}".repeat(11)), Err(WeakPassword::TooShort(12)));
        assert_eq!(check(&"u\u{308}".repeat(128)), Err(WeakPassword::Guessable));
        assert_eq!(check(&"ü".repeat(129)), Err(WeakPassword::TooLong));
        assert_eq!(check(&"\u{FDFA}".repeat(8)), Err(WeakPassword::TooLong));
    }

    #[test]
    fn the_policy_says_how_long_and_how_hard_to_guess() {
        let long = Policy { min_length: 20, ..Policy::default() };
        assert_eq!(check_by(long, "Kd8#mQz2!vTr"), Err(WeakPassword::TooShort(20)));
        assert_eq!(Password::new("Kd8#mQz2!vTr".into()).check_length(long), Err(WeakPassword::TooShort(20)));
        let scored = |min_score, password| check_by(Policy { min_score, ..Policy::default() }, password);
        assert_eq!(scored(0, "aaaaaaaaaaaa"), Ok(()));
        assert_eq!(scored(1, "aaaaaaaaaaaa"), Err(WeakPassword::Guessable));
        assert_eq!(scored(1, "password1234"), Ok(()));
        assert_eq!(scored(3, "password1234"), Err(WeakPassword::Guessable));
        assert_eq!(scored(4, "correct horse battery staple"), Ok(()));
        // What is not about guessing holds at any score.
        let any = Policy { min_length: 8, min_score: 0 };
        assert_eq!(check_by(any, "1234567"), Err(WeakPassword::TooShort(8)));
        assert_eq!(check_by(any, "xx-lovelace"), Err(WeakPassword::Personal));
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
    fn refuses_a_name_in_other_letter_forms() {
        let (wide, email) =
            ("\u{FF41}\u{FF44}\u{FF41}\u{FF4C}", Email::parse("someone@example.com").unwrap());
        for (name, password) in [("adal", wide), (wide, "adal"), (wide, wide)] {
            let password = Password::new(format!("7!kQ {password} zr9#"));
            let name = Name::parse(name).unwrap();
            let judged = check_strength(Policy::default(), &password, &email, &name);
            assert_eq!(judged, Err(WeakPassword::Personal), "{name:?}");
        }
    }
}
