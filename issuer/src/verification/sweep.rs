//! Forgetting tokens and counts that are of no use any more.

use super::store;
use crate::db::{Db, Error};

/// Rows of one transaction, so few that nobody waits for it.
const STRETCH: i64 = 200;

/// Forgets tokens that nobody brought back, and how often messages were asked for long ago.
///
/// # Errors
/// Those of the database.
pub async fn sweep(db: &Db) -> Result<(), Error> {
    while db.write(async move |tx| store::forget(tx, STRETCH).await).await? > 0 {}
    Ok(())
}
