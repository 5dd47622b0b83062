//! The sessions' SQL. Rotation is one statement, so that of two concurrent refreshes one moves the counter and
//! the other finds it moved; read-then-write would let both win.

use sqlx::FromRow;

use super::{Lifetimes, Outcome, RefreshToken, Refusal, Session, judge};
use crate::accounts::{self, User};
use crate::db::{Db, Error};

#[derive(FromRow)]
struct Row {
    id: String,
    user_id: String,
    counter: i64,
    created_at: i64,
    last_used_at: i64,
    rotated_at: Option<i64>,
    idle_expires_at: i64,
    expires_at: i64,
    revoked_at: Option<i64>,
    persistent: i64,
    amr: String,
    device: String,
    ip: Option<String>,
}

impl From<Row> for Session {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            user_id: row.user_id,
            counter: row.counter,
            created_at: row.created_at,
            last_used_at: row.last_used_at,
            rotated_at: row.rotated_at,
            idle_expires_at: row.idle_expires_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            persistent: row.persistent != 0,
            amr: row.amr.split_whitespace().map(str::to_owned).collect(),
            device: row.device,
            ip: row.ip,
        }
    }
}

/// # Errors
/// Those of the database.
pub async fn create(db: &Db, session: &Session) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO sessions (id, user_id, counter, created_at, last_used_at, idle_expires_at, expires_at,
                               persistent, amr, device, ip)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(session.id.clone())
    .bind(session.user_id.clone())
    .bind(session.counter)
    .bind(session.created_at)
    .bind(session.last_used_at)
    .bind(session.idle_expires_at)
    .bind(session.expires_at)
    .bind(i64::from(session.persistent))
    .bind(session.amr.join(" "))
    .bind(session.device.clone())
    .bind(session.ip.clone())
    .execute(db)
    .await
    .map(drop)
}

/// Moves the session on to its next refresh token, or says why not. Reuse revokes the session, and that is
/// committed before this returns.
///
/// # Errors
/// Those of the database.
pub async fn rotate_refresh(
    db: &Db,
    token: &RefreshToken,
    now: i64,
    lifetimes: Lifetimes,
) -> Result<Outcome, Error> {
    // All rows are fetched, though there is at most one: only then has the statement committed.
    let rotated: Vec<Row> = sqlx::query_as(
        "UPDATE sessions
         SET counter = counter + 1, rotated_at = $3, last_used_at = $3, idle_expires_at = $4
         WHERE id = $1 AND counter = $2 AND revoked_at IS NULL AND idle_expires_at > $3 AND expires_at > $3
           AND EXISTS (SELECT 1 FROM users WHERE users.id = sessions.user_id AND users.is_active = 1)
         RETURNING *",
    )
    .bind(token.session_id.clone())
    .bind(token.counter)
    .bind(now)
    .bind(now.saturating_add(lifetimes.idle))
    .fetch_all(db)
    .await?;
    if let Some(row) = rotated.into_iter().next() {
        return Ok(Outcome::Rotated(row.into()));
    }
    let Some((session, user)) = find_with_user(db, &token.session_id).await? else {
        return Ok(Outcome::Refused(Refusal::Unknown));
    };
    let outcome = judge(session, user.is_active, token.counter, now, lifetimes.grace);
    if let Outcome::Refused(Refusal::Reused(session)) = &outcome {
        revoke(db, &session.id, now).await?;
    }
    Ok(outcome)
}

/// The session with this id, whatever its state, and the user it belongs to.
///
/// # Errors
/// Those of the database.
pub async fn find_with_user(db: &Db, id: &str) -> Result<Option<(Session, User)>, Error> {
    let row: Option<Row> =
        sqlx::query_as("SELECT * FROM sessions WHERE id = $1").bind(id.to_owned()).fetch_optional(db).await?;
    let Some(session) = row.map(Session::from) else { return Ok(None) };
    let user = accounts::store::find(db, &session.user_id).await?;
    Ok(user.map(|user| (session, user)))
}

/// How many sessions a listing shows at most.
const LISTED: i64 = 200;

/// The live sessions of a user, newest first.
///
/// # Errors
/// Those of the database.
pub async fn list_live(db: &Db, user_id: &str, now: i64) -> Result<Vec<Session>, Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT * FROM sessions
         WHERE user_id = $1 AND revoked_at IS NULL AND idle_expires_at > $2 AND expires_at > $2
         ORDER BY created_at DESC, id DESC
         LIMIT $3",
    )
    .bind(user_id.to_owned())
    .bind(now)
    .bind(LISTED)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(Session::from).collect())
}

/// Ends a session.
///
/// # Errors
/// Those of the database.
pub async fn revoke(db: &Db, id: &str, now: i64) -> Result<(), Error> {
    sqlx::query("UPDATE sessions SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL")
        .bind(id.to_owned())
        .bind(now)
        .execute(db)
        .await
        .map(drop)
}

/// Ends a session of this user; false if there is none that is still alive.
///
/// # Errors
/// Those of the database.
pub async fn revoke_own(db: &Db, user_id: &str, id: &str, now: i64) -> Result<bool, Error> {
    let result = sqlx::query(
        "UPDATE sessions SET revoked_at = $3
         WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL AND idle_expires_at > $3 AND expires_at > $3",
    )
    .bind(id.to_owned())
    .bind(user_id.to_owned())
    .bind(now)
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Ends every session of this user.
///
/// # Errors
/// Those of the database.
pub async fn revoke_all(db: &Db, user_id: &str, now: i64) -> Result<(), Error> {
    sqlx::query("UPDATE sessions SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL")
        .bind(user_id.to_owned())
        .bind(now)
        .execute(db)
        .await
        .map(drop)
}

/// Forgets sessions that have ended for good; answers how many.
///
/// # Errors
/// Those of the database.
pub async fn purge(db: &Db, now: i64) -> Result<u64, Error> {
    let result = sqlx::query("DELETE FROM sessions WHERE expires_at <= $1").bind(now).execute(db).await?;
    Ok(result.rows_affected())
}
