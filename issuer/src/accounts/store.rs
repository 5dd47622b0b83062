//! The accounts' SQL.

mod credentials;

use sqlx::FromRow;

use super::standing::{Change, LastAdmin};
use super::{Credential, Email, Name, NewUser, User, UserId, Username};
use crate::ambient::UnixTime;
use crate::db::{Error, Source, Tx};

pub use credentials::{
    change_password, claim_login, end_logins, rehash, reset_password, set_mfa_enabled, set_password,
};

/// The columns of a [`Row`], named so that they can stand beside those of another table.
macro_rules! user_columns {
    () => {
        "users.id AS user_id, users.email AS email, users.email_verified AS email_verified,
         users.username AS username, users.name AS name, users.phone AS phone, users.roles AS roles,
         users.is_active AS is_active, users.mfa_enabled AS mfa_enabled,
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
    username: Option<String>,
    name: String,
    phone: Option<String>,
    roles: String,
    is_active: i64,
    mfa_enabled: i64,
    user_created_at: UnixTime,
    user_updated_at: UnixTime,
}

impl From<Row> for User {
    fn from(row: Row) -> Self {
        Self {
            id: row.user_id,
            email: row.email,
            email_verified: row.email_verified != 0,
            username: row.username,
            name: row.name,
            phone: row.phone,
            roles: row.roles.split_whitespace().map(str::to_owned).collect(),
            is_active: row.is_active != 0,
            mfa_enabled: row.mfa_enabled != 0,
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

impl From<CredentialRow> for (User, Credential) {
    fn from(row: CredentialRow) -> Self {
        (row.user.into(), Credential { password_hash: row.password_hash, epoch: row.login_epoch })
    }
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
    Ok(row.map(<(User, Credential)>::from))
}

/// The account that another system knew by this name, and what its login is checked against.
///
/// # Errors
/// Those of the database.
pub async fn find_by_username<'e>(
    source: impl Source<'e>,
    username: &Username,
) -> Result<Option<(User, Credential)>, Error> {
    let row: Option<CredentialRow> = sqlx::query_as(concat!(
        "SELECT ",
        user_columns!(),
        ", users.password_hash AS password_hash, users.login_epoch AS login_epoch FROM users WHERE username = $1"
    ))
    .bind(username.as_str().to_owned())
    .fetch_optional(source)
    .await?;
    Ok(row.map(<(User, Credential)>::from))
}

/// The account with this id, and what its login is checked against.
///
/// # Errors
/// Those of the database.
pub async fn find_with_credential<'e>(
    source: impl Source<'e>,
    id: &UserId,
) -> Result<Option<(User, Credential)>, Error> {
    let row: Option<CredentialRow> = sqlx::query_as(concat!(
        "SELECT ",
        user_columns!(),
        ", users.password_hash AS password_hash, users.login_epoch AS login_epoch FROM users WHERE id = $1"
    ))
    .bind(id.clone())
    .fetch_optional(source)
    .await?;
    Ok(row.map(<(User, Credential)>::from))
}

/// The account with this id.
///
/// # Errors
/// Those of the database.
pub async fn find<'e>(source: impl Source<'e>, id: &UserId) -> Result<Option<User>, Error> {
    let row: Option<Row> =
        sqlx::query_as(concat!("SELECT ", user_columns!(), " FROM users WHERE users.id = $1"))
            .bind(id.clone())
            .fetch_optional(source)
            .await?;
    Ok(row.map(User::from))
}

/// At most `most` accounts whose address begins with `beginning`, after this address, in the order of addresses.
///
/// # Errors
/// Those of the database.
pub async fn page<'e>(
    source: impl Source<'e>,
    beginning: &str,
    after: Option<&str>,
    most: usize,
) -> Result<Vec<User>, Error> {
    let rows: Vec<Row> = sqlx::query_as(concat!(
        "SELECT ",
        user_columns!(),
        " FROM users WHERE users.email >= $1 AND users.email < $2 ORDER BY users.email LIMIT $3"
    ))
    // One lower bound: of two, a database seeks by one, and reads every address between it and the other.
    .bind(first_of_page(beginning, after))
    .bind(format!("{beginning}{BEHIND}"))
    .bind(i64::try_from(most).unwrap_or(i64::MAX))
    .fetch_all(source)
    .await?;
    Ok(rows.into_iter().map(User::from).collect())
}

