//! The first step of a login: the password, within the limits of failing. What begins with it is decided in a
//! transaction that finds the account as it was, and not locked to whoever asks.

use http::HeaderMap;

use super::attempt::{Outdated, rehash};
use super::lock::lets_through;
use super::metrics::Word;
use super::waiting::{SessionToken, Waiting};
use super::{Attempt, Granted, Logins, Outcome, Wishes, attempt, store};
use crate::accounts::{self, Credential, Email, User, UserId};
use crate::audit::{self, Event, Kind, Origin};
use crate::db::Error;
use crate::limits::{self, Counted, Standing};
use crate::passwords::Password;
use crate::sessions::Session;
use crate::web::{Client, Problem, Reason};

/// Someone whose password was right a moment ago.
#[derive(Debug)]
pub struct Proved {
    pub user: User,
    /// As it was when the password was checked.
    epoch: i64,
    counted: Counted,
    outdated: Option<Outdated>,
}

/// Why a password leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    Wrong,
    /// The password was right; nobody is told so while the account is locked.
    Inactive,
    /// Likewise.
    Unverified,
}

/// What came of beginning a session.
enum Begun {
    Session(Session),
    /// Since the password was checked, the account was closed, or all its logins were ended.
    Void,
    /// For so many seconds.
    Locked(i64),
}

impl Logins {
    /// Checks a password. A failure is counted and written down, whatever becomes of the request.
    ///
    /// # Errors
    /// The refusal: 401, 403, 429, or 503 if too many passwords are being hashed.
    pub async fn prove(&self, email: &str, password: Password, client: &Client) -> Result<Proved, Problem> {
        let counted = self.limits.password(email, client);
        self.admit(&counted).await?;
        let account = match Email::parse(email) {
            Ok(email) => accounts::store::find_for_login(self.db.reads(), &email).await?,
            Err(_) => None,
        };
        self.prove_for(account, password, counted, client).await
    }

    /// Checks a password against the account that was found for what is `counted`, if there is one.
    ///
    /// # Errors
    /// As [`Logins::prove`].
    pub(super) async fn prove_for(
        &self,
        account: Option<(User, Credential)>,
        password: Password,
        counted: Counted,
        client: &Client,
    ) -> Result<Proved, Problem> {
        let verified_only = self.grants.rules.verified_only;
        match attempt(&self.hasher, account, password.clone(), verified_only).await? {
            Attempt::Proved { user, credential, outdated } => {
                let (epoch, hash) = (credential.epoch, credential.password_hash);
                let outdated = outdated.then_some(Outdated { hash, password });
                Ok(Proved { user, epoch, counted, outdated })
            }
            Attempt::Inactive(user) => {
                Err(self.refuse(Refused::Inactive, Some(user.id), counted, client).await?)
            }
            Attempt::Unverified(user) => {
                Err(self.refuse(Refused::Unverified, Some(user.id), counted, client).await?)
            }
            Attempt::Wrong(user) => {
                Err(self.refuse(Refused::Wrong, user.map(|user| user.id), counted, client).await?)
            }
        }
    }

    /// Turns away what comes from a network that has failed too often, before it costs anything.
    pub(super) async fn admit(&self, counted: &Counted) -> Result<(), Problem> {
        let Some(network) = &counted.network else { return Ok(()) };
        let now = self.grants.ids.clock.now();
        match limits::store::locked_for(self.db.reads(), network, now).await? {
            None => Ok(()),
            Some(wait) => Err(self.limited(wait)),
        }
    }

    /// What a right password leads to: a session, or a wait for the code.
    ///
    /// # Errors
    /// The refusal: 401 if the account has changed since, 429 if it is locked, has no second factor, and this is no device of
    /// its owner's.
    pub async fn enter(
        &self,
        proved: Proved,
        wishes: Wishes,
        client: &Client,
        headers: &HeaderMap,
    ) -> Result<Outcome, Problem> {
        if proved.user.mfa_enabled {
            // Also while the account is locked: a stranger who fails on purpose does not keep its owner out.
            let token = self.wait_for_code(&proved, wishes).await?;
            self.code_required(proved).await;
            return Ok(Outcome::MfaRequired(token));
        }
        let granted = self.begin(proved, wishes.persistent, client, headers).await?;
        Ok(Outcome::Granted(Box::new(granted)))
    }

