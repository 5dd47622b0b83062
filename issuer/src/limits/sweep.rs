//! Forgetting failures that no longer count.

use super::store;
use crate::db::{Db, Error};

/// Rows of one transaction, so few that nobody waits for it.
const STRETCH: i64 = 200;

/// Forgets the counters that would begin anew.
///
/// # Errors
/// Those of the database.
pub async fn sweep(db: &Db) -> Result<(), Error> {
    while db.write(async move |tx| store::forget(tx, STRETCH).await).await? > 0 {}
    Ok(())
}
