//! Checking a password against what is stored for an account, if anything is: it costs what a hash of today costs,
//! so that nobody can tell by time whether there is an account, how old its hash is, or whether it can be used. Only
//! what was stored at more than today's cost takes longer.
//!
//! A further scheme is a variant of [`Scheme`] here and a module beside `argon2id`. What it computes, it adds to the
//! work of [`Memory`] in blocks of Argon2id.

use argon2::Algorithm;
use argon2::password_hash::phc::PasswordHash;
use zeroize::Zeroizing;

use super::argon2id::{Argon2, Cost, Memory, Unusable};
use super::bcrypt::Bcrypt;
use super::pbkdf2::Pbkdf2;
use super::scrypt::Scrypt;
use super::{MAX_BYTES, Password};

/// The most that checking a hash of another system may take, in blocks of Argon2id: about two seconds. That is a bcrypt
/// cost of 15.
const MAX_WORK: u64 = 6 << 20;

/// The most memory that checking a hash of another system may take, in KiB.
const MAX_MEMORY_KIB: u64 = 256 * 1024;

/// How a stored hash was made.
#[derive(Debug)]
enum Scheme {
    Argon2(Argon2),
    Bcrypt(Bcrypt),
    Scrypt(Scrypt),
    Pbkdf2(Pbkdf2),
}

impl Scheme {
    fn of(stored: &str) -> Result<Self, Unusable> {
        let scheme = Self::parse(stored)?;
        // What is as ours may come from a configuration that asked for more.
        let ours = matches!(&scheme, Self::Argon2(hash) if hash.is_ours());
        if ours || scheme.is_affordable() { Ok(scheme) } else { Err(Unusable::Bounds) }
    }

    fn parse(stored: &str) -> Result<Self, Unusable> {
        if Bcrypt::is_meant(stored) {
            return Bcrypt::parse(stored).map(Self::Bcrypt);
        }
        if Pbkdf2::is_meant(stored) {
            return Pbkdf2::parse(stored).map(Self::Pbkdf2);
        }
        let hash = PasswordHash::new(stored).map_err(|_| Unusable::Form)?;
        match Algorithm::new(hash.algorithm.as_str()) {
            Ok(algorithm) => Argon2::parse(algorithm, &hash).map(Self::Argon2),
            Err(_) if hash.algorithm.as_str() == Scrypt::NAME => Scrypt::parse(&hash).map(Self::Scrypt),
            Err(_) => Err(Unusable::Scheme),
        }
    }

    fn is_affordable(&self) -> bool {
        let memory = match self {
            Self::Argon2(hash) => hash.memory(),
            Self::Scrypt(hash) => hash.memory(),
            Self::Bcrypt(_) | Self::Pbkdf2(_) => 0,
        };
        self.work() <= MAX_WORK && memory <= MAX_MEMORY_KIB
    }

    fn work(&self) -> u64 {
        match self {
            Self::Argon2(hash) => hash.work(),
            Self::Bcrypt(hash) => hash.work(),
            Self::Scrypt(hash) => hash.work(),
            Self::Pbkdf2(hash) => hash.work(),
        }
    }

    fn fits(&self, password: &[u8], memory: &mut Memory) -> Result<bool, Unusable> {
        match self {
            Self::Argon2(hash) => hash.fits(password, memory),
            Self::Bcrypt(hash) => Ok(hash.fits(password, memory)),
            Self::Scrypt(hash) => Ok(hash.fits(password, memory)),
            Self::Pbkdf2(hash) => Ok(hash.fits(password, memory)),
        }
    }

    /// Whether a hash of today would be harder to guess, or is of the scheme that new ones have.
    fn outdated(&self, today: Cost) -> bool {
        match self {
            Self::Argon2(hash) if hash.is_ours() => hash.work() < today.work(),
            _ => true,
        }
    }
}

/// Checks that a hash of another system can be stored here: a password can be checked against it, in bounded time and
/// memory.
///
/// # Errors
/// [`Unusable`].
pub fn check_importable(stored: &str) -> Result<(), Unusable> {
    if Scheme::parse(stored)?.is_affordable() { Ok(()) } else { Err(Unusable::Bounds) }
}

