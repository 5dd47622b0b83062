//! What a broker knows a user's program by. Wiped when dropped, printed by nothing, stored only sealed.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::TradingAccount;
use crate::ambient::UnixTime;
use crate::envelope::{Envelope, Error, Sealed};

/// The credentials of one account.
#[derive(Clone)]
pub struct Credentials {
    pub api_key: SecretString,
    pub api_secret: SecretString,
    /// What the broker gave for them, where it gives such.
    pub access_token: Option<AccessToken>,
}

/// What a broker lets a program in with, until the end that it has set.
#[derive(Clone)]
pub struct AccessToken {
    pub token: SecretString,
    pub expires_at: UnixTime,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(…)")
    }
}

/// What stands between the parts, none of which has it.
const BETWEEN: &str = "\0";

impl Credentials {
    /// As bytes to be sealed: made at once in their full length, so that no copy is left behind by growing.
    fn encoded(&self) -> Zeroizing<Vec<u8>> {
        let (token, expires_at) = match &self.access_token {
            Some(AccessToken { token, expires_at }) => {
                (token.expose_secret(), expires_at.seconds().to_string())
            }
            None => ("", String::new()),
        };
        let parts = [self.api_key.expose_secret(), self.api_secret.expose_secret(), token, &expires_at];
        Zeroizing::new(parts.join(BETWEEN).into_bytes())
    }

    fn decoded(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let parts: Vec<&str> = text.split(BETWEEN).collect();
        let [api_key, api_secret, token, expires_at] = parts.as_slice() else { return None };
        let access_token = match (*token, *expires_at) {
            ("", "") => None,
            (token, expires_at) => {
                let expires_at = UnixTime::from_seconds(expires_at.parse().ok()?);
                Some(AccessToken { token: token.into(), expires_at })
            }
        };
        Some(Self { api_key: (*api_key).into(), api_secret: (*api_secret).into(), access_token })
    }

    /// Sealed for this account and no other.
    ///
    /// # Errors
    /// As [`Envelope::seal`].
    pub(super) async fn seal(&self, account: &TradingAccount, envelope: &Envelope) -> Result<Sealed, Error> {
        envelope.seal(account.place(), &self.encoded()).await
    }

    /// Opens what was sealed for this account.
    ///
    /// # Errors
    /// As [`Envelope::open`].
    pub(super) async fn open(
        account: &TradingAccount,
        sealed: &Sealed,
        envelope: &Envelope,
    ) -> Result<Self, Error> {
        let plain = envelope.open(account.place(), sealed).await?;
        Self::decoded(&plain).ok_or(Error::Forged)
    }

    pub fn access_token_expires_at(&self) -> Option<UnixTime> {
        self.access_token.as_ref().map(|token| token.expires_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(access_token: Option<AccessToken>) -> Credentials {
        Credentials { api_key: "key".into(), api_secret: "hunter2".into(), access_token }
    }

    #[test]
    fn credentials_are_read_as_they_were_written() {
        let token = AccessToken { token: "token".into(), expires_at: UnixTime::from_seconds(17) };
        for access_token in [None, Some(token)] {
            let credentials = credentials(access_token);
            let read = Credentials::decoded(&credentials.encoded()).unwrap();
            assert_eq!(read.encoded(), credentials.encoded());
            assert_eq!(read.access_token_expires_at(), credentials.access_token_expires_at());
        }
        for bad in ["", "a\0b", "a\0b\0c\0", "a\0b\0\0x", "a\0b\0c\u{0}1\0"] {
            assert!(Credentials::decoded(bad.as_bytes()).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let token = AccessToken { token: "hunter2".into(), expires_at: UnixTime::from_seconds(17) };
        assert_eq!(
            format!("{token:?} {:?}", credentials(Some(token.clone()))),
            "AccessToken(…) Credentials(…)"
        );
    }
}
