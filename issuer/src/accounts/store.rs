//! The accounts' SQL.

use sqlx::FromRow;

use super::{Credential, Email, Name, NewUser, User, UserId};
use crate::ambient::UnixTime;
use crate::db::{Error, Source, Tx};

/// The columns of a [`Row`], named so that they can stand beside those of another table.
macro_rules! user_columns {
    () => {
        "users.id AS user_id, users.email AS email, users.email_verified AS email_verified, users.name AS name,
         users.phone AS phone, users.roles AS roles, users.is_active AS is_active,
         users.created_at AS user_created_at, users.updated_at AS user_updated_at"
    };
}
pub(crate) use user_columns;

/// A row of `users` without its secrets.
#[derive(FromRow)]
pub(crate) struct Row {
    user_id: UserId,
    email: String,
    email_verified: i64,
    name: String,
    phone: Option<String>,
    roles: String,
    is_active: i64,
    user_created_at: UnixTime,
    user_updated_at: UnixTime,
}

impl From<Row> for User {
    fn from(row: Row) -> Self {
        Self {
            id: row.user_id,
            email: row.email,
            email_verified: row.email_verified != 0,
            name: row.name,
            phone: row.phone,
            roles: row.roles.split_whitespace().map(str::to_owned).collect(),
            is_active: row.is_active != 0,
            created_at: row.user_created_at,
            updated_at: row.user_updated_at,
        }
    }
}

#[derive(FromRow)]
struct CredentialRow {
    #[sqlx(flatten)]
    user: Row,
    password_hash: String,
    login_epoch: i64,
}

/// Adds an account; `None` if the address has one already.
///
/// # Errors
/// Those of the database.
pub async fn create(tx: &mut Tx<'_>, new: &NewUser) -> Result<Option<User>, Error> {
    let now = tx.now();
    let rows: Vec<Row> = sqlx::query_as(concat!(
        "INSERT INTO users (id, email, email_verified, name, phone, password_hash, roles, is_active, created_at,
                            updated_at)
         VALUES ($1, $2, $8, $3, $4, $5, $6, 1, $7, $7)
         ON CONFLICT (email) DO NOTHING
         RETURNING ",
        user_columns!()
    ))
    .bind(new.id.clone())
    .bind(new.email.as_str().to_owned())
    .bind(new.name.as_str().to_owned())
    .bind(new.phone.clone())
    .bind(new.password_hash.clone())
    .bind(new.roles.join(" "))
    .bind(now)
    .bind(i64::from(new.email_verified))
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().next().map(User::from))
}

/// The account with this address, and what its login is checked against.
///
/// # Errors
/// Those of the database.
pub async fn find_for_login<'e>(
    source: impl Source<'e>,
    email: &Email,
) -> Result<Option<(User, Credential)>, Error> {
    let row: Option<CredentialRow> = sqlx::query_as(concat!(
        "SELECT ",
        user_columns!(),
        ", users.password_hash AS password_hash, users.login_epoch AS login_epoch FROM users WHERE email = $1"
    ))
    .bind(email.as_str().to_owned())
    .fetch_optional(source)
    .await?;
    Ok(row.map(|CredentialRow { user, password_hash, login_epoch }| {
        (user.into(), Credential { password_hash, epoch: login_epoch })
    }))
}

/// Every account, oldest first.
///
/// # Errors
/// Those of the database.
pub async fn list<'e>(source: impl Source<'e>) -> Result<Vec<User>, Error> {
    let rows: Vec<Row> = sqlx::query_as(concat!(
        "SELECT ",
        user_columns!(),
        " FROM users ORDER BY users.created_at, users.id"
    ))
    .fetch_all(source)
    .await?;
    Ok(rows.into_iter().map(User::from).collect())
}

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

/// Opens or closes the account with this address and lets no login succeed that was checked before; `None` if there is
/// no such account or it is so already.
///
/// # Errors
/// Those of the database.
pub async fn set_active(tx: &mut Tx<'_>, email: &Email, active: bool) -> Result<Option<User>, Error> {
    let now = tx.now();
    let rows: Vec<Row> = sqlx::query_as(concat!(
        "UPDATE users SET is_active = $2, login_epoch = login_epoch + 1, updated_at = $3
         WHERE email = $1 AND is_active <> $2
         RETURNING ",
        user_columns!()
    ))
    .bind(email.as_str().to_owned())
    .bind(i64::from(active))
    .bind(now)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().next().map(User::from))
}

/// Changes what is given, keeps what is `None`; an inner `None` takes the phone away.
///
/// # Errors
/// Those of the database.
pub async fn update_profile(
    tx: &mut Tx<'_>,
    id: &UserId,
    name: Option<&Name>,
    phone: Option<&Option<String>>,
) -> Result<Option<User>, Error> {
    let now = tx.now();
    let rows: Vec<Row> = sqlx::query_as(concat!(
        "UPDATE users
         SET name = COALESCE($2, name), phone = CASE WHEN $3 = 1 THEN $4 ELSE phone END, updated_at = $5
         WHERE id = $1
         RETURNING ",
        user_columns!()
    ))
    .bind(id.clone())
    .bind(name.map(|name| name.as_str().to_owned()))
    .bind(i64::from(phone.is_some()))
    .bind(phone.cloned().flatten())
    .bind(now)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().next().map(User::from))
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

/// Notes that this address is its owner's; `None` if it has no open account, or if that was known.
///
/// # Errors
/// Those of the database.
pub async fn verify_email(tx: &mut Tx<'_>, email: &Email) -> Result<Option<User>, Error> {
    let now = tx.now();
    let rows: Vec<Row> = sqlx::query_as(concat!(
        "UPDATE users SET email_verified = 1, updated_at = $2
         WHERE email = $1 AND is_active = 1 AND email_verified = 0 RETURNING ",
        user_columns!()
    ))
    .bind(email.as_str().to_owned())
    .bind(now)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().next().map(User::from))
}

/// Replaces the roles of the account with this address; `None` if there is none.
///
/// # Errors
/// Those of the database.
pub async fn set_roles(tx: &mut Tx<'_>, email: &Email, roles: &[String]) -> Result<Option<User>, Error> {
    let now = tx.now();
    let rows: Vec<Row> = sqlx::query_as(concat!(
        "UPDATE users SET roles = $2, updated_at = $3 WHERE email = $1 RETURNING ",
        user_columns!()
    ))
    .bind(email.as_str().to_owned())
    .bind(roles.join(" "))
    .bind(now)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().next().map(User::from))
}
