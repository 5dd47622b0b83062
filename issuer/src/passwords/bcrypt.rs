//! bcrypt, as other systems stored it: `$2b$12$`, a salt of 22 characters and a hash of 31. `$2a$` and `$2y$` are the
//! same computation; `$2x$`, that of a faulty one, is not taken.

use base64ct::{Base64Bcrypt, Encoding as _};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::argon2id::{Memory, Unusable};

/// bcrypt looks at no more of a password.
const LONGEST: usize = 72;

/// What setting up Blowfish once more takes, in blocks of Argon2id.
const BLOCKS_A_ROUND: u64 = 150;

/// A stored bcrypt hash.
#[derive(Debug)]
pub(super) struct Bcrypt {
    cost: u32,
    salt: [u8; 16],
    expected: [u8; 23],
}

impl Bcrypt {
    /// Whether a stored hash says that it is one.
    pub(super) fn is_meant(stored: &str) -> bool {
        ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| stored.starts_with(prefix))
    }

    pub(super) fn parse(stored: &str) -> Result<Self, Unusable> {
        let (cost, rest) = stored.get(4..).and_then(|rest| rest.split_once('$')).ok_or(Unusable::Form)?;
        let (salt, expected) = rest.split_at_checked(22).ok_or(Unusable::Form)?;
        if cost.len() != 2 || !cost.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Unusable::Form);
        }
        let cost = cost.parse().map_err(|_| Unusable::Form)?;
        if !(4..=31).contains(&cost) {
            return Err(Unusable::Bounds);
        }
        Ok(Self { cost, salt: decode(salt)?, expected: decode(expected)? })
    }

    pub(super) fn work(&self) -> u64 {
        BLOCKS_A_ROUND << self.cost
    }

    /// Whether it was made from `password`. Of one with a NUL, some systems took the whole and some what comes before:
    /// both are tried. Others refuse NULs, and have no hash of such a password.
    pub(super) fn fits(&self, password: &[u8], memory: &mut Memory) -> bool {
        let before_nul = password.split(|byte| *byte == 0).next().unwrap_or_default();
        let cut = before_nul.len() < password.len().min(LONGEST) && !before_nul.is_empty();
        self.is_of(password, memory) || (cut && self.is_of(before_nul, memory))
    }

    fn is_of(&self, password: &[u8], memory: &mut Memory) -> bool {
        // The NUL at the end is part of what is hashed, if there is room for it.
        let mut key = Zeroizing::new(Vec::with_capacity(LONGEST));
        key.extend(password.iter().chain(&[0]).take(LONGEST));
        let output = Zeroizing::new(::bcrypt::bcrypt(self.cost, self.salt, &key));
        memory.count(self.work());
        output.get(..self.expected.len()).is_some_and(|output| output.ct_eq(&self.expected).into())
    }
}

fn decode<const N: usize>(text: &str) -> Result<[u8; N], Unusable> {
    let mut bytes = [0; N];
    match Base64Bcrypt::decode(text, &mut bytes) {
        Ok(decoded) if decoded.len() == N => Ok(bytes),
        _ => Err(Unusable::Form),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passwords::argon2id::Cost;

    fn fits(stored: &str, password: &[u8]) -> bool {
        let mut memory = Memory::new(Cost { memory_kib: 16, passes: 1 });
        Bcrypt::parse(stored).unwrap().fits(password, &mut memory)
    }

    /// The hash of `password` as a system makes it that keeps NULs.
    fn hash(password: &[u8]) -> String {
        let key: Vec<u8> = password.iter().chain(&[0]).copied().take(72).collect();
        let output = ::bcrypt::bcrypt(4, [7; 16], &key);
        let text = |bytes: &[u8]| Base64Bcrypt::encode_string(bytes);
        format!("$2b$04${}{}", text(&[7; 16]), text(&output[..23]))
    }

    /// From the test suites of Openwall's crypt_blowfish 1.3 (`$2a$`, `$2y$`) and of jBCrypt 0.4.
    const VECTORS: [(&str, &[u8]); 8] = [
        ("$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", b"U*U"),
        ("$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK", b"U*U*"),
        ("$2a$05$XXXXXXXXXXXXXXXXXXXXXOAcXxm9kjPGEMsLznoKqmqw7tc8WCx4a", b"U*U*U"),
        ("$2a$05$CCCCCCCCCCCCCCCCCCCCC.7uG0VCzI2bS7j6ymqJi9CdcdxiRTWNy", b""),
        ("$2y$05$/OK.fbVrR/bpIqNJ5ianF.CE5elHaaO4EbggVDjb8P19RukzXSM3e", b"\xff\xff\xa3"),
        (
            "$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui",
            b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789chars after 72 are ignored",
        ),
        ("$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe", b"a"),
        ("$2a$08$aTsUwsyowQuzRrDqFflhgekJ8d9/7Z3GV3UcgvzQW3J5zMyrTvlz.", b"abcdefghijklmnopqrstuvwxyz"),
    ];

    #[test]
    fn published_hashes_fit_their_passwords() {
        for (stored, password) in VECTORS {
            for prefix in ["$2a$", "$2b$", "$2y$"] {
                let stored = format!("{prefix}{}", &stored[4..]);
                assert!(fits(&stored, password), "{stored}");
                assert!(!fits(&stored, &[b"x", password].concat()), "{stored}");
            }
        }
    }

    #[test]
    fn what_comes_after_72_bytes_does_not_count() {
        let stored = hash("x".repeat(80).as_bytes());
        assert!(fits(&stored, "x".repeat(72).as_bytes()) && fits(&stored, "x".repeat(100).as_bytes()));
        assert!(!fits(&stored, "x".repeat(71).as_bytes()));
        // Also in the middle of a character.
        let stored = hash(format!("{}é", "x".repeat(71)).as_bytes());
        assert!(fits(&stored, format!("{}ê", "x".repeat(71)).as_bytes()));
    }

    #[test]
    fn a_nul_is_kept_or_ends_the_password_as_it_did_there() {
        let (whole, before) = (hash(b"tundra\0velvet"), hash(b"tundra"));
        assert!(fits(&whole, b"tundra\0velvet") && fits(&before, b"tundra\0velvet"));
        assert!(!fits(&whole, b"tundra") && !fits(&whole, b"tundra\0"));
        // Not even the hash of nothing fits what begins with one.
        assert!(!fits(&hash(b""), b"\0velvet"));
    }

    #[test]
    fn what_is_no_bcrypt_hash_is_refused() {
        let good = hash(b"right");
        for spoiled in [
            good.replace("$04$", "$4$"),
            good.replace("$04$", "$+4$"),
            good.replace("$04$", "$04"),
            good[..59].to_owned(),
            format!("{good}."),
            good.replace("$2b$", "$2b$é"),
            "$2b$".to_owned(),
            "$2b$04$ééééééééééé".to_owned(),
        ] {
            assert_eq!(Bcrypt::parse(&spoiled).unwrap_err(), Unusable::Form, "{spoiled}");
        }
        for cost in ["00", "03", "32", "99"] {
            let stored = good.replace("$04$", &format!("${cost}$"));
            assert_eq!(Bcrypt::parse(&stored).unwrap_err(), Unusable::Bounds, "{cost}");
        }
    }
}