/// Addresses are visible ASCII: this comes ahead of each of their letters, and the other behind.
const AHEAD: char = '\u{1}';
const BEHIND: char = '\u{7f}';

/// The least that the next address can be.
fn first_of_page(beginning: &str, after: Option<&str>) -> String {
    match after {
        Some(after) if after >= beginning => format!("{after}{AHEAD}"),
        _ => beginning.to_owned(),
    }
}

/// Whether this account is active; held until the end of the transaction, so that it stays so.
///
/// # Errors
/// Those of the database.
pub async fn hold_if_active(tx: &mut Tx<'_>, id: &UserId) -> Result<bool, Error> {
    let hold = "UPDATE users SET is_active = 1 WHERE id = $1 AND is_active = 1";
    let held = sqlx::query(hold).bind(id.clone()).execute(tx.connection()).await?;
    Ok(held.rows_affected() == 1)
}

/// Holds the right to take an administrator away until the end of the transaction: who comes second sees what the first
/// has done.
///
/// # Errors
/// Those of the database.
pub async fn hold_administrators(tx: &mut Tx<'_>) -> Result<(), Error> {
    let hold = "UPDATE counters SET value = value + 1 WHERE name = 'administrators'";
    sqlx::query(hold).execute(tx.connection()).await?;
    Ok(())
}

/// Opens or closes an account, replaces its roles, or both; `None` if there is none with this id, or it is the last open
/// one of an administrator, must stay so, and would not. No login succeeds that was checked before: its token would say
/// roles of then. Whoever calls this has to [hold the administrators](hold_administrators).
///
/// # Errors
/// Those of the database.
pub async fn set_standing(
    tx: &mut Tx<'_>,
    id: &UserId,
    change: &Change,
    last: LastAdmin,
) -> Result<Option<User>, Error> {
    let now = tx.now();
    let rows: Vec<Row> = sqlx::query_as(concat!(
        "UPDATE users
         SET roles = COALESCE($2, roles), is_active = COALESCE($3, is_active), updated_at = $4,
             login_epoch = login_epoch + CASE WHEN COALESCE($2, roles) <> roles OR COALESCE($3, is_active) <> is_active
                                              THEN 1 ELSE 0 END
         WHERE id = $1
           AND ($5 = 1
                OR is_active <> 1
                OR NOT (' ' || roles || ' ') LIKE '% admin %'
                OR (COALESCE($3, is_active) = 1 AND (' ' || COALESCE($2, roles) || ' ') LIKE '% admin %')
                OR EXISTS (SELECT 1 FROM users AS other
                           WHERE other.id <> users.id
                             AND other.is_active = 1 AND (' ' || other.roles || ' ') LIKE '% admin %'))
         RETURNING ",
        user_columns!()
    ))
    .bind(id.clone())
    .bind(change.roles.as_ref().map(|roles| roles.join(" ")))
    .bind(change.active.map(i64::from))
    .bind(now)
    .bind(i64::from(last == LastAdmin::MayGo))
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().next().map(User::from))
}

/// Deletes an account and, by the rules of the schema, every row that belongs to it.
///
/// # Errors
/// Those of the database.
pub async fn delete(tx: &mut Tx<'_>, id: &UserId) -> Result<(), Error> {
    sqlx::query("DELETE FROM users WHERE id = $1").bind(id.clone()).execute(tx.connection()).await?;
    Ok(())
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