impl Password {
    /// The forms in which it may have been hashed: the normal one, which ours is, and as it was typed, which other
    /// systems took. None if it is longer than any password.
    pub(super) fn forms(&self) -> Vec<Zeroizing<String>> {
        let typed = self.expose();
        let normal = self.normal().ok();
        let as_typed =
            typed.len() <= MAX_BYTES && normal.as_ref().is_none_or(|normal| normal.as_str() != typed);
        normal.into_iter().chain(as_typed.then(|| Zeroizing::new(typed.to_owned()))).collect()
    }
}

/// What a check has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checked {
    pub(super) matches: bool,
    pub(super) outdated: bool,
    /// Why what is stored fits no password at all.
    pub(super) unusable: Option<Unusable>,
}

/// Checks `password` at the work of `today`, or of `stored` if that is more, for each form that it may have been hashed
/// in: how many these are depends on what was typed, and not on the account.
pub(super) fn check(password: &Password, stored: Option<&str>, today: Cost, memory: &mut Memory) -> Checked {
    let before = memory.filled();
    let forms = password.forms();
    let compared = match stored {
        Some(stored) if !forms.is_empty() => compare(&forms, stored, today, memory),
        // No account, or what no account can have as its password.
        _ => Ok((false, false)),
    };
    let done = memory.filled() - before;
    let all = today.work().saturating_mul(forms.len().max(1) as u64);
    today.spend(all.saturating_sub(done), memory);
    match compared {
        // One that is longer than ours may be cannot be hashed again.
        Ok((matches, outdated)) => {
            Checked { matches, outdated: outdated && password.normal().is_ok(), unusable: None }
        }
        Err(unusable) => Checked { matches: false, outdated: false, unusable: Some(unusable) },
    }
}

