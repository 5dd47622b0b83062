//! The sessions' SQL. Rotation is one statement, so that of two concurrent refreshes one moves the counter and
//! the other finds it moved; read-then-write would let both win.

use sqlx::FromRow;

use super::{Outcome, RefreshToken, Refusal, Rules, Session, SessionId, judge};
use crate::accounts::{self, User, UserId};
use crate::ambient::UnixTime;
use crate::db::{Error, Source, Tx};

/// The columns of a [`Row`], named so that they can stand beside those of another table.
macro_rules! session_columns {
    () => {
        "sessions.id AS session_id, sessions.user_id AS owner_id, sessions.counter AS counter,
         sessions.created_at AS created_at, sessions.last_used_at AS last_used_at,
         sessions.rotated_at AS rotated_at, sessions.idle_expires_at AS idle_expires_at,
         sessions.expires_at AS expires_at, sessions.revoked_at AS revoked_at,
         sessions.persistent AS persistent, sessions.amr AS amr, sessions.device AS device, sessions.ip AS ip"
    };
}

#[derive(FromRow)]
struct Row {
    session_id: SessionId,
    owner_id: UserId,
    counter: i64,
    created_at: UnixTime,
    last_used_at: UnixTime,
    rotated_at: Option<UnixTime>,
    idle_expires_at: UnixTime,
    expires_at: UnixTime,
    revoked_at: Option<UnixTime>,
    persistent: i64,
    amr: String,
    device: String,
    ip: Option<String>,
}

