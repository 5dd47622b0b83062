//! The beginning and the end of a service's secret, each with its event in one transaction, the end with the word to
//! verifiers.

use super::{MOST_SECRETS, Scopes, ServiceName, store};
use crate::audit::{self, Kind, Origin};
use crate::db::{Error, Tx};
use crate::feed;
use crate::sessions::Rules;
use crate::sessions::ending::OldTokens;

/// What came of adding a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Added {
    /// Under this id.
    Done(String),
    /// This one is in use, whoever's it is.
    SecretInUse,
    /// The service has [`MOST_SECRETS`].
    TooMany,
}

/// Gives a service another secret, of which only the hash comes here.
///
/// # Errors
/// Those of the database.
pub async fn add(
    tx: &mut Tx<'_>,
    name: &ServiceName,
    scopes: &Scopes,
    secret_hash: &str,
    origin: &Origin,
) -> Result<Added, Error> {
    if store::count(tx, name).await? >= MOST_SECRETS {
        return Ok(Added::TooMany);
    }
    let Some(id) = store::create(tx, name, scopes, secret_hash).await? else {
        return Ok(Added::SecretInUse);
    };
    audit::store::record_of_service(tx, Kind::ServiceCreated, Some(name), Some(&id), origin).await?;
    Ok(Added::Done(id))
}

/// Takes every secret of a service away, or the one with this id, and has the tokens refused that were got with it; answers
/// which.
///
/// # Errors
/// Those of the database.
pub async fn revoke(
    tx: &mut Tx<'_>,
    name: &ServiceName,
    id: Option<&str>,
    origin: &Origin,
    rules: Rules,
) -> Result<Vec<String>, Error> {
    let tokens = OldTokens::of(tx, rules).await?;
    let mut removed = Vec::new();
    for (id, used) in store::remove(tx, name, id).await? {
        let until = tokens.expire(used.unwrap_or(tx.now()), 0);
        feed::store::revoke_session(tx, &id, until).await?;
        audit::store::record_of_service(tx, Kind::ServiceRevoked, Some(name), Some(&id), origin).await?;
        removed.push(id);
    }
    Ok(removed)
}
