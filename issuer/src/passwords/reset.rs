//! A new password for someone who has forgotten theirs, and reads what is sent to their address.

use super::{NewPasswords, Password};
use crate::accounts::{self, Email};
use crate::audit::{self, Actor, Event, Kind, Origin};
use crate::db::{Db, Error, Tx};
use crate::limits::Limits;
use crate::mail::{self, Letter, Outbox};
use crate::sessions::{Rules, ending};
use crate::verification::{self, Purpose, Request, Token, Verification};
use crate::web::{Client, Problem, Reason};

/// What forgotten passwords are replaced with; cheap to clone.
#[derive(Debug, Clone)]
pub struct Resets {
    pub db: Db,
    pub passwords: NewPasswords,
    pub verification: Verification,
    pub outbox: Outbox,
    pub limits: Limits,
    pub rules: Rules,
}

impl Resets {
    /// Has a link sent that lets one choose a new password, if there is an account. A stranger does not learn whether.
    ///
    /// # Errors
    /// 422 for what is no address, 429 for too many messages to one or from one network, 501 if no mail is sent; those of the
    /// database.
    pub async fn forgot(&self, email: &str, client: &Client) -> Result<(), Problem> {
        let email = Email::parse(email).map_err(|error| Problem::invalid_field("email", error))?;
        self.verification.admit(client).await?;
        let (purpose, kind) = (Purpose::ResetPassword, mail::Kind::ResetPassword);
        let challenge = self.verification.challenge(purpose, kind, &email)?;
        let origin = Origin::request(Actor::Stranger, client);
        // The same is written for every address. Whether the message concerns anybody is found out when it is sent.
        let wait = self.db.write(async move |tx| {
            let wait = verification::store::count(tx, &email, Request::Forgot).await?;
            if wait.is_none() {
                let account = accounts::store::find_for_login(tx.connection(), &email).await?;
                let subject = account.as_ref().map(|(user, _)| &user.id);
                let kind = Kind::PasswordResetRequested;
                audit::store::record(tx, Event { kind, subject, session_id: None, origin: &origin }).await?;
                challenge.issue(tx).await?;
            }
            Ok(wait)
        });
        match wait.await? {
            None => Ok(()),
            Some(seconds) => Err(Problem::new(Reason::RateLimited).retry_after(seconds)),
        }
    }

    /// Replaces the password by what was sent to the address of the account. Every session ends, and the address is
    /// verified by it.
    ///
    /// # Errors
    /// 400 if the token is not good, 422 if the password is not; 503 if too many passwords are being hashed; those of the
    /// database.
    pub async fn reset(&self, token: &str, password: Password, client: &Client) -> Result<(), Problem> {
        let invalid = || Problem::new(Reason::EmailTokenInvalid);
        let token = Token::parse(token).ok_or_else(invalid)?;
        // It is not taken back yet: a password that is not good enough must not cost the link.
        let sent_to = self.verification.look(Purpose::ResetPassword, token.expose()).await?;
        let email = sent_to.ok_or_else(invalid)?;
        let account = accounts::store::find_for_login(self.db.reads(), &email).await?;
        let (user, _) = account.ok_or_else(invalid)?;
        let long_enough = self.passwords.check_length(&password);
        long_enough.map_err(|weak| Problem::invalid_field("password", weak))?;
        let hash = self.passwords.hash_for(&user, password).await?;
        let origin = Origin::request(Actor::User(user.id), client);
        let notice = self.outbox.notice(mail::Kind::PasswordChanged, email);
        let reset = Reset { token, hash, origin, notice, limits: self.limits.clone(), rules: self.rules };
        let done = self.db.write(async move |tx| reset.take(tx).await).await?;
        if done { Ok(()) } else { Err(invalid()) }
    }
}

/// A new password about to be put in the place of a forgotten one.
struct Reset {
    token: Token,
    hash: String,
    origin: Origin,
    notice: Option<Letter>,
    limits: Limits,
    rules: Rules,
}

impl Reset {
    /// Takes the token back, and does what it is for; false if another has brought it.
    async fn take(&self, tx: &mut Tx<'_>) -> Result<bool, Error> {
        let Self { token, hash, origin, notice, limits, rules } = self;
        let email = verification::store::redeem(tx, Purpose::ResetPassword, token).await?;
        let Some(email) = email else { return Ok(false) };
        let Some(user) = accounts::store::reset_password(tx, &email, hash).await? else { return Ok(false) };
        let event = |kind| Event { kind, subject: Some(&user.id), session_id: None, origin };
        audit::store::record(tx, event(Kind::PasswordReset)).await?;
        if accounts::store::verify_email(tx, &email).await?.is_some() {
            audit::store::record(tx, event(Kind::EmailVerified)).await?;
        }
        ending::end_all(tx, &user.id, Kind::SessionEnded, origin, *rules).await?;
        limits.password_replaced(tx, &user, origin).await?;
        if let Some(notice) = notice {
            mail::store::post(tx, notice).await?;
        }
        Ok(true)
    }
}
