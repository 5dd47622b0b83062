//! Forgetting messages that were given up.

use super::store;
use crate::db::{Db, Error};

/// Rows of one transaction, so few that nobody waits for it.
const STRETCH: i64 = 200;

/// Forgets the messages that were given up long ago.
///
/// # Errors
/// Those of the database.
pub async fn sweep(db: &Db) -> Result<(), Error> {
    while db.write(async move |tx| store::forget(tx, STRETCH).await).await? > 0 {}
    Ok(())
}
