//! Making an account oneself, and being logged in with it.

use http::HeaderMap;

use super::{Email, Name, NewUser, User, UserId, parse_phone, store};
use crate::access;
use crate::audit::Kind;
use crate::db::Db;
use crate::passwords::{Hasher, Password, Policy};
use crate::sessions::Session;
use crate::sessions::grant::Grants;
use crate::tokens::Signer;
use crate::web::{Check, Client, Problem, Reason};

/// What accounts are made with; cheap to clone.
#[derive(Debug, Clone)]
pub struct Registrations {
    pub db: Db,
    pub hasher: Hasher,
    pub policy: Policy,
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

/// An account that was made, the session that began with it, and the key that signs for it.
#[derive(Debug)]
pub struct Registered<'r> {
    pub signer: Signer<'r>,
    pub user: User,
    pub session: Session,
}

impl Registrations {
    /// Makes an account and logs its owner in.
    ///
    /// # Errors
    /// 422 for what cannot be taken, 409 if the address has an account; 503 if too many passwords are being hashed or no
    /// key signs; those of the database.
    pub async fn register(
        &self,
        applicant: Applicant,
        client: &Client,
        headers: &HeaderMap,
    ) -> Result<Registered<'_>, Problem> {
        let Self { db, hasher, policy, grants } = self;
        let Applicant { email, password, name, phone } = applicant;
        let mut check = Check::default();
        let email = check.field("email", Email::parse(&email));
        let name = check.field("name", Name::parse(&name));
        let phone = check.field("phone", parse_phone(phone.as_deref().unwrap_or_default()));
        let long_enough = check.field("password", password.check_length(*policy));
        let (Some(email), Some(name), Some(phone), Some(())) = (email, name, phone, long_enough) else {
            return Err(check.refusal());
        };
        // Only for what has passed so far: this is as costly as a login.
        let strength = hasher.check_strength(*policy, password.clone(), email.clone(), name.clone()).await?;
        strength.map_err(|weak| Problem::invalid_field("password", weak))?;
        let password_hash = hasher.hash(password, grants.ids.entropy.bytes()).await?;
        let roles = vec![access::USER.to_owned()];
        let new = NewUser { id: UserId::new(grants.ids.uuid()), email, name, phone, password_hash, roles };
        let signer = grants.signer()?;
        let opening = grants.opening(new.id.clone(), client, headers, false);
        let registered = db.write(async move |tx| {
            let Some(user) = store::create(tx, &new).await? else { return Ok(None) };
            let session = opening.begin(tx, Kind::Registered).await?;
            Ok(Some((user, session)))
        });
        let (user, session) = registered.await?.ok_or_else(|| Problem::new(Reason::EmailTaken))?;
        Ok(Registered { signer, user, session })
    }
}