fn compare(
    forms: &[Zeroizing<String>],
    stored: &str,
    today: Cost,
    memory: &mut Memory,
) -> Result<(bool, bool), Unusable> {
    let stored = Scheme::of(stored)?;
    let mut matches = false;
    for form in forms {
        matches = matches || stored.fits(form.as_bytes(), memory)?;
    }
    Ok((matches, stored.outdated(today)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: Cost = Cost { memory_kib: 64, passes: 3 };

    fn hash(password: &str, cost: Cost) -> String {
        cost.hash(password.as_bytes(), &[7; 16], &mut Memory::new(cost)).unwrap()
    }

    /// What a check shows, and its work.
    fn checked(password: &str, stored: Option<&str>) -> (Checked, u64) {
        let mut memory = Memory::new(TODAY);
        let checked = check(&Password::new(password.into()), stored, TODAY, &mut memory);
        (checked, memory.filled())
    }

    const WRONG: Checked = Checked { matches: false, outdated: false, unusable: None };

    #[test]
    fn an_unknown_account_costs_what_a_known_one_costs() {
        let stored = hash("right", TODAY);
        assert_eq!(checked("right", Some(&stored)), (Checked { matches: true, ..WRONG }, TODAY.work()));
        assert_eq!(checked("wrong", Some(&stored)), (WRONG, TODAY.work()));
        assert_eq!(checked("right", None), (WRONG, TODAY.work()));
    }

    #[test]
    fn a_hash_of_an_older_cost_costs_what_todays_costs() {
        for (memory_kib, passes) in [(8, 1), (16, 2), (64, 1), (64, 2), (32, 5), (100, 1)] {
            let stored = hash("right", Cost { memory_kib, passes });
            for (password, matches) in [("right", true), ("wrong", false)] {
                let (checked, work) = checked(password, Some(&stored));
                assert_eq!(checked, Checked { matches, outdated: true, unusable: None });
                assert!(TODAY.work() - work < 8, "{memory_kib} KiB, {passes} passes: {work}");
            }
        }
    }

    #[test]
    fn a_hash_is_outdated_only_if_todays_costs_more() {
        for (memory_kib, passes) in [(64, 3), (96, 2), (128, 3), (64, 4), (32, 7)] {
            let stored = hash("right", Cost { memory_kib, passes });
            let (checked, work) = checked("right", Some(&stored));
            assert_eq!(checked, Checked { matches: true, ..WRONG }, "{memory_kib} KiB, {passes} passes");
            assert_eq!(work, u64::from(memory_kib * passes));
        }
    }

    #[test]
    fn a_hash_that_cannot_be_used_fits_nothing_and_costs_the_same() {
        let good = hash("right", TODAY);
        for (stored, unusable) in [
            ("", Unusable::Form),
            ("x", Unusable::Form),
            ("right", Unusable::Form),
            ("$argon2id$v=19$m=64,t=3,p=1", Unusable::Form),
            ("$argon2id$v=17$m=64,t=3,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo", Unusable::Form),
            ("$2x$05$6bNw2HLQYeqHYyBfLMsv/OiwqTymGIGzFsA4hOTWebfehXHNprcAS", Unusable::Form),
            ("$yescrypt$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo", Unusable::Scheme),
            ("$2b$16$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", Unusable::Bounds),
            ("$scrypt$ln=21,r=8,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo", Unusable::Bounds),
            ("$scrypt$ln=11,r=8,p=1024$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo", Unusable::Bounds),
            ("$pbkdf2-sha256$i=4294967295$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo", Unusable::Bounds),
            ("$argon2i$v=19$m=524288,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo", Unusable::Bounds),
            ("$argon2d$v=16$m=65536,t=100,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo", Unusable::Bounds),
            (&good.replace("m=64", "m=4294967295"), Unusable::Bounds),
            (&good.replace("t=3", "t=101"), Unusable::Bounds),
            (&good.replace("m=64,t=3,p=1", "m=256,t=3,p=17"), Unusable::Bounds),
        ] {
            let expected = Checked { unusable: Some(unusable), ..WRONG };
            assert_eq!(checked("right", Some(stored)), (expected, TODAY.work()), "{stored}");
        }
    }

    #[test]
    fn a_password_longer_than_any_is_wrong_and_costs_the_same() {
        for long in ["x".repeat(2049), "\u{FDFA}".repeat(683), "x".repeat(1 << 20), "é".repeat(1 << 20)] {
            // Even if someone had stored its hash.
            let stored = hash(&long, TODAY);
            assert_eq!(checked(&long, Some(&stored)), (WRONG, TODAY.work()));
            assert_eq!(checked(&long, None), (WRONG, TODAY.work()));
        }
    }

    #[test]
    fn a_password_fits_however_its_characters_were_composed() {
        let stored = hash("\u{C5}ngstr\u{F6}m-fi-1", TODAY);
        for typed in [
            "\u{C5}ngstr\u{F6}m-fi-1",
            "\u{C5}ngstr\u{F6}m-\u{FB01}-\u{2460}",
            "A\u{30A}ngstro\u{308}m-fi-1",
            "\u{212B}ngstr\u{F6}m-fi-\u{FF11}",
        ] {
            assert!(checked(typed, Some(&stored)).0.matches, "{typed}");
        }
        assert!(!checked("Angstrom-fi-1", Some(&stored)).0.matches);
    }

    /// The hash of `password` as `python3 -c 'import argon2; …'` (argon2-cffi) and others write it.
    fn elsewhere(algorithm: Algorithm, version: argon2::Version, lanes: u32, password: &str) -> String {
        let params = argon2::Params::new(128, 2, lanes, Some(32)).unwrap();
        let mut output = [0; 32];
        let salt = b"salt of sixteen.";
        argon2::Argon2::new(algorithm, version, params)
            .hash_password_into(password.as_bytes(), salt, &mut output)
            .unwrap();
        let text = |bytes: &[u8]| <base64ct::Base64Unpadded as base64ct::Encoding>::encode_string(bytes);
        let version = u32::from(version);
        format!("${algorithm}$v={version}$m=128,t=2,p={lanes}${}${}", text(salt), text(&output))
    }

    #[test]
    fn every_variant_of_argon2_is_checked_and_outdated_unless_it_is_ours() {
        use argon2::Version::{V0x10, V0x13};
        for (algorithm, version, lanes, outdated) in [
            (Algorithm::Argon2id, V0x13, 1, false),
            (Algorithm::Argon2id, V0x13, 4, false),
            (Algorithm::Argon2id, V0x10, 1, true),
            (Algorithm::Argon2i, V0x13, 4, true),
            (Algorithm::Argon2i, V0x10, 1, true),
            (Algorithm::Argon2d, V0x13, 2, true),
        ] {
            let stored = elsewhere(algorithm, version, lanes, "right");
            assert_eq!(check_importable(&stored), Ok(()));
            let (right, work) = checked("right", Some(&stored));
            assert_eq!(right, Checked { matches: true, outdated, unusable: None }, "{stored}");
            assert_eq!(work, 256);
            assert!(!checked("wrong", Some(&stored)).0.matches, "{stored}");
        }
        // As the first version wrote it.
        let stored = elsewhere(Algorithm::Argon2i, V0x10, 1, "right").replace("$v=16", "");
        assert!(checked("right", Some(&stored)).0.matches);
    }

    /// Cheap hashes of "right" by other schemes.
    fn of_other_schemes() -> [String; 3] {
        let text = |bytes: &[u8]| <base64ct::Base64Unpadded as base64ct::Encoding>::encode_string(bytes);
        let bcrypt = |bytes: &[u8]| <base64ct::Base64Bcrypt as base64ct::Encoding>::encode_string(bytes);
        let salt = b"salt of sixteen.";
        let by_bcrypt = ::bcrypt::bcrypt(4, *salt, b"right\0");
        let mut by_scrypt = [0; 32];
        ::scrypt::scrypt(b"right", salt, &::scrypt::Params::new(4, 1, 1).unwrap(), &mut by_scrypt).unwrap();
        let by_pbkdf2 = ::pbkdf2::pbkdf2_hmac_array::<sha2::Sha256, 32>(b"right", salt, 10);
        [
            format!("$2b$04${}{}", bcrypt(salt), bcrypt(&by_bcrypt[..23])),
            format!("$scrypt$ln=4,r=1,p=1${}${}", text(salt), text(&by_scrypt)),
            format!("$pbkdf2-sha256$i=10,l=32${}${}", text(salt), text(&by_pbkdf2)),
        ]
    }

    #[test]
    fn a_hash_of_another_scheme_costs_no_less_than_todays_and_is_outdated() {
        const MORE: Cost = Cost { memory_kib: 1024, passes: 3 };
        for stored in of_other_schemes() {
            for (password, matches) in [("right", true), ("wrong", false)] {
                let mut memory = Memory::new(MORE);
                let checked = check(&Password::new(password.into()), Some(&stored), MORE, &mut memory);
                assert_eq!(checked, Checked { matches, outdated: true, unusable: None }, "{stored}");
                assert!(MORE.work() - memory.filled() < 8, "{stored}: {}", memory.filled());
            }
        }
    }

    #[test]
    fn a_password_hashed_as_it_was_typed_fits_and_costs_the_same_for_everyone() {
        let typed = "A\u{30A}ngstro\u{308}m-1";
        let stored = hash(typed, TODAY);
        assert_eq!(checked(typed, Some(&stored)).0, Checked { matches: true, ..WRONG });
        assert!(!checked("\u{C5}ngstr\u{F6}m-1", Some(&stored)).0.matches);
        let ours = hash("\u{C5}ngstr\u{F6}m-1", TODAY);
        for stored in [None, Some(&*stored), Some(&*ours), Some("spoiled")] {
            assert_eq!(checked(typed, stored).1, 2 * TODAY.work());
        }
    }

    #[test]
    fn a_longer_password_than_ours_may_be_is_checked_and_keeps_its_hash() {
        let long = "x".repeat(500);
        let stored = elsewhere(Algorithm::Argon2i, argon2::Version::V0x13, 1, &long);
        assert_eq!(checked(&long, Some(&stored)).0, Checked { matches: true, ..WRONG });
    }

    #[test]
    fn what_would_take_long_to_check_is_not_imported() {
        for (stored, importable) in [
            ("$2b$15$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", true),
            ("$2b$16$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", false),
            ("$argon2id$v=19$m=262144,t=3,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo", true),
            ("$argon2id$v=19$m=65536,t=96,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo", true),
            // As ours might be, but this one comes from a file.
            ("$argon2id$v=19$m=1048576,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo", false),
            ("$argon2id$v=19$m=65536,t=97,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo", false),
            ("$scrypt$ln=17,r=8,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo", true),
            ("$pbkdf2-sha256$i=1200000$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo", true),
        ] {
            assert_eq!(check_importable(stored).is_ok(), importable, "{stored}");
        }
    }
}
