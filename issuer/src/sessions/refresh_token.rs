//! The refresh token: `version.session.counter.mac`. It is derived, never stored, so that a stolen database holds
//! no token; a token that we did not make is refused before the database is asked.

use base64ct::{Base64UrlUnpadded, Encoding as _};

use super::SessionId;
use crate::secrets::Ring;

const VERSION: &str = "v1";

/// Names the purpose, so that no MAC of ours for anything else is a refresh token.
const PURPOSE: &str = "refresh token";

/// What a genuine refresh token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshToken {
    pub session_id: SessionId,
    pub counter: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a refresh token of ours")]
pub struct Forged;

impl RefreshToken {
    /// The token as a client holds it.
    pub fn sign(&self, ring: &Ring) -> String {
        let body = format!("{VERSION}.{}.{}", self.session_id, self.counter);
        let mac = ring.mac(PURPOSE, body.as_bytes());
        format!("{body}.{}", Base64UrlUnpadded::encode_string(&mac))
    }

    /// Reads a token and compares its MAC in constant time.
    ///
    /// # Errors
    /// [`Forged`] for anything that [`RefreshToken::sign`] would not write, to the byte.
    pub fn verify(text: &str, ring: &Ring) -> Result<Self, Forged> {
        let (body, tag) = text.rsplit_once('.').ok_or(Forged)?;
        let mut expected = [0; 32];
        let tag = Base64UrlUnpadded::decode(tag, &mut expected).map_err(|_| Forged)?;
        if !ring.verify_mac(PURPOSE, body.as_bytes(), tag) {
            return Err(Forged);
        }
        let mut parts = body.split('.');
        let (Some(VERSION), Some(id), Some(counter), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Forged);
        };
        let session_id = SessionId::parse(id).ok_or(Forged)?;
        Ok(Self { session_id, counter: counter.parse().map_err(|_| Forged)? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ring(secrets: &[u8]) -> Ring {
        let text: Vec<String> =
            secrets.iter().map(|n| format!("secret number {n} of these tests only")).collect();
        Ring::of(&text)
    }

    fn secret() -> Ring {
        ring(&[7])
    }

    fn token() -> RefreshToken {
        RefreshToken {
            session_id: SessionId::parse("01940000-0000-7000-8000-000000000001").unwrap(),
            counter: 41,
        }
    }

    #[test]
    fn reads_what_it_wrote() {
        let text = token().sign(&secret());
        assert!(text.starts_with("v1.01940000-0000-7000-8000-000000000001.41."));
        assert_eq!(RefreshToken::verify(&text, &secret()), Ok(token()));
    }

    #[test]
    fn another_secret_refuses_it() {
        let text = token().sign(&ring(&[8]));
        assert_eq!(RefreshToken::verify(&text, &secret()), Err(Forged));
        assert_eq!(RefreshToken::verify(&text, &ring(&[7, 8])), Ok(token()));
    }

    #[test]
    fn truncated_macs_are_refused() {
        let text = token().sign(&secret());
        for cut in 1..text.len() {
            assert_eq!(RefreshToken::verify(&text[..cut], &secret()), Err(Forged), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn any_changed_byte_is_refused(at in 0usize..96, byte in 0x20u8..0x7f) {
            let mut text = token().sign(&secret()).into_bytes();
            let at = at % text.len();
            prop_assume!(text[at] != byte);
            text[at] = byte;
            prop_assert_eq!(RefreshToken::verify(std::str::from_utf8(&text).unwrap(), &secret()), Err(Forged));
        }

        #[test]
        fn nothing_makes_it_panic(text in "\\PC*") {
            prop_assert_eq!(RefreshToken::verify(&text, &secret()), Err(Forged));
        }
    }
}