impl From<Row> for Session {
    fn from(row: Row) -> Self {
        Self {
            id: row.session_id,
            user_id: row.owner_id,
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

#[derive(FromRow)]
struct Owned {
    #[sqlx(flatten)]
    session: Row,
    #[sqlx(flatten)]
    user: accounts::store::Row,
}

/// A session to begin.
#[derive(Debug, Clone)]
pub struct NewSession {
    pub id: SessionId,
    pub user_id: UserId,
    pub persistent: bool,
    pub amr: Vec<String>,
    pub device: String,
    pub ip: Option<String>,
}

/// Begins a session. Whether its user may have one is to be decided in the same transaction, before.
///
/// # Errors
/// Those of the database.
pub async fn create(tx: &mut Tx<'_>, new: &NewSession, rules: Rules) -> Result<Session, Error> {
    let now = tx.now();
    let expires_at = now.plus(rules.total);
    let session = Session {
        id: new.id.clone(),
        user_id: new.user_id.clone(),
        counter: 0,
        created_at: now,
        last_used_at: now,
        rotated_at: None,
        idle_expires_at: now.plus(rules.idle).min(expires_at),
        expires_at,
        revoked_at: None,
        persistent: new.persistent,
        amr: new.amr.clone(),
        device: new.device.clone(),
        ip: new.ip.clone(),
    };
    sqlx::query(
        "INSERT INTO sessions (id, user_id, counter, created_at, last_used_at, idle_expires_at, expires_at,
                               persistent, amr, device, ip)
         VALUES ($1, $2, $3, $4, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(session.id.clone())
    .bind(session.user_id.clone())
    .bind(session.counter)
    .bind(now)
    .bind(session.idle_expires_at)
    .bind(session.expires_at)
    .bind(i64::from(session.persistent))
    .bind(session.amr.join(" "))
    .bind(session.device.clone())
    .bind(session.ip.clone())
    .execute(tx.connection())
    .await?;
    Ok(session)
}

/// Moves the session on to its next refresh token, or says why not.
///
/// # Errors
/// Those of the database.
pub async fn rotate_refresh(tx: &mut Tx<'_>, token: &RefreshToken, rules: Rules) -> Result<Outcome, Error> {
    let now = tx.now();
    // All rows are fetched, though there is at most one: only then is the statement done.
    let rotated: Vec<Row> = sqlx::query_as(concat!(
        "UPDATE sessions
         SET counter = counter + 1, rotated_at = $3,
             last_used_at = CASE WHEN last_used_at > $3 THEN last_used_at ELSE $3 END,
             idle_expires_at = CASE WHEN expires_at < $4 THEN expires_at ELSE $4 END
         WHERE id = $1 AND counter = $2 AND revoked_at IS NULL AND idle_expires_at > $3 AND expires_at > $3
           AND EXISTS (SELECT 1 FROM users WHERE users.id = sessions.user_id AND users.is_active = 1)
         RETURNING ",
        session_columns!()
    ))
    .bind(token.session_id.clone())
    .bind(token.counter)
    .bind(now)
    .bind(now.plus(rules.idle))
    .fetch_all(tx.connection())
    .await?;
    match rotated.into_iter().next() {
        Some(row) => Ok(Outcome::Rotated(row.into())),
        None => judge_refresh(tx, token, rules).await,
    }
}

/// What a refresh token is worth without moving its session on.
///
/// # Errors
/// Those of the database.
pub async fn judge_refresh(tx: &mut Tx<'_>, token: &RefreshToken, rules: Rules) -> Result<Outcome, Error> {
    let Some((session, user)) = find_with_user(tx.connection(), &token.session_id).await? else {
        return Ok(Outcome::Refused(Refusal::Unknown));
    };
    let rotated_at = session.rotated_at.map(|at| tx.committed_at(at));
    Ok(judge(session, rotated_at, user.is_active, token.counter, tx.now(), rules.grace))
}

/// The session with this id, whatever its state, and the user it belongs to.
///
/// # Errors
/// Those of the database.
pub async fn find_with_user<'e>(
    source: impl Source<'e>,
    id: &SessionId,
) -> Result<Option<(Session, User)>, Error> {
    let row: Option<Owned> = sqlx::query_as(concat!(
        "SELECT ",
        session_columns!(),
        ", ",
        accounts::store::user_columns!(),
        " FROM sessions JOIN users ON users.id = sessions.user_id WHERE sessions.id = $1"
    ))
    .bind(id.clone())
    .fetch_optional(source)
    .await?;
    Ok(row.map(|Owned { session, user }| (session.into(), user.into())))
}

/// How many sessions a listing shows at most.
const LISTED: i64 = 200;

/// The live sessions of a user, newest first.
///
/// # Errors
/// Those of the database.
pub async fn list_live<'e>(
    source: impl Source<'e>,
    user_id: &UserId,
    now: UnixTime,
) -> Result<Vec<Session>, Error> {
    let rows: Vec<Row> = sqlx::query_as(concat!(
        "SELECT ",
        session_columns!(),
        " FROM sessions
         WHERE user_id = $1 AND revoked_at IS NULL AND idle_expires_at > $2 AND expires_at > $2
         ORDER BY sessions.created_at DESC, sessions.id DESC
         LIMIT $3"
    ))
    .bind(user_id.clone())
    .bind(now)
    .bind(LISTED)
    .fetch_all(source)
    .await?;
    Ok(rows.into_iter().map(Session::from).collect())
}

/// A session that was ended, and when it was used last: later than now if the clock was set back.
pub(super) type Ended = (SessionId, UnixTime);

/// Ends a session; nothing if it had ended.
///
/// # Errors
/// Those of the database.
pub(super) async fn revoke(tx: &mut Tx<'_>, owner: &UserId, id: &SessionId) -> Result<Vec<Ended>, Error> {
    let now = tx.now();
    let ended = sqlx::query_as(
        "UPDATE sessions SET revoked_at = $3
         WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL AND idle_expires_at > $3 AND expires_at > $3
         RETURNING id, last_used_at",
    )
    .bind(id.clone())
    .bind(owner.clone())
    .bind(now)
    .fetch_all(tx.connection())
    .await?;
    Ok(ended)
}

/// Ends every live session of a user but the newest `kept`; answers which.
///
/// # Errors
/// Those of the database.
pub(super) async fn revoke_oldest(tx: &mut Tx<'_>, owner: &UserId, kept: u32) -> Result<Vec<Ended>, Error> {
    let now = tx.now();
    let ended = sqlx::query_as(
        "UPDATE sessions SET revoked_at = $2
         WHERE id IN (SELECT id FROM sessions
                      WHERE user_id = $1 AND revoked_at IS NULL AND idle_expires_at > $2 AND expires_at > $2
                      ORDER BY created_at DESC, id DESC
                      LIMIT 1000000 OFFSET $3)
         RETURNING id, last_used_at",
    )
    .bind(owner.clone())
    .bind(now)
    .bind(i64::from(kept))
    .fetch_all(tx.connection())
    .await?;
    Ok(ended)
}

/// Ends every live session of a user but `kept`; answers which.
///
/// # Errors
/// Those of the database.
pub(super) async fn revoke_others(
    tx: &mut Tx<'_>,
    owner: &UserId,
    kept: &SessionId,
) -> Result<Vec<Ended>, Error> {
    let now = tx.now();
    let ended = sqlx::query_as(
        "UPDATE sessions SET revoked_at = $3
         WHERE user_id = $1 AND id <> $2 AND revoked_at IS NULL AND idle_expires_at > $3 AND expires_at > $3
         RETURNING id, last_used_at",
    )
    .bind(owner.clone())
    .bind(kept.clone())
    .bind(now)
    .fetch_all(tx.connection())
    .await?;
    Ok(ended)
}

/// The last of the next `most` sessions after `after`, in the order of their ids; `None` if there are not so many.
///
/// # Errors
/// Those of the database.
pub(super) async fn stretch_end<'e>(
    source: impl Source<'e>,
    after: &str,
    most: i64,
) -> Result<Option<String>, Error> {
    let end = "SELECT id FROM sessions WHERE id > $1 ORDER BY id LIMIT 1 OFFSET $2";
    let last = sqlx::query_scalar(end).bind(after.to_owned()).bind(most.saturating_sub(1));
    Ok(last.fetch_optional(source).await?)
}

/// Forgets the sessions between two ids that ended at `ended` or before; answers how many.
///
/// # Errors
/// Those of the database.
pub(super) async fn forget(
    tx: &mut Tx<'_>,
    after: &str,
    up_to: Option<&str>,
    ended: UnixTime,
) -> Result<u64, Error> {
    let done = sqlx::query(
        "DELETE FROM sessions
         WHERE id > $1 AND id <= COALESCE($2, 'g') AND (idle_expires_at <= $3 OR expires_at <= $3 OR revoked_at <= $3)",
    )
    .bind(after.to_owned())
    // Ids are hexadecimal: all of them come before 'g'.
    .bind(up_to.map(str::to_owned))
    .bind(ended)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected())
}
