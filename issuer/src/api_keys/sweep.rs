//! Forgetting keys that have expired.

use super::store;
use crate::ambient::UnixTime;
use crate::db::{Db, Error};

/// Rows of one transaction, so few that nobody waits for it.
const STRETCH: i64 = 200;

/// An expired key is shown to its owner for so many seconds more, who may wonder why a program stopped working.
const REMEMBERED: i64 = 30 * 86_400;

/// Forgets the keys that expired a month before `now` or earlier.
///
/// # Errors
/// Those of the database.
pub async fn sweep(db: &Db, now: UnixTime) -> Result<(), Error> {
    let expired = now.minus(REMEMBERED);
    while db.write(async move |tx| store::forget(tx, expired, STRETCH).await).await? > 0 {}
    Ok(())
}
