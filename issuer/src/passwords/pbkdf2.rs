//! PBKDF2 (RFC 8018) with HMAC-SHA-256 or -512, as other systems stored it: `$pbkdf2-sha256$i=600000,l=32$salt$hash`,
//! and the shorter form of passlib, `$pbkdf2-sha256$29000$salt$hash`, which writes `.` for `+`.

use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::argon2id::{Memory, Unusable};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Digest {
    Sha256,
    Sha512,
}

/// A stored PBKDF2 hash.
#[derive(Debug)]
pub(super) struct Pbkdf2 {
    digest: Digest,
    iterations: u32,
    salt: Salt,
    expected: Output,
}

impl Pbkdf2 {
    /// Whether a stored hash says that it is one.
    pub(super) fn is_meant(stored: &str) -> bool {
        stored.starts_with("$pbkdf2-")
    }

    pub(super) fn parse(stored: &str) -> Result<Self, Unusable> {
        let mut fields = stored.split('$').skip(1);
        let (Some(name), Some(params)) = (fields.next(), fields.next()) else { return Err(Unusable::Form) };
        let digest = match name {
            "pbkdf2-sha256" => Digest::Sha256,
            "pbkdf2-sha512" => Digest::Sha512,
            _ => return Err(Unusable::Scheme),
        };
        let short = !params.is_empty() && params.bytes().all(|b| b.is_ascii_digit());
        let (iterations, salt, expected, length) = if short {
            let (Some(salt), Some(hash), None) = (fields.next(), fields.next(), fields.next()) else {
                return Err(Unusable::Form);
            };
            let salt = Salt::from_b64(&salt.replace('.', "+")).map_err(|_| Unusable::Form)?;
            let hash = Output::decode(&hash.replace('.', "+")).map_err(|_| Unusable::Form)?;
            (params.parse().map_err(|_| Unusable::Bounds)?, salt, hash, None)
        } else {
            let hash = PasswordHash::new(stored).map_err(|_| Unusable::Form)?;
            let (Some(salt), Some(expected)) = (hash.salt, hash.hash) else { return Err(Unusable::Form) };
            let known = hash.params.iter().all(|(name, _)| ["i", "l"].contains(&name.as_str()));
            let iterations = hash.params.get_decimal("i").filter(|_| known && hash.version.is_none());
            (iterations.ok_or(Unusable::Form)?, salt, expected, hash.params.get_decimal("l"))
        };
        if length.is_some_and(|length| usize::try_from(length) != Ok(expected.len())) {
            return Err(Unusable::Form);
        }
        if iterations == 0 {
            return Err(Unusable::Bounds);
        }
        Ok(Self { digest, iterations, salt, expected })
    }

    /// In blocks of Argon2id. SHA-256 counts as quick as it is on processors with instructions for it: where it takes
    /// longer, a login takes longer, too, and never less.
    pub(super) fn work(&self) -> u64 {
        let (blocks, iterations, of_output) = match self.digest {
            Digest::Sha256 => (2, 5, 32),
            Digest::Sha512 => (5, 4, 64),
        };
        u64::from(self.iterations) * self.expected.len().div_ceil(of_output) as u64 * blocks / iterations
    }

    /// Whether it was made from `password`.
    pub(super) fn fits(&self, password: &[u8], memory: &mut Memory) -> bool {
        let mut output = Zeroizing::new(vec![0; self.expected.len()]);
        match self.digest {
            Digest::Sha256 => {
                ::pbkdf2::pbkdf2_hmac::<Sha256>(password, &self.salt, self.iterations, &mut output);
            }
            Digest::Sha512 => {
                ::pbkdf2::pbkdf2_hmac::<Sha512>(password, &self.salt, self.iterations, &mut output);
            }
        }
        memory.count(self.work());
        output.as_slice().ct_eq(self.expected.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passwords::argon2id::Cost;

    fn fits(stored: &str, password: &str) -> bool {
        let mut memory = Memory::new(Cost { memory_kib: 16, passes: 1 });
        Pbkdf2::parse(stored).unwrap().fits(password.as_bytes(), &mut memory)
    }

    /// From the tutorial of passlib 1.7.
    const SHORT: &str =
        "$pbkdf2-sha256$29000$N2YMIWQsBWBMae09x1jrPQ$1t8iyB2A.WF/Z5JZv.lfCIhXXN33N23OSgQYThBYRfk";

    #[test]
    fn a_published_hash_fits_its_password_in_either_form() {
        let long = SHORT.replace("$29000$", "$i=29000,l=32$").replace('.', "+");
        let longer = SHORT.replace("$29000$", "$i=29000$").replace('.', "+");
        for stored in [SHORT, &long, &longer] {
            assert!(fits(stored, "toomanysecrets") && !fits(stored, "toomanysecret"), "{stored}");
        }
    }

    #[test]
    fn sha_512_is_taken_too() {
        let made = ::pbkdf2::pbkdf2_hmac_array::<Sha512, 64>(b"right", b"salt of sixteen.", 1000);
        let (salt, hash) = (Salt::new(b"salt of sixteen.").unwrap(), Output::new(&made).unwrap());
        let stored = format!("$pbkdf2-sha512$i=1000,l=64${salt}${hash}");
        assert!(fits(&stored, "right") && !fits(&stored, "wrong"));
        assert!(!fits(&SHORT.replace("sha256", "sha512"), "toomanysecrets"));
    }

    #[test]
    fn what_is_no_pbkdf2_hash_is_refused() {
        for (change, refusal) in [
            ("$0$", Unusable::Bounds),
            ("$4294967296$", Unusable::Bounds),
            ("$i=0$", Unusable::Bounds),
            ("$i=29000,l=31$", Unusable::Form),
            ("$i=29000,x=1$", Unusable::Form),
            ("$v=1$i=29000$", Unusable::Form),
            ("$l=32$", Unusable::Form),
            ("$-1$", Unusable::Form),
            ("$", Unusable::Form),
        ] {
            let stored = SHORT.replace("$29000$", change).replace('.', "+");
            assert_eq!(Pbkdf2::parse(&stored).unwrap_err(), refusal, "{change}");
        }
        assert_eq!(Pbkdf2::parse("$pbkdf2-md5$1$c2FsdHNhbHQ$x").unwrap_err(), Unusable::Scheme);
        assert_eq!(Pbkdf2::parse("$pbkdf2-sha256").unwrap_err(), Unusable::Form);
        assert_eq!(Pbkdf2::parse(&format!("{SHORT}$x")).unwrap_err(), Unusable::Form);
    }
}
