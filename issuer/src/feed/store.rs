//! The feed's SQL.

use super::{Entry, Mark, PAGE};
use crate::ambient::UnixTime;
use crate::db::{Error, Source, Tx};

/// Begins another history of numbers. Readers of this one and of others get everything that is alive.
///
/// # Errors
/// Those of the database.
pub async fn begin_epoch(tx: &mut Tx<'_>) -> Result<(), Error> {
    let epoch = tx.new_id().to_string();
    let begin = "UPDATE revocation_epoch SET epoch = $1 WHERE id = 1";
    sqlx::query(begin).bind(epoch).execute(tx.connection()).await?;
    tx.ring();
    Ok(())
}

/// Tells verifiers to refuse the tokens of a session, or of an API key, all of which have expired at `until`.
///
/// # Errors
/// Those of the database.
pub async fn revoke_session(tx: &mut Tx<'_>, session_id: &str, until: UnixTime) -> Result<(), Error> {
    // The row of the counter is held until the commit, so a later number is never seen before an earlier one.
    let draw = "UPDATE counters SET value = value + 1 WHERE name = 'revocations' RETURNING value";
    let sequence: Vec<i64> = sqlx::query_scalar(draw).fetch_all(tx.connection()).await?;
    sqlx::query("INSERT INTO revocations (sequence, session_id, expires_at) VALUES ($1, $2, $3)")
        .bind(sequence.first().copied().unwrap_or_default())
        .bind(session_id.to_owned())
        .bind(until)
        .execute(tx.connection())
        .await?;
    tx.ring();
    Ok(())
}

/// How far the feed has come.
///
/// # Errors
/// Those of the database.
pub async fn mark<'e>(source: impl Source<'e>) -> Result<Mark, Error> {
    let query = "SELECT revocation_epoch.epoch AS epoch, counters.value AS sequence
                 FROM revocation_epoch, counters
                 WHERE revocation_epoch.id = 1 AND counters.name = 'revocations'";
    Ok(sqlx::query_as(query).fetch_one(source).await?)
}

/// The first entries after a number and up to one that was read before, alive at `now`: one more than a page has, if there
/// are so many.
///
/// # Errors
/// Those of the database.
pub async fn entries<'e>(
    source: impl Source<'e>,
    after: i64,
    up_to: i64,
    now: UnixTime,
) -> Result<Vec<Entry>, Error> {
    let query = "SELECT sequence, session_id, expires_at FROM revocations
                 WHERE sequence > $1 AND sequence <= $2 AND expires_at > $3
                 ORDER BY sequence LIMIT $4";
    let entries = sqlx::query_as(query).bind(after).bind(up_to).bind(now).bind(PAGE + 1);
    Ok(entries.fetch_all(source).await?)
}

/// Forgets at most `most` entries that concern no token any more; answers how many.
///
/// # Errors
/// Those of the database.
pub async fn forget(tx: &mut Tx<'_>, most: i64) -> Result<u64, Error> {
    let now = tx.now();
    let done = sqlx::query(
        "DELETE FROM revocations
         WHERE sequence IN (SELECT sequence FROM revocations WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
    )
    .bind(now)
    .bind(most)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected())
}
