//! Making an account oneself, and being logged in with it, or verifying its address first.

use http::HeaderMap;

use super::{Email, Name, NewUser, User, UserId, parse_phone, store};
use crate::access;
use crate::audit::{self, Actor, Event, Kind, Origin};
use crate::db::Db;
use crate::limits::{Asked, Limits};
use crate::mail;
use crate::passwords::{NewPasswords, Password};
use crate::sessions::Session;
use crate::sessions::grant::Grants;
use crate::tokens::Signer;
use crate::verification::{self, Purpose, Request, Verification};
use crate::web::{Check, Client, Problem, Reason};

/// What accounts are made with; cheap to clone.
#[derive(Debug, Clone)]
pub struct Registrations {
    pub db: Db,
    pub limits: Limits,
    pub passwords: NewPasswords,
    pub verification: Verification,
    pub grants: Grants,
}

/// What someone says who wants an account.
#[derive(Debug)]
pub struct Applicant {
    pub email: String,
    pub password: Password,
    pub name: String,
    /// Empty means not given.
    pub phone: Option<String>,
}

/// What came of it.
#[derive(Debug)]
pub enum Registration<'r> {
    Done(Box<Registered<'r>>),
    /// The address is to be verified first. It may have had an account before; only who reads what is sent there is told.
    Pending,
}

/// An account that was made, the session that began with it, and the key that signs for it.
#[derive(Debug)]
pub struct Registered<'r> {
    pub signer: Signer<'r>,
    pub user: User,
    pub session: Session,
}

impl Registrations {
    /// Makes an account and logs its owner in, unless addresses are verified first.
    ///
    /// # Errors
    /// 422 for what cannot be taken, 409 if the address has an account, 429 after too many from one network; 503 if too
    /// many passwords are being hashed or no key signs; those of the database.
    pub async fn register(
        &self,
        applicant: Applicant,
        client: &Client,
        headers: &HeaderMap,
    ) -> Result<Registration<'_>, Problem> {
        let Self { db, passwords, grants, .. } = self;
        let Applicant { email, password, name, phone } = applicant;
        let mut check = Check::default();
        let email = check.field("email", Email::parse(&email));
        let name = check.field("name", Name::parse(&name));
        let phone = check.field("phone", parse_phone(phone.as_deref().unwrap_or_default()));
        let long_enough = check.field("password", passwords.check_length(&password));
        let (Some(email), Some(name), Some(phone), Some(())) = (email, name, phone, long_enough) else {
            return Err(check.refusal());
        };
        self.limits.admit(Asked::Registration, db, client, grants.ids.clock.now()).await?;
        // Only for what has passed so far: this is as costly as a login.
        let password_hash = passwords.hash(password, email.clone(), name.clone()).await?;
        let roles = vec![access::USER.to_owned()];
        let id = UserId::new(grants.ids.uuid());
        let new = NewUser { id, email, email_verified: false, name, phone, password_hash, roles };
        if grants.rules.verified_only {
            return self.pend(new, client).await.map(|()| Registration::Pending);
        }
        let signer = grants.signer()?;
        let opening = grants.opening(new.id.clone(), client, headers, false);
        let registered = db.write(async move |tx| {
            let Some(user) = store::create(tx, &new).await? else { return Ok(None) };
            let session = opening.begin(tx, Kind::Registered).await?;
            Ok(Some((user, session)))
        });
        let (user, session) = registered.await?.ok_or_else(|| Problem::new(Reason::EmailTaken))?;
        Ok(Registration::Done(Box::new(Registered { signer, user, session })))
    }

    /// Makes an account that is closed until its address is verified. Who has one already is told so by mail; a stranger
    /// sees no difference, neither in the answer nor in what is done for it.
    async fn pend(&self, new: NewUser, client: &Client) -> Result<(), Problem> {
        let (email, verification) = (new.email.clone(), &self.verification);
        let welcome = verification.challenge(Purpose::VerifyEmail, mail::Kind::VerifyEmail, &email)?;
        let known = verification.challenge(Purpose::ResetPassword, mail::Kind::AlreadyRegistered, &email)?;
        let origin = Origin::request(Actor::Stranger, client);
        let written = self.db.write(async move |tx| {
            let over = verification::store::count(tx, &email, Request::Register).await?;
            let made = store::create(tx, &new).await?.is_some();
            let account = store::find_for_login(tx.connection(), &email).await?;
            if !made && over.is_some() {
                return Ok(());
            }
            let (kind, challenge) =
                if made { (Kind::Registered, &welcome) } else { (Kind::PasswordResetRequested, &known) };
            let subject = account.as_ref().map(|(user, _)| &user.id);
            audit::store::record(tx, Event { kind, subject, session_id: None, origin: &origin }).await?;
            challenge.issue(tx).await
        });
        Ok(written.await?)
    }
}
