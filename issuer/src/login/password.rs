//! The password of a login. What begins with it is decided in a transaction that finds the account as it was.

use http::HeaderMap;

use super::metrics::Word;
use super::{Attempt, Granted, Logins, Outcome, Wishes, attempt};
use crate::accounts::{self, User, UserId};
use crate::audit::{self, Event, Kind, Origin};
use crate::db::Error;
use crate::passwords::Password;
use crate::web::{Client, Problem, Reason};

/// Someone whose password was right a moment ago.
#[derive(Debug)]
pub struct Proved {
    pub user: User,
    /// As it was when the password was checked.
    epoch: i64,
}

impl Logins {
    /// Checks a password. A failure is written down, whatever becomes of the request.
    ///
    /// # Errors
    /// The refusal: 401, 403, or 503 if too many passwords are being hashed.
    pub async fn prove(&self, email: &str, password: Password, client: &Client) -> Result<Proved, Problem> {
        match attempt(&self.db, &self.hasher, &self.grants.ids.entropy, email, password).await? {
            Attempt::Proved(user, credential) => Ok(Proved { user, epoch: credential.epoch }),
            Attempt::Inactive(user) => Err(self.refuse(Word::inactive, Some(user.id), client).await?),
            Attempt::Wrong(user) => Err(self.refuse(Word::wrong, user.map(|user| user.id), client).await?),
        }
    }

    /// What a right password leads to: a session.
    ///
    /// # Errors
    /// The refusal: 401 if the account has changed since.
    pub async fn enter(
        &self,
        proved: Proved,
        wishes: Wishes,
        client: &Client,
        headers: &HeaderMap,
    ) -> Result<Outcome, Problem> {
        let Proved { user, epoch } = proved;
        let opening = self.grants.opening(user.id.clone(), client, headers, wishes.persistent);
        let id = user.id.clone();
        let begun = self.db.write(async move |tx| {
            if !accounts::store::claim_login(tx, &id, epoch).await? {
                return Ok(None);
            }
            opening.begin(tx, Kind::Login).await.map(Some)
        });
        match begun.await? {
            Some(session) => {
                self.metrics.count(Word::granted);
                Ok(Outcome::Granted(Box::new(Granted { user, session })))
            }
            // Since the password was checked, the account was closed or all its logins were ended.
            None => Err(self.refuse(Word::wrong, Some(user.id), client).await?),
        }
    }

    /// The refusal, once its event is written.
    async fn refuse(&self, word: Word, subject: Option<UserId>, client: &Client) -> Result<Problem, Error> {
        let (kind, reason) = match word {
            Word::inactive => (Kind::LoginBlocked, Reason::AccountInactive),
            Word::wrong | Word::granted => (Kind::LoginFailed, Reason::InvalidCredentials),
        };
        let origin = Origin::request(audit::Actor::Stranger, client);
        let written = self.db.write(async move |tx| {
            let event = Event { kind, subject: subject.as_ref(), session_id: None, origin: &origin };
            audit::store::record(tx, event).await
        });
        written.await?;
        self.metrics.count(word);
        Ok(Problem::new(reason))
    }
}
