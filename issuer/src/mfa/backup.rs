//! Backup codes: for whoever has lost the telephone. Each is good once, and only its hash is stored; with 80 random
//! bits in it, a hash without a key keeps it.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::accounts::UserId;
use crate::ambient::Entropy;

/// Characters, without what is written between them.
const LENGTH: usize = 16;

/// Four groups of four letters and digits, as they are shown.
#[derive(Clone, PartialEq, Eq)]
pub struct BackupCode(Zeroizing<String>);

impl fmt::Debug for BackupCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BackupCode(…)")
    }
}

impl BackupCode {
    /// How many a user has.
    pub const SET: usize = 10;

    fn draw(entropy: &Entropy) -> Self {
        Self(Zeroizing::new(BASE32_NOPAD.encode(&entropy.bytes::<10>()).to_ascii_lowercase()))
    }

    /// A new set.
    pub fn draw_set(entropy: &Entropy) -> Vec<Self> {
        std::iter::repeat_with(|| Self::draw(entropy)).take(Self::SET).collect()
    }

    /// Reads one, from which what people write between the groups has been taken away.
    pub fn parse(text: &str) -> Option<Self> {
        let is_ours = |byte: u8| byte.is_ascii_alphabetic() || (b'2'..=b'7').contains(&byte);
        let fits = text.len() == LENGTH && text.bytes().all(is_ours);
        fits.then(|| Self(Zeroizing::new(text.to_ascii_lowercase())))
    }

    /// As it is shown, once.
    pub fn shown(&self) -> String {
        let groups: Vec<&str> = (0..LENGTH).step_by(4).filter_map(|at| self.0.get(at..at + 4)).collect();
        groups.join("-")
    }

    /// As it is stored, for this user.
    pub fn hash(&self, owner: &UserId) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in ["backup code", owner.as_str(), &self.0] {
            hash.update(part);
            hash.update(b"\0");
        }
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_set_is_ten_different_codes_that_read_as_they_are_shown() {
        let codes = BackupCode::draw_set(&Entropy::seeded(1));
        assert_eq!(codes.len(), 10);
        for (index, code) in codes.iter().enumerate() {
            assert_eq!(code.shown().len(), 19, "{}", code.shown());
            let typed = code.shown().replace('-', "").to_uppercase();
            assert_eq!(BackupCode::parse(&typed).as_ref(), Some(code));
            assert!(!codes[..index].contains(code));
        }
    }

    #[test]
    fn what_is_no_backup_code_is_not_read_as_one() {
        for text in
            ["", "123456", "abcdefghijklmno", "abcdefghijklmnopq", "abcdefghijklmno1", "äbcdefghijklmno"]
        {
            assert_eq!(BackupCode::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_hash_is_for_one_user() {
        let code = BackupCode::parse("abcdefghijklmnop").unwrap();
        assert_ne!(code.hash(&UserId::new(Uuid::nil())), code.hash(&UserId::new(Uuid::max())));
    }

    #[test]
    fn debug_shows_no_code() {
        assert_eq!(format!("{:?}", BackupCode::parse("abcdefghijklmnop")), "Some(BackupCode(…))");
    }
}
