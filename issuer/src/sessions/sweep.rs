//! Forgetting what has ended: in stretches of the table so short that nobody notices, walked in the order of ids.

use super::store;
use crate::ambient::UnixTime;
use crate::db::{Db, Error};
use crate::feed;

/// Rows that one transaction looks at.
const STRETCH: i64 = 200;

/// An ended session is remembered for so many seconds, so that its refresh token is told why it is refused.
const REMEMBERED: i64 = 86_400;

/// Forgets the sessions that ended a day before `now` or earlier, and revocations that concern no token any more;
/// answers how many sessions.
///
/// # Errors
/// Those of the database.
pub async fn sweep(db: &Db, now: UnixTime) -> Result<u64, Error> {
    let ended = now.minus(REMEMBERED);
    let (mut forgotten, mut after) = (0, String::new());
    loop {
        let up_to = store::stretch_end(db.reads(), &after, STRETCH).await?;
        let (from, to) = (after.clone(), up_to.clone());
        forgotten += db.write(async move |tx| store::forget(tx, &from, to.as_deref(), ended).await).await?;
        match up_to {
            Some(last) => after = last,
            None => break,
        }
    }
    while db.write(async move |tx| feed::store::forget(tx, STRETCH).await).await? > 0 {}
    Ok(forgotten)
}
