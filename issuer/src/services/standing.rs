//! The beginning and the end of a service's secret, each with its event in one transaction.

use super::{MOST_SECRETS, Scope, ServiceName, store};
use crate::audit::{self, Kind, Origin};
use crate::db::{Error, Tx};

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
    scopes: &[Scope],
    secret_hash: &str,
    origin: &Origin,
) -> Result<Added, Error> {
    if store::count(tx, name).await? >= MOST_SECRETS {
        return Ok(Added::TooMany);
    }
    let Some(id) = store::create(tx, name, scopes, secret_hash).await? else {
        return Ok(Added::SecretInUse);
    };
    audit::store::record_of_service(tx, Kind::ServiceCreated, name, &id, origin).await?;
    Ok(Added::Done(id))
}

/// Takes every secret of a service away, or the one with this id; answers which.
///
/// # Errors
/// Those of the database.
pub async fn revoke(
    tx: &mut Tx<'_>,
    name: &ServiceName,
    id: Option<&str>,
    origin: &Origin,
) -> Result<Vec<String>, Error> {
    let removed = store::remove(tx, name, id).await?;
    for id in &removed {
        audit::store::record_of_service(tx, Kind::ServiceRevoked, name, id, origin).await?;
    }
    Ok(removed)
}
