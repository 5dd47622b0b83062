//! The SQL of logins that wait for a code.

use sqlx::FromRow;

use super::waiting::{ATTEMPTS, LIFETIME};
use super::{Waiting, Wishes};
use crate::accounts::{self, User, UserId};
use crate::ambient::UnixTime;
use crate::db::{Error, Source, Tx};

#[derive(FromRow)]
struct Row {
    #[sqlx(flatten)]
    user: accounts::store::Row,
    waiting_epoch: i64,
    persistent: i64,
    refresh_token_in_body: i64,
}

/// Has a login wait.
///
/// # Errors
/// Those of the database.
pub(super) async fn wait(
    tx: &mut Tx<'_>,
    token_hash: [u8; 32],
    owner: &UserId,
    waiting: Waiting,
) -> Result<(), Error> {
    let now = tx.now();
    sqlx::query(
        "INSERT INTO waiting_logins (token_hash, user_id, login_epoch, attempts, persistent,
                                     refresh_token_in_body, expires_at)
         VALUES ($1, $2, $3, 0, $4, $5, $6)",
    )
    .bind(token_hash.to_vec())
    .bind(owner.clone())
    .bind(waiting.epoch)
    .bind(i64::from(waiting.wishes.persistent))
    .bind(i64::from(waiting.wishes.refresh_token_in_body))
    .bind(now.plus(LIFETIME))
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// The login that waits under this token, and whose it is; `None` if it waits no longer, or nothing may come of it any
/// more.
///
/// # Errors
/// Those of the database.
pub(super) async fn find<'e>(
    source: impl Source<'e>,
    token_hash: [u8; 32],
    now: UnixTime,
) -> Result<Option<(User, Waiting)>, Error> {
    let row: Option<Row> = sqlx::query_as(concat!(
        "SELECT ",
        accounts::store::user_columns!(),
        ", waiting_logins.login_epoch AS waiting_epoch, waiting_logins.persistent AS persistent,
           waiting_logins.refresh_token_in_body AS refresh_token_in_body
         FROM waiting_logins JOIN users ON users.id = waiting_logins.user_id
         WHERE token_hash = $1 AND attempts < $2 AND expires_at > $3
           AND users.login_epoch = waiting_logins.login_epoch AND users.is_active = 1"
    ))
    .bind(token_hash.to_vec())
    .bind(ATTEMPTS)
    .bind(now)
    .fetch_optional(source)
    .await?;
    Ok(row.map(|Row { user, waiting_epoch, persistent, refresh_token_in_body }| {
        let wishes =
            Wishes { persistent: persistent != 0, refresh_token_in_body: refresh_token_in_body != 0 };
        (user.into(), Waiting { epoch: waiting_epoch, wishes })
    }))
}

/// Takes one of the attempts that a waiting login has; false if there is none left. Holds the login until the end of
/// the transaction, so that its attempts come one after another.
///
/// # Errors
/// Those of the database.
pub(super) async fn take_attempt(tx: &mut Tx<'_>, token_hash: [u8; 32]) -> Result<bool, Error> {
    let now = tx.now();
    let done = sqlx::query(
        "UPDATE waiting_logins SET attempts = attempts + 1
         WHERE token_hash = $1 AND attempts < $2 AND expires_at > $3",
    )
    .bind(token_hash.to_vec())
    .bind(ATTEMPTS)
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Gives an attempt back whose code was not looked at.
///
/// # Errors
/// Those of the database.
pub(super) async fn give_back(tx: &mut Tx<'_>, token_hash: [u8; 32]) -> Result<(), Error> {
    let give_back = "UPDATE waiting_logins SET attempts = attempts - 1 WHERE token_hash = $1";
    sqlx::query(give_back).bind(token_hash.to_vec()).execute(tx.connection()).await?;
    Ok(())
}

/// Has a login wait no longer.
///
/// # Errors
/// Those of the database.
pub(super) async fn end(tx: &mut Tx<'_>, token_hash: [u8; 32]) -> Result<(), Error> {
    let end = "DELETE FROM waiting_logins WHERE token_hash = $1";
    sqlx::query(end).bind(token_hash.to_vec()).execute(tx.connection()).await?;
    Ok(())
}

/// Forgets at most `most` logins that have waited too long; answers how many.
///
/// # Errors
/// Those of the database.
pub(super) async fn forget(tx: &mut Tx<'_>, most: i64) -> Result<u64, Error> {
    let now = tx.now();
    let done = sqlx::query(
        "DELETE FROM waiting_logins
         WHERE token_hash IN (SELECT token_hash FROM waiting_logins WHERE expires_at <= $1
                              ORDER BY expires_at LIMIT $2)",
    )
    .bind(now)
    .bind(most)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected())
}
