//! The feed's SQL.

use crate::ambient::UnixTime;
use crate::db::{Error, Tx};

/// Tells verifiers to refuse the tokens of a session, all of which have expired at `until`.
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
    Ok(())
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
