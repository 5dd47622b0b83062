//! The second factor's SQL. That a code is used is one statement each, so that of any number who show it at the same
//! time one comes in.

use sqlx::FromRow;

use super::BackupCode;
use crate::accounts::UserId;
use crate::ambient::UnixTime;
use crate::db::{Error, Source, Tx};

/// What is stored of a user's second factor.
#[derive(Debug, FromRow)]
pub(super) struct Stored {
    /// Sealed.
    pub(super) secret: Vec<u8>,
    /// The newest step whose code was used.
    pub(super) last_step: i64,
    /// Since when logins need a code; until then it is only set up.
    pub(super) enabled_at: Option<UnixTime>,
}

/// Sets a secret up, in the place of one that never came into force; false if there is one in force.
///
/// # Errors
/// Those of the database.
pub(super) async fn set_up(tx: &mut Tx<'_>, owner: &UserId, sealed: &[u8]) -> Result<bool, Error> {
    let done = sqlx::query(
        "INSERT INTO totp (user_id, secret, last_step) VALUES ($1, $2, 0)
         ON CONFLICT (user_id) DO UPDATE SET secret = excluded.secret, last_step = 0
         WHERE totp.enabled_at IS NULL",
    )
    .bind(owner.clone())
    .bind(sealed.to_vec())
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The second factor of a user. Holds it until the end of the transaction, so that codes are judged one after another
/// and no failure goes uncounted.
///
/// # Errors
/// Those of the database.
pub(super) async fn hold(tx: &mut Tx<'_>, owner: &UserId) -> Result<Option<Stored>, Error> {
    let hold = "UPDATE totp SET user_id = user_id WHERE user_id = $1 RETURNING secret, last_step, enabled_at";
    let rows: Vec<Stored> = sqlx::query_as(hold).bind(owner.clone()).fetch_all(tx.connection()).await?;
    Ok(rows.into_iter().next())
}

/// Uses up a step and all before it; false if it was used already.
///
/// # Errors
/// Those of the database.
pub(super) async fn use_step(tx: &mut Tx<'_>, owner: &UserId, step: i64) -> Result<bool, Error> {
    let done = sqlx::query("UPDATE totp SET last_step = $2 WHERE user_id = $1 AND last_step < $2")
        .bind(owner.clone())
        .bind(step)
        .execute(tx.connection())
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Puts what is set up into force; false if it is already.
///
/// # Errors
/// Those of the database.
pub(super) async fn enable(tx: &mut Tx<'_>, owner: &UserId) -> Result<bool, Error> {
    let now = tx.now();
    let done = sqlx::query("UPDATE totp SET enabled_at = $2 WHERE user_id = $1 AND enabled_at IS NULL")
        .bind(owner.clone())
        .bind(now)
        .execute(tx.connection())
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Takes a user's second factor away, in force or not; false if none was in force.
///
/// # Errors
/// Those of the database.
pub(super) async fn remove(tx: &mut Tx<'_>, owner: &UserId) -> Result<bool, Error> {
    let remove = "DELETE FROM totp WHERE user_id = $1 RETURNING enabled_at";
    let removed: Vec<Option<i64>> =
        sqlx::query_scalar(remove).bind(owner.clone()).fetch_all(tx.connection()).await?;
    forget_backup_codes(tx, owner).await?;
    Ok(removed.into_iter().flatten().next().is_some())
}

async fn forget_backup_codes(tx: &mut Tx<'_>, owner: &UserId) -> Result<(), Error> {
    let forget = "DELETE FROM backup_codes WHERE user_id = $1";
    sqlx::query(forget).bind(owner.clone()).execute(tx.connection()).await?;
    Ok(())
}

/// Replaces a user's backup codes.
///
/// # Errors
/// Those of the database.
pub(super) async fn replace_backup_codes(
    tx: &mut Tx<'_>,
    owner: &UserId,
    codes: &[BackupCode],
) -> Result<(), Error> {
    forget_backup_codes(tx, owner).await?;
    for code in codes {
        sqlx::query("INSERT INTO backup_codes (user_id, code_hash) VALUES ($1, $2)")
            .bind(owner.clone())
            .bind(code.hash(owner).to_vec())
            .execute(tx.connection())
            .await?;
    }
    Ok(())
}

/// Uses up a backup code; false if the user has none such.
///
/// # Errors
/// Those of the database.
pub(super) async fn use_backup_code(
    tx: &mut Tx<'_>,
    owner: &UserId,
    code: &BackupCode,
) -> Result<bool, Error> {
    let done = sqlx::query("DELETE FROM backup_codes WHERE user_id = $1 AND code_hash = $2")
        .bind(owner.clone())
        .bind(code.hash(owner).to_vec())
        .execute(tx.connection())
        .await?;
    Ok(done.rows_affected() == 1)
}

/// The next `most` sealed secrets after `after`, in the order of their users.
///
/// # Errors
/// Those of the database.
pub(super) async fn sealed<'e>(
    source: impl Source<'e>,
    after: &str,
    most: i64,
) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let next = "SELECT user_id, secret FROM totp WHERE user_id > $1 ORDER BY user_id LIMIT $2";
    Ok(sqlx::query_as(next).bind(after.to_owned()).bind(most).fetch_all(source).await?)
}

/// Replaces a sealed secret by the same one sealed anew, unless another has taken its place.
///
/// # Errors
/// Those of the database.
pub(super) async fn reseal(tx: &mut Tx<'_>, owner: &str, old: &[u8], new: &[u8]) -> Result<(), Error> {
    sqlx::query("UPDATE totp SET secret = $3 WHERE user_id = $1 AND secret = $2")
        .bind(owner.to_owned())
        .bind(old.to_vec())
        .bind(new.to_vec())
        .execute(tx.connection())
        .await?;
    Ok(())
}
