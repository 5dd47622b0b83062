//! The limits' SQL.

use super::{Counter, Standing, Tally};
use crate::ambient::UnixTime;
use crate::db::{Error, Source, Tx};

/// For how many seconds nothing is tried under this counter; `None` if it may be.
///
/// # Errors
/// Those of the database.
pub async fn locked_for<'e>(
    source: impl Source<'e>,
    counter: &Counter,
    now: UnixTime,
) -> Result<Option<i64>, Error> {
    Ok(match standing(source, counter, now).await? {
        Standing::Locked(wait) => Some(wait),
        Standing::Clear | Standing::Counted => None,
    })
}

/// What stands under this counter.
///
/// # Errors
/// Those of the database.
pub async fn standing<'e>(
    source: impl Source<'e>,
    counter: &Counter,
    now: UnixTime,
) -> Result<Standing, Error> {
    let until = "SELECT locked_until FROM failures WHERE counter = $1";
    let until: Option<UnixTime> =
        sqlx::query_scalar(until).bind(counter.id.clone()).fetch_optional(source).await?;
    // One that is longer than any was written before the clock was set back.
    let lock = 1..=counter.rules.longest_delay;
    Ok(match until.map(|until| until.since(now)) {
        None => Standing::Clear,
        Some(wait) if lock.contains(&wait) => Standing::Locked(wait),
        Some(_) => Standing::Counted,
    })
}

/// Counts one more. Of those that come at the same time each has a number of its own, and none is counted while nothing
/// is tried.
///
/// # Errors
/// Those of the database.
pub(super) async fn count(tx: &mut Tx<'_>, counter: &Counter) -> Result<Tally, Error> {
    let (now, rules) = (tx.now(), counter.rules);
    let counted: Vec<i64> = sqlx::query_scalar(
        "INSERT INTO failures (counter, number, locked_until, expires_at) VALUES ($1, 1, 0, $3)
         ON CONFLICT (counter) DO UPDATE
         SET number = CASE WHEN failures.expires_at <= $2 THEN 1 ELSE failures.number + 1 END,
             expires_at = CASE WHEN failures.expires_at <= $2 THEN excluded.expires_at ELSE failures.expires_at END
         WHERE failures.locked_until <= $2 OR failures.locked_until > $4
         RETURNING number",
    )
    .bind(counter.id.clone())
    .bind(now)
    .bind(now.plus(rules.window))
    .bind(now.plus(rules.longest_delay))
    .fetch_all(tx.connection())
    .await?;
    let Some(number) = counted.first() else {
        let wait = locked_for(tx.connection(), counter, now).await?;
        return Ok(Tally::Locked(wait.unwrap_or(rules.first_delay)));
    };
    let Some(delay) = counter.delay(*number) else { return Ok(Tally::Counted) };
    // Counting goes on for a while after the lock, so that who goes on failing waits longer.
    let until = now.plus(delay);
    sqlx::query("UPDATE failures SET locked_until = $2, expires_at = $3 WHERE counter = $1")
        .bind(counter.id.clone())
        .bind(until)
        .bind(until.plus(rules.window))
        .execute(tx.connection())
        .await?;
    Ok(Tally::Full)
}

/// Begins to count anew; answers whether there was a lock.
///
/// # Errors
/// Those of the database.
pub(super) async fn forgive(tx: &mut Tx<'_>, counter: &Counter) -> Result<bool, Error> {
    let forgive = "DELETE FROM failures WHERE counter = $1 RETURNING locked_until";
    let forgiven: Vec<i64> =
        sqlx::query_scalar(forgive).bind(counter.id.clone()).fetch_all(tx.connection()).await?;
    Ok(forgiven.first().is_some_and(|until| *until > 0))
}

/// Forgets at most `most` counters that would begin anew; answers how many.
///
/// # Errors
/// Those of the database.
pub(super) async fn forget(tx: &mut Tx<'_>, most: i64) -> Result<u64, Error> {
    let now = tx.now();
    let done = sqlx::query(
        "DELETE FROM failures
         WHERE expires_at <= $1
           AND counter IN (SELECT counter FROM failures WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
    )
    .bind(now)
    .bind(most)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected())
}