    /// Begins a session of someone whose password is enough.
    pub(super) async fn begin(
        &self,
        proved: Proved,
        persistent: bool,
        client: &Client,
        headers: &HeaderMap,
    ) -> Result<Granted, Problem> {
        let Proved { user, epoch, counted, outdated } = proved;
        let opening = self.grants.opening(user.id.clone(), client, headers, persistent);
        let opening = opening.telling(self.grants.outbox.new_device(&user.email));
        let stranger = Origin::request(audit::Actor::Stranger, client);
        let (limits, owner) = (self.limits.clone(), user.clone());
        let (account, from) = (counted.clone(), client.clone());
        let begun = self.db.write(async move |tx| {
            let now = tx.now();
            let failures = limits::store::standing(tx.connection(), &account.account, now).await?;
            if matches!(failures, Standing::Locked(_))
                && !lets_through(tx.connection(), &owner.id, &account, &from, now).await?
            {
                // As if the password had been wrong: whoever guesses must not learn more while it is locked.
                let failed =
                    limits::failed(tx, &account, Kind::LoginFailed, Some(&owner.id), &stranger).await?;
                return Ok(Begun::Locked(failed.unwrap_or_default()));
            }
            if !accounts::store::claim_login(tx, &owner.id, epoch).await? {
                return Ok(Begun::Void);
            }
            let session = opening.begin(tx, Kind::Login).await?;
            // What was typed may not be all that failed: an imported user has another name, too.
            if failures != Standing::Clear || owner.username.is_some() {
                limits.succeeded(tx, &owner, opening.origin()).await?;
            }
            Ok(Begun::Session(session))
        });
        match begun.await? {
            Begun::Session(session) => {
                self.metrics.count(Word::granted);
                self.rehash(&user, outdated).await;
                Ok(Granted { user, session })
            }
            Begun::Void => Err(self.refuse(Refused::Wrong, Some(user.id), counted, client).await?),
            Begun::Locked(wait) => Err(self.limited(wait)),
        }
    }

    /// Not before the login stands: while an account is locked, a right password must take no longer than a wrong one.
    async fn rehash(&self, user: &User, outdated: Option<Outdated>) {
        if let Some(outdated) = outdated {
            rehash(&self.db, &self.hasher, &self.grants.ids.entropy, &user.id, outdated).await;
        }
    }

    /// What is left to do for someone whose password was right and is not enough.
    pub(super) async fn code_required(&self, proved: Proved) {
        self.metrics.count(Word::code_required);
        self.rehash(&proved.user, proved.outdated).await;
    }

    async fn wait_for_code(&self, proved: &Proved, wishes: Wishes) -> Result<SessionToken, Error> {
        let token = SessionToken::draw(&self.grants.ids.entropy);
        let (hash, owner) = (token.hash(), proved.user.id.clone());
        let waiting = Waiting { epoch: proved.epoch, wishes };
        self.db.write(async move |tx| store::wait(tx, hash, &owner, waiting).await).await?;
        Ok(token)
    }

    /// The refusal, once it is counted and written down.
    async fn refuse(
        &self,
        refused: Refused,
        subject: Option<UserId>,
        counted: Counted,
        client: &Client,
    ) -> Result<Problem, Error> {
        let origin = Origin::request(audit::Actor::Stranger, client);
        let locked = self.db.write(async move |tx| {
            let now = tx.now();
            if refused != Refused::Wrong
                && limits::store::locked_for(tx.connection(), &counted.account, now).await?.is_none()
            {
                let (kind, subject) = (Kind::LoginBlocked, subject.as_ref());
                let event = Event { kind, subject, session_id: None, origin: &origin };
                audit::store::record(tx, event).await?;
                return Ok(None);
            }
            limits::failed(tx, &counted, Kind::LoginFailed, subject.as_ref(), &origin).await
        });
        Ok(match (locked.await?, refused) {
            (Some(wait), _) => self.limited(wait),
            (None, Refused::Wrong) => {
                self.metrics.count(Word::wrong);
                Problem::new(Reason::InvalidCredentials)
            }
            (None, Refused::Inactive) => {
                self.metrics.count(Word::inactive);
                Problem::new(Reason::AccountInactive)
            }
            (None, Refused::Unverified) => {
                self.metrics.count(Word::unverified);
                Problem::new(Reason::EmailNotVerified)
            }
        })
    }

    pub(super) fn limited(&self, seconds: i64) -> Problem {
        self.metrics.count(Word::limited);
        Problem::new(Reason::RateLimited).retry_after(seconds)
    }
}
