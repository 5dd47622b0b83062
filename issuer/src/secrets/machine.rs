//! Secrets that machines show: service tokens and API keys. Ours are 256 random bits with a prefix that says what they are
//! for, and a checksum, so that what was mistyped or made up is refused before the database is asked. Only their hash is
//! stored; it needs no salt and no cost, because nobody can try that many.

use std::fmt;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256, Sha512};
use zeroize::Zeroizing;

use crate::ambient::Entropy;

/// In bytes; other systems make longer ones than we do.
const LONGEST: usize = 256;

/// In bytes: what is shorter may be guessed.
const SHORTEST: usize = 16;

/// Characters of the random part that its owner may be shown again.
const HINT: usize = 8;

/// Characters of the checksum.
const CHECKSUM: usize = 8;

/// Not printed by `Debug`, wiped when dropped.
#[derive(Clone)]
pub struct MachineSecret(Zeroizing<String>);

/// Not quoted: it may be almost right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("must have {SHORTEST} to {LONGEST} visible ASCII characters")]
    Characters,
    #[error("begins as ours do, and its checksum is wrong: it was cut off or mistyped")]
    Checksum,
    #[error("is too short: 32 random bytes are needed, such as `head -c 32 /dev/urandom | base64` writes")]
    Weak,
}

impl fmt::Debug for MachineSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MachineSecret(…)")
    }
}

impl MachineSecret {
    /// A new one.
    pub fn draw(prefix: &'static str, entropy: &Entropy) -> Self {
        let random: Zeroizing<[u8; 32]> = Zeroizing::new(entropy.bytes());
        let mut text = Zeroizing::new(format!("{prefix}{}", HEXLOWER.encode(&random[..])));
        let checksum = checksum(&text);
        text.push_str(&checksum);
        Self(text)
    }

    /// One that was shown to us: ours to the byte, if it begins as ours with this prefix do, or another system's.
    ///
    /// # Errors
    /// [`Malformed`] for what cannot be one.
    pub fn read(prefix: &'static str, text: &[u8]) -> Result<Self, Malformed> {
        let fits = (SHORTEST..=LONGEST).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic);
        let text = std::str::from_utf8(text).ok().filter(|_| fits).ok_or(Malformed::Characters)?;
        if let Some(rest) = text.strip_prefix(prefix) {
            let length = 2 * size_of::<[u8; 32]>() + CHECKSUM;
            let parts = text.split_at_checked(text.len().saturating_sub(CHECKSUM));
            let whole = parts.is_some_and(|(body, end)| checksum(body) == end);
            if rest.len() != length || !whole {
                return Err(Malformed::Checksum);
            }
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// One that somebody else has drawn and wants to be taken: it has to be as hard to guess as ours.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn given(prefix: &'static str, text: &str) -> Result<Self, Malformed> {
        let short = text.len() < SHORTEST;
        let secret = Self::read(prefix, text.as_bytes())
            .map_err(|malformed| if short { Malformed::Weak } else { malformed })?;
        // 32 bytes have 64 hexadecimal digits, and 43 characters of base64.
        let needed = if text.bytes().all(|b| b.is_ascii_hexdigit()) { 64 } else { 43 };
        if text.len() < needed { Err(Malformed::Weak) } else { Ok(secret) }
    }

    /// As it is shown once.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// How it begins: enough to tell it from others, far too little to guess the rest.
    pub fn hint(&self, prefix: &'static str) -> &str {
        self.0.get(..prefix.len() + HINT).unwrap_or_default()
    }

    /// What is stored of it.
    pub fn sha256(&self) -> String {
        HEXLOWER.encode(&Sha256::digest(self.0.as_bytes()))
    }

    /// What other systems may have stored of theirs.
    pub fn sha512(&self) -> String {
        HEXLOWER.encode(&Sha512::digest(self.0.as_bytes()))
    }
}

/// CRC-32 (ISO-HDLC): against accidents, not against anyone.
fn checksum(text: &str) -> String {
    format!("{:08x}", crc32fast::hash(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PREFIX: &str = "cs_test_";

    fn drawn() -> MachineSecret {
        MachineSecret::draw(PREFIX, &Entropy::seeded(1))
    }

    #[test]
    fn what_was_drawn_is_read_and_nothing_that_was_changed() {
        let secret = drawn();
        let text = secret.expose();
        assert_eq!(text.len(), PREFIX.len() + 72);
        assert_eq!(MachineSecret::read(PREFIX, text.as_bytes()).unwrap().sha256(), secret.sha256());
        assert_ne!(MachineSecret::draw(PREFIX, &Entropy::seeded(2)).sha256(), secret.sha256());
        for cut in 24..text.len() {
            let refused = MachineSecret::read(PREFIX, &text.as_bytes()[..cut]).unwrap_err();
            assert_eq!(refused, Malformed::Checksum, "{cut}");
        }
        for refused in [text.to_uppercase().replace("CS_TEST_", PREFIX), format!("{text}0")] {
            assert_eq!(MachineSecret::read(PREFIX, refused.as_bytes()).unwrap_err(), Malformed::Checksum);
        }
    }

    #[test]
    fn another_systems_secret_is_read_as_it_is() {
        for text in ["sk_live_0123456789abcdef", "0123456789abcdef", &"x".repeat(256)] {
            assert_eq!(MachineSecret::read(PREFIX, text.as_bytes()).unwrap().expose(), text);
        }
        for bad in [&b""[..], b"short", b"with a space in it", b"\xff0123456789abcdef", &[b'x'; 257]] {
            assert_eq!(MachineSecret::read(PREFIX, bad).unwrap_err(), Malformed::Characters);
        }
    }

    #[test]
    fn what_is_given_has_256_bits() {
        for good in [&"0".repeat(64), &"Zm9v".repeat(11), drawn().expose()] {
            assert!(MachineSecret::given(PREFIX, good).is_ok(), "{good}");
        }
        for weak in ["short".into(), "a-password-of-someone's".into(), "0".repeat(63), "Zm9v".repeat(10)] {
            assert_eq!(MachineSecret::given(PREFIX, &weak).unwrap_err(), Malformed::Weak);
        }
    }

    #[test]
    fn nothing_prints_it() {
        let secret = drawn();
        assert_eq!(format!("{secret:?}"), "MachineSecret(…)");
        assert_eq!(secret.hint(PREFIX).len(), PREFIX.len() + 8);
        for refusal in [Malformed::Characters, Malformed::Checksum, Malformed::Weak] {
            assert!(!refusal.to_string().contains(PREFIX));
        }
    }

    proptest! {
        #[test]
        fn no_changed_byte_passes(at in 8usize..80, byte in 0x21u8..0x7f) {
            let mut text = drawn().expose().as_bytes().to_vec();
            prop_assume!(text[at] != byte);
            text[at] = byte;
            prop_assert_eq!(MachineSecret::read(PREFIX, &text).unwrap_err(), Malformed::Checksum);
        }
    }
}
