//! Checking a password against what is stored for an account, if anything is: it costs what a hash of today costs,
//! so that nobody can tell by time whether there is an account, how old its hash is, or whether it can be used.
//!
//! A further scheme is a variant of [`Scheme`] here and a module beside `argon2id`. What it computes, it adds to the
//! work of [`Memory`] in blocks of Argon2id.

use argon2::ARGON2ID_IDENT;
use argon2::password_hash::phc::PasswordHash;

use super::Password;
use super::argon2id::{Argon2id, Cost, Memory, Unusable};

/// How a stored hash was made.
#[derive(Debug)]
enum Scheme {
    Argon2id(Argon2id),
}

impl Scheme {
    fn of(stored: &str) -> Result<Self, Unusable> {
        let hash = PasswordHash::new(stored).map_err(|_| Unusable::Form)?;
        if hash.algorithm == ARGON2ID_IDENT {
            Argon2id::parse(&hash).map(Self::Argon2id)
        } else {
            Err(Unusable::Scheme)
        }
    }

    fn fits(&self, password: &str, memory: &mut Memory) -> Result<bool, Unusable> {
        match self {
            Self::Argon2id(hash) => hash.fits(password.as_bytes(), memory),
        }
    }

    /// Whether a hash of today would be harder to guess.
    fn outdated(&self, today: Cost) -> bool {
        match self {
            Self::Argon2id(hash) => hash.work() < today.work(),
        }
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

/// Checks `password` at the work of `today`, or of `stored` if that is more.
pub(super) fn check(password: &Password, stored: Option<&str>, today: Cost, memory: &mut Memory) -> Checked {
    let before = memory.filled();
    let compared = match (stored, password.normal()) {
        (Some(stored), Ok(password)) => compare(&password, stored, today, memory),
        // No account, or what no account can have as its password.
        _ => Ok((false, false)),
    };
    let done = memory.filled() - before;
    today.spend(today.work().saturating_sub(done), memory);
    match compared {
        Ok((matches, outdated)) => Checked { matches, outdated, unusable: None },
        Err(unusable) => Checked { matches: false, outdated: false, unusable: Some(unusable) },
    }
}

fn compare(password: &str, stored: &str, today: Cost, memory: &mut Memory) -> Result<(bool, bool), Unusable> {
    let stored = Scheme::of(stored)?;
    Ok((stored.fits(password, memory)?, stored.outdated(today)))
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
            ("$argon2id$v=16$m=64,t=3,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo", Unusable::Form),
            ("$argon2i$v=19$m=64,t=3,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo", Unusable::Scheme),
            (&good.replace("m=64", "m=4294967295"), Unusable::Bounds),
            (&good.replace("t=3", "t=101"), Unusable::Bounds),
            (&good.replace("p=1", "p=2"), Unusable::Bounds),
        ] {
            let expected = Checked { unusable: Some(unusable), ..WRONG };
            assert_eq!(checked("right", Some(stored)), (expected, TODAY.work()), "{stored}");
        }
    }

    #[test]
    fn a_password_longer_than_any_is_wrong_and_costs_the_same() {
        for long in ["x".repeat(129), "\u{FDFA}".repeat(128), "x".repeat(1 << 20), "é".repeat(1 << 20)] {
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
}
