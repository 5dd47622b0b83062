//! Showing that one reads what is sent to an address: a token goes there, and whoever brings it back has shown it.
//! A token works once, for a time, and only the newest of its purpose does; the database has its hash. Nothing here
//! tells a stranger whether an address has an account.

pub mod http;
pub mod store;
mod sweep;
mod verifying;

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

pub use sweep::sweep;

use crate::accounts::Email;
use crate::ambient::{Entropy, Ids};
use crate::db::{Db, Error, Tx};
use crate::limits::{Asked, Limits};
use crate::mail::{self, Kind, Letter, Outbox};
use crate::web::{Client, Problem};

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    VerifyEmail,
    ResetPassword,
}

impl Purpose {
    /// As it is stored.
    const fn as_str(self) -> &'static str {
        match self {
            Self::VerifyEmail => "verify_email",
            Self::ResetPassword => "reset_password",
        }
    }
}

/// What was sent to an address: 256 random bits, in base64url. Only [`Token::expose`] tells it.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

const TOKEN_BYTES: usize = 32;

impl Token {
    fn draw(entropy: &Entropy) -> Self {
        let bytes: Zeroizing<[u8; TOKEN_BYTES]> = Zeroizing::new(entropy.bytes());
        Self(Zeroizing::new(Base64UrlUnpadded::encode_string(bytes.as_slice())))
    }

    /// `None` if it cannot be one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
        let decoded = Base64UrlUnpadded::decode(text, bytes.as_mut_slice()).ok()?;
        (decoded.len() == TOKEN_BYTES).then(|| Self(Zeroizing::new(text.to_owned())))
    }

    pub fn expose(&self) -> &str {
        &self.0
    }

    /// As it is stored. It has all the randomness that a hash can hide, so a fast one will do.
    fn hash(&self) -> String {
        Base64UrlUnpadded::encode_string(&Sha256::digest(self.0.as_bytes()))
    }
}

/// Has tokens sent to people, and takes them back; cheap to clone.
#[derive(Debug, Clone)]
pub struct Verification {
    db: Db,
    outbox: Outbox,
    limits: Limits,
    ids: Ids,
}

/// A token and the message that it goes in, about to be written.
#[derive(Debug, Clone)]
pub struct Challenge {
    email: Email,
    purpose: Purpose,
    /// Of the link, in seconds.
    lifetime: i64,
    token_hash: String,
    letter: Letter,
}

impl Verification {
    pub fn new(db: Db, outbox: Outbox, limits: Limits, ids: Ids) -> Self {
        Self { db, outbox, limits, ids }
    }

    /// Counts a message that is asked for, before anything is done for it. Each address has a limit of its own, but of addresses
    /// there is no end.
    ///
    /// # Errors
    /// 501 if no mail is sent, 429 after too many from one network; those of the database.
    pub async fn admit(&self, client: &Client) -> Result<(), Problem> {
        self.outbox.require()?;
        self.limits.admit(Asked::Message, &self.db, client, self.ids.clock.now()).await
    }

    /// A new token for a purpose, in a message of this kind.
    ///
    /// # Errors
    /// 501 if no mail is sent.
    pub fn challenge(&self, purpose: Purpose, kind: Kind, email: &Email) -> Result<Challenge, Problem> {
        let token = Token::draw(&self.ids.entropy);
        let letter = self.outbox.letter(kind, email.clone(), token.expose())?;
        let (email, token_hash) = (email.clone(), token.hash());
        Ok(Challenge { email, purpose, lifetime: kind.lifetime(), token_hash, letter })
    }
}

impl Challenge {
    /// Puts the token in the place of the one before, and its message into the outbox.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn issue(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let expires_at = tx.now().plus(self.lifetime);
        store::replace(tx, &self.email, self.purpose, &self.token_hash, expires_at).await?;
        mail::store::post(tx, &self.letter).await
    }
}

/// What strangers may ask to be sent to an address; each is counted by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    Register,
    Resend,
    Forgot,
}

impl Request {
    /// As it is stored.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Resend => "resend",
            Self::Forgot => "forgot",
        }
    }
}

/// So many messages to an address may be asked for …
const MOST: i64 = 3;

/// … in so many seconds.
const WINDOW: i64 = 3600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_ours_is_a_token() {
        let token = Token::draw(&Entropy::seeded(1));
        assert_eq!(token.expose().len(), 43);
        assert_eq!(Token::parse(token.expose()).unwrap().hash(), token.hash());
        let longer = format!("{}A", token.expose());
        for text in ["", "x", &token.expose()[1..], &longer, &format!("{}=", token.expose()), "ü"] {
            assert!(Token::parse(text).is_none(), "{text}");
        }
        assert_eq!(format!("{token:?}"), "Token(…)");
    }
}
