//! Proving who one is with e-mail and password. An unknown address must cost and answer the same as a wrong
//! password.

pub mod http;

use crate::accounts::{self, Email, User};
use crate::app::App;
use crate::http::ApiError;
use crate::passwords::{Password, StoredHash};

/// What came of an attempt to log in.
#[derive(Debug)]
pub enum Attempt {
    Proved(User),
    /// The password is right, and the account is closed.
    Inactive(User),
    /// No such account, or not its password.
    Wrong,
}

/// Checks a password. No database connection is held while it is hashed.
///
/// # Errors
/// 503 if too many passwords are being hashed; those of the database.
pub async fn attempt(app: &App, email: &str, password: Password) -> Result<Attempt, ApiError> {
    let account = match Email::parse(email) {
        Ok(email) => accounts::store::find_for_login(&app.db, &email).await?,
        Err(_) => None,
    };
    let stored =
        account.as_ref().map(|(user, hash)| StoredHash { user_id: user.id.clone(), phc: hash.clone() });
    let verification = app.hasher.verify(password.clone(), stored).await?;
    let Some((user, stored)) = account.filter(|_| verification.matches) else { return Ok(Attempt::Wrong) };
    if !user.is_active {
        return Ok(Attempt::Inactive(user));
    }
    if verification.outdated {
        // The login stands without it; the next one tries again.
        if let Ok(hash) = app.hasher.hash(password, app.entropy.bytes()).await {
            accounts::store::rehash(&app.db, &user.id, &stored, hash).await?;
        }
    }
    Ok(Attempt::Proved(user))
}
