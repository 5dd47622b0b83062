//! The outbox's SQL.

use sqlx::FromRow;

use super::sender::LONGEST_DELAY;
use super::{Kind, Letter};
use crate::ambient::UnixTime;
use crate::db::{Error, Source, Tx};

/// A message given up is kept for so many seconds.
const KEPT: i64 = 30 * 86_400;

/// A message that waits to be sent.
#[derive(Debug, Clone, FromRow)]
pub(super) struct Waiting {
    pub(super) id: String,
    kind: String,
    pub(super) recipient: String,
    /// Sealed.
    pub(super) token: Option<String>,
    pub(super) created_at: UnixTime,
    pub(super) expires_at: UnixTime,
    /// How often it was tried.
    pub(super) attempts: i64,
}

impl Waiting {
    /// `None` if another version has written it, which knows more kinds.
    pub(super) fn kind(&self) -> Option<Kind> {
        Kind::parse(&self.kind)
    }
}

/// Writes a message, to be sent once this is committed.
///
/// # Errors
/// Those of the database.
pub async fn post(tx: &mut Tx<'_>, letter: &Letter) -> Result<(), Error> {
    let now = tx.now();
    sqlx::query(
        "INSERT INTO mail_outbox (id, kind, recipient, token, created_at, expires_at, status, attempts, next_attempt_at)
         VALUES ($1, $2, $3, $4, $5, $6, 'waiting', 0, $5)",
    )
    .bind(letter.id.clone())
    .bind(letter.kind.as_str())
    .bind(letter.recipient.as_str().to_owned())
    .bind(letter.token.clone())
    .bind(now)
    .bind(now.plus(letter.kind.lifetime()))
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// No attempt is further ahead than this, in seconds: what is written so was written before the clock was set back.
const FURTHEST: i64 = 2 * LONGEST_DELAY;

/// At most `most` messages whose time has come, the longest waiting first.
///
/// # Errors
/// Those of the database.
pub(super) async fn due<'e>(
    source: impl Source<'e>,
    now: UnixTime,
    most: i64,
) -> Result<Vec<Waiting>, Error> {
    let due = sqlx::query_as(
        "SELECT id, kind, recipient, token, created_at, expires_at, attempts FROM mail_outbox
         WHERE status = 'waiting' AND (next_attempt_at <= $1 OR next_attempt_at > $3)
         ORDER BY next_attempt_at LIMIT $2",
    );
    Ok(due.bind(now).bind(most).bind(now.plus(FURTHEST)).fetch_all(source).await?)
}

/// How many messages wait; counted up to `most`.
///
/// # Errors
/// Those of the database.
pub(super) async fn waiting<'e>(source: impl Source<'e>, most: i64) -> Result<i64, Error> {
    let count =
        "SELECT COUNT(*) FROM (SELECT id FROM mail_outbox WHERE status = 'waiting' LIMIT $1) AS waiting";
    Ok(sqlx::query_scalar(count).bind(most).fetch_one(source).await?)
}

/// Begins an attempt; false if another issuer has. Should this one not come to an end, the next is at `next`.
///
/// # Errors
/// Those of the database.
pub(super) async fn claim(tx: &mut Tx<'_>, waiting: &Waiting, next: UnixTime) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE mail_outbox SET attempts = attempts + 1, next_attempt_at = $3
         WHERE id = $1 AND attempts = $2 AND status = 'waiting'",
    )
    .bind(waiting.id.clone())
    .bind(waiting.attempts)
    .bind(next)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Forgets a message that was sent, or that concerns nobody.
///
/// # Errors
/// Those of the database.
pub(super) async fn remove(tx: &mut Tx<'_>, id: &str) -> Result<(), Error> {
    let remove = sqlx::query("DELETE FROM mail_outbox WHERE id = $1").bind(id.to_owned());
    remove.execute(tx.connection()).await?;
    Ok(())
}

/// Writes down why an attempt failed; after the last one, the message is given up.
///
/// # Errors
/// Those of the database.
pub(super) async fn failed(tx: &mut Tx<'_>, id: &str, error: &str, last: bool) -> Result<(), Error> {
    sqlx::query(
        "UPDATE mail_outbox
         SET last_error = $2, status = CASE WHEN $3 = 1 THEN 'given_up' ELSE status END,
             token = CASE WHEN $3 = 1 THEN NULL ELSE token END
         WHERE id = $1",
    )
    .bind(id.to_owned())
    .bind(error.to_owned())
    .bind(i64::from(last))
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Forgets at most `most` messages that were given up long ago; answers how many.
///
/// # Errors
/// Those of the database.
pub async fn forget(tx: &mut Tx<'_>, most: i64) -> Result<u64, Error> {
    let before = tx.now().minus(KEPT);
    let done = sqlx::query(
        "DELETE FROM mail_outbox WHERE id IN
         (SELECT id FROM mail_outbox WHERE status = 'given_up' AND next_attempt_at <= $1 LIMIT $2)",
    )
    .bind(before)
    .bind(most)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected())
}
