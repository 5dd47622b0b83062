//! Verifying an address: another link, and what is done for who brings one back.

use super::{Purpose, Request, Token, Verification, store};
use crate::accounts::{self, Email};
use crate::audit::{self, Actor, Event, Kind, Origin};
use crate::db::Error;
use crate::login::Logins;
use crate::mail;
use crate::passwords::Password;
use crate::web::{Client, Problem, Reason};

impl Verification {
    /// The address that a token was sent to, if it is still good. It stays good.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn look(&self, purpose: Purpose, token: &str) -> Result<Option<Email>, Error> {
        let Some(token) = Token::parse(token) else { return Ok(None) };
        store::find(self.db.reads(), purpose, &token, self.ids.clock.now()).await
    }

    /// Takes a token back from someone who says the password of the account, too. So nobody opens by a careless click what
    /// a stranger has made with their address and with a password of his own.
    ///
    /// # Errors
    /// 400 if the token is not good, 422 if the password is wrong, which leaves it good; 429 after too many wrong ones, 503
    /// if too many passwords are being hashed; those of the database.
    pub(super) async fn verify_with(
        &self,
        logins: &Logins,
        token: &str,
        password: Password,
        client: &Client,
    ) -> Result<(), Problem> {
        let invalid = || Problem::new(Reason::EmailTokenInvalid);
        let email = self.look(Purpose::VerifyEmail, token).await?.ok_or_else(invalid)?;
        let account = accounts::store::find_for_login(self.db.reads(), &email).await?;
        let (user, _) = account.ok_or_else(invalid)?;
        if password.is_empty() {
            return Err(Problem::invalid_field("password", "is required"));
        }
        if logins.confirm(&user, password, client, Actor::Stranger).await?.is_none() {
            return Err(Problem::invalid_field(
                "password",
                "is not the one that was chosen for this account",
            ));
        }
        self.verify(token, client).await
    }

    /// Takes a token back, and notes that the address which it was sent to is its owner's.
    ///
    /// # Errors
    /// 400 if the token is not good; those of the database.
    pub async fn verify(&self, token: &str, client: &Client) -> Result<(), Problem> {
        let invalid = || Problem::new(Reason::EmailTokenInvalid);
        let (token, client) = (Token::parse(token).ok_or_else(invalid)?, client.clone());
        let verified = self.db.write(async move |tx| {
            let Some(email) = store::redeem(tx, Purpose::VerifyEmail, &token).await? else {
                return Ok(false);
            };
            let Some(user) = accounts::store::verify_email(tx, &email).await? else { return Ok(false) };
            let (subject, origin) = (Some(&user.id), Origin::request(Actor::User(user.id.clone()), &client));
            let event = Event { kind: Kind::EmailVerified, subject, session_id: None, origin: &origin };
            audit::store::record(tx, event).await?;
            Ok(true)
        });
        if verified.await? { Ok(()) } else { Err(invalid()) }
    }

    /// Has another link sent, if there is an account whose address is not verified. A stranger does not learn whether.
    ///
    /// # Errors
    /// 422 for what is no address, 429 for too many messages to one or from one network, 501 if no mail is sent; those of the
    /// database.
    pub(super) async fn resend(&self, email: &str, client: &Client) -> Result<(), Problem> {
        let email = Email::parse(email).map_err(|error| Problem::invalid_field("email", error))?;
        self.admit(client).await?;
        let challenge = self.challenge(Purpose::VerifyEmail, mail::Kind::VerifyEmail, &email)?;
        // Whether the message concerns anybody is found out when it is sent, not here.
        let wait = self.db.write(async move |tx| {
            let wait = store::count(tx, &email, Request::Resend).await?;
            if wait.is_none() {
                challenge.issue(tx).await?;
            }
            Ok(wait)
        });
        match wait.await? {
            None => Ok(()),
            Some(seconds) => Err(Problem::new(Reason::RateLimited).retry_after(seconds)),
        }
    }
}
