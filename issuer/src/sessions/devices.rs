//! Where a user has logged in from before. A login from anywhere else is told of and never refused: people travel.

use crate::accounts::UserId;
use crate::db::{Error, Source, Tx};

/// Devices of a user that are remembered; whoever has more has each of them new again now and then.
const REMEMBERED: i64 = 50;

/// Whether a user has logged in from this device before.
///
/// # Errors
/// Those of the database.
pub async fn is_known<'e>(source: impl Source<'e>, owner: &UserId, fingerprint: &str) -> Result<bool, Error> {
    let known: Option<i64> =
        sqlx::query_scalar("SELECT last_seen_at FROM devices WHERE user_id = $1 AND fingerprint = $2")
            .bind(owner.clone())
            .bind(fingerprint.to_owned())
            .fetch_optional(source)
            .await?;
    Ok(known.is_some())
}

/// Notes that a user logs in from a device; true if there were others before, and never this one.
///
/// # Errors
/// Those of the database.
pub(super) async fn is_new(tx: &mut Tx<'_>, owner: &UserId, fingerprint: &str) -> Result<bool, Error> {
    let now = tx.now();
    let seen = sqlx::query("UPDATE devices SET last_seen_at = $3 WHERE user_id = $1 AND fingerprint = $2")
        .bind(owner.clone())
        .bind(fingerprint.to_owned())
        .bind(now)
        .execute(tx.connection())
        .await?;
    if seen.rows_affected() > 0 {
        return Ok(false);
    }
    let others: Vec<String> =
        sqlx::query_scalar("SELECT fingerprint FROM devices WHERE user_id = $1 LIMIT 1")
            .bind(owner.clone())
            .fetch_all(tx.connection())
            .await?;
    sqlx::query(
        "INSERT INTO devices (user_id, fingerprint, last_seen_at) VALUES ($1, $2, $3)
         ON CONFLICT (user_id, fingerprint) DO NOTHING",
    )
    .bind(owner.clone())
    .bind(fingerprint.to_owned())
    .bind(now)
    .execute(tx.connection())
    .await?;
    if others.is_empty() {
        return Ok(false);
    }
    sqlx::query(
        "DELETE FROM devices
         WHERE user_id = $1
           AND fingerprint IN (SELECT fingerprint FROM devices WHERE user_id = $1
                               ORDER BY last_seen_at DESC, fingerprint LIMIT 1000000 OFFSET $2)",
    )
    .bind(owner.clone())
    .bind(REMEMBERED)
    .execute(tx.connection())
    .await?;
    Ok(true)
}
