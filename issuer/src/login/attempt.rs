//! One attempt: the password is checked against the account as it was read just now. What begins with it is decided later,
//! in a transaction that makes sure that the account is still the same.

use crate::accounts::{self, Credential, User, UserId};
use crate::ambient::Entropy;
use crate::db::Db;
use crate::passwords::{Hasher, Password, StoredHash};
use crate::web::Problem;

/// What came of an attempt to log in.
#[derive(Debug)]
pub enum Attempt {
    Proved {
        user: User,
        credential: Credential,
        /// The password should be hashed again, once the login stands.
        outdated: bool,
    },
    /// The password is right, and the account is closed.
    Inactive(User),
    /// The password is right, and the address is still to be verified.
    Unverified(User),
    /// No such account, or not its password. The account, if there is one, is for the audit only.
    Wrong(Option<User>),
}

/// Checks a password against an account, if there is one; with `verified_only`, it is closed until its address is
/// verified. No database connection is held while it is hashed.
///
/// # Errors
/// 503 if too many passwords are being hashed.
pub async fn attempt(
    hasher: &Hasher,
    account: Option<(User, Credential)>,
    password: Password,
    verified_only: bool,
) -> Result<Attempt, Problem> {
    let stored = account.as_ref().map(|(user, credential)| StoredHash {
        user_id: user.id.to_string(),
        phc: credential.password_hash.clone(),
    });
    let verification = hasher.verify(password, stored).await?;
    let Some((user, credential)) = account else { return Ok(Attempt::Wrong(None)) };
    if !verification.matches {
        return Ok(Attempt::Wrong(Some(user)));
    }
    if !user.is_active {
        return Ok(Attempt::Inactive(user));
    }
    if verified_only && !user.email_verified {
        return Ok(Attempt::Unverified(user));
    }
    Ok(Attempt::Proved { user, credential, outdated: verification.outdated })
}

/// A hash that would be made otherwise today.
#[derive(Debug)]
pub(super) struct Outdated {
    /// PHC string.
    pub(super) hash: String,
    pub(super) password: Password,
}

/// Hashes a password again. The login stands without it; the next one tries again.
pub(super) async fn rehash(db: &Db, hasher: &Hasher, entropy: &Entropy, owner: &UserId, outdated: Outdated) {
    let rehashed = async {
        let Outdated { hash: old, password } = outdated;
        let new = hasher.hash(password, entropy.bytes()).await.map_err(|error| error.to_string())?;
        let owner = owner.clone();
        let written = db.write(async move |tx| accounts::store::rehash(tx, &owner, &old, &new).await);
        written.await.map_err(|error| error.to_string())
    };
    if let Err(error) = rehashed.await {
        tracing::warn!(event = "rehash_failed", error, "a password keeps its old hash");
    }
}
