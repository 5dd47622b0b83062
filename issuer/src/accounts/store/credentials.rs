//! The SQL of what a login is checked against. Another password moves the epoch of the account, so that no login succeeds
//! that was checked before.

use super::{Row, user_columns};
use crate::accounts::{Credential, Email, User, UserId};
use crate::db::{Error, Tx};

/// Whether a login that was checked against `epoch` may still begin a session: the account is active, and nothing has
/// ended its logins since. Holds the account until the end of the transaction, so that nothing can meanwhile.
///
/// # Errors
/// Those of the database.
pub async fn claim_login(tx: &mut Tx<'_>, id: &UserId, epoch: i64) -> Result<bool, Error> {
    let now = tx.now();
    let done = sqlx::query(
        "UPDATE users SET last_login_at = $3 WHERE id = $1 AND login_epoch = $2 AND is_active = 1",
    )
    .bind(id.clone())
    .bind(epoch)
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Lets no login succeed that was checked before.
///
/// # Errors
/// Those of the database.
pub async fn end_logins(tx: &mut Tx<'_>, id: &UserId) -> Result<(), Error> {
    let end = "UPDATE users SET login_epoch = login_epoch + 1 WHERE id = $1";
    sqlx::query(end).bind(id.clone()).execute(tx.connection()).await?;
    Ok(())
}

/// Gives an account another password hash, and lets no login succeed that was checked before; `None` if there is none
/// with this id.
///
/// # Errors
/// Those of the database.
pub async fn set_password(tx: &mut Tx<'_>, id: &UserId, password_hash: &str) -> Result<Option<User>, Error> {
    let now = tx.now();
    let rows: Vec<Row> = sqlx::query_as(concat!(
        "UPDATE users SET password_hash = $2, login_epoch = login_epoch + 1, updated_at = $3 WHERE id = $1
         RETURNING ",
        user_columns!()
    ))
    .bind(id.clone())
    .bind(password_hash.to_owned())
    .bind(now)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().next().map(User::from))
}

/// Says whether logins of this account need a code beside the password, and lets no login succeed that was checked
/// before.
///
/// # Errors
/// Those of the database.
pub async fn set_mfa_enabled(tx: &mut Tx<'_>, id: &UserId, enabled: bool) -> Result<(), Error> {
    let now = tx.now();
    sqlx::query(
        "UPDATE users SET mfa_enabled = $2, login_epoch = login_epoch + 1, updated_at = $3 WHERE id = $1",
    )
    .bind(id.clone())
    .bind(i64::from(enabled))
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Replaces a password hash by one of the same password, unless another has taken its place.
///
/// # Errors
/// Those of the database.
pub async fn rehash(tx: &mut Tx<'_>, id: &UserId, old: &str, new: &str) -> Result<(), Error> {
    sqlx::query("UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2")
        .bind(id.clone())
        .bind(old.to_owned())
        .bind(new.to_owned())
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Replaces the password that `old` was read with, unless it has been replaced or its logins were ended since; false if
/// so.
///
/// # Errors
/// Those of the database.
pub async fn change_password(
    tx: &mut Tx<'_>,
    id: &UserId,
    old: &Credential,
    new_hash: &str,
) -> Result<bool, Error> {
    let now = tx.now();
    let done = sqlx::query(
        "UPDATE users SET password_hash = $4, login_epoch = login_epoch + 1, updated_at = $5
         WHERE id = $1 AND password_hash = $2 AND login_epoch = $3 AND is_active = 1",
    )
    .bind(id.clone())
    .bind(old.password_hash.clone())
    .bind(old.epoch)
    .bind(new_hash.to_owned())
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Gives the open account with this address another password, for someone who reads what is sent there; `None` if there
/// is none.
///
/// # Errors
/// Those of the database.
pub async fn reset_password(tx: &mut Tx<'_>, email: &Email, new_hash: &str) -> Result<Option<User>, Error> {
    let now = tx.now();
    let rows: Vec<Row> = sqlx::query_as(concat!(
        "UPDATE users SET password_hash = $2, login_epoch = login_epoch + 1, updated_at = $3
         WHERE email = $1 AND is_active = 1 RETURNING ",
        user_columns!()
    ))
    .bind(email.as_str().to_owned())
    .bind(new_hash.to_owned())
    .bind(now)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().next().map(User::from))
}
