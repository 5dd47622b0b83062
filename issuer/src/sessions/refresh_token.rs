//! The refresh token: `version.session.counter.mac`. It is derived, never stored, so that a stolen database holds
//! no token; a token that we did not make is refused before the database is asked.

use base64ct::{Base64UrlUnpadded, Encoding as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::config::Secret;

const VERSION: &str = "v1";

/// What a genuine refresh token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshToken {
    /// Lower case, hyphenated.
    pub session_id: String,
    pub counter: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a refresh token of ours")]
pub struct Forged;

impl RefreshToken {
    /// The token as a client holds it.
    pub fn sign(&self, secret: &Secret) -> String {
        let body = format!("{VERSION}.{}.{}", self.session_id, self.counter);
        let mac = mac(&body, secret).finalize().into_bytes();
        format!("{body}.{}", Base64UrlUnpadded::encode_string(&mac))
    }

    /// Reads a token and compares its MAC in constant time.
    ///
    /// # Errors
    /// [`Forged`] for anything that [`RefreshToken::sign`] would not write, to the byte.
    pub fn verify(text: &str, secret: &Secret) -> Result<Self, Forged> {
        let (body, tag) = text.rsplit_once('.').ok_or(Forged)?;
        let mut expected = [0; 32];
        let tag = Base64UrlUnpadded::decode(tag, &mut expected).map_err(|_| Forged)?;
        mac(body, secret).verify_slice(tag).map_err(|_| Forged)?;
        let mut parts = body.split('.');
        let (Some(VERSION), Some(id), Some(counter), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Forged);
        };
        let session_id = Uuid::try_parse(id).map_err(|_| Forged)?.hyphenated().to_string();
        Ok(Self { session_id, counter: counter.parse().map_err(|_| Forged)? })
    }
}

fn mac(body: &str, secret: &Secret) -> Hmac<Sha256> {
    // A secret of any length, condensed to a block, as HMAC does with long keys (RFC 2104 §2).
    let mut block = Zeroizing::new([0; 64]);
    let (key, _padding) = block.split_at_mut(32);
    key.copy_from_slice(&Sha256::digest(secret.bytes()));
    let mut mac = Hmac::<Sha256>::new((&*block).into());
    // Names the purpose, so that the secret cannot be made to sign anything else.
    mac.update(b"countersign refresh token\0");
    mac.update(body.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secret() -> Secret {
        Secret::new(&[7; 32])
    }

    fn token() -> RefreshToken {
        RefreshToken { session_id: "01940000-0000-7000-8000-000000000001".into(), counter: 41 }
    }

    #[test]
    fn reads_what_it_wrote() {
        let text = token().sign(&secret());
        assert!(text.starts_with("v1.01940000-0000-7000-8000-000000000001.41."));
        assert_eq!(RefreshToken::verify(&text, &secret()), Ok(token()));
    }

    #[test]
    fn another_secret_refuses_it() {
        let text = token().sign(&Secret::new(&[8; 32]));
        assert_eq!(RefreshToken::verify(&text, &secret()), Err(Forged));
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
