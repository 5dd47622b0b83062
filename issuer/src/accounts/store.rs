//! The accounts' SQL.

use sqlx::FromRow;

use super::{Email, Name, NewUser, User};
use crate::db::{Db, Error};

#[derive(FromRow)]
struct Row {
    id: String,
    email: String,
    email_verified: i64,
    name: String,
    phone: Option<String>,
    password_hash: String,
    roles: String,
    is_active: i64,
    created_at: i64,
    updated_at: i64,
}

impl From<Row> for User {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            email: row.email,
            email_verified: row.email_verified != 0,
            name: row.name,
            phone: row.phone,
            roles: row.roles.split_whitespace().map(str::to_owned).collect(),
            is_active: row.is_active != 0,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// Adds an account; `None` if the address has one already.
///
/// # Errors
/// Those of the database.
pub async fn create(db: &Db, new: NewUser, now: i64) -> Result<Option<User>, Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "INSERT INTO users (id, email, email_verified, name, phone, password_hash, roles, is_active, created_at, updated_at)
         VALUES ($1, $2, 0, $3, $4, $5, $6, 1, $7, $7)
         ON CONFLICT (email) DO NOTHING
         RETURNING *",
    )
    .bind(new.id)
    .bind(new.email.as_str().to_owned())
    .bind(new.name.as_str().to_owned())
    .bind(new.phone)
    .bind(new.password_hash)
    .bind(new.roles.join(" "))
    .bind(now)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().next().map(User::from))
}

/// The account with this address, and its password hash.
///
/// # Errors
/// Those of the database.
pub async fn find_for_login(db: &Db, email: &Email) -> Result<Option<(User, String)>, Error> {
    let row: Option<Row> = sqlx::query_as("SELECT * FROM users WHERE email = $1")
        .bind(email.as_str().to_owned())
        .fetch_optional(db)
        .await?;
    Ok(row.map(|mut row| {
        let hash = std::mem::take(&mut row.password_hash);
        (row.into(), hash)
    }))
}

/// # Errors
/// Those of the database.
pub async fn find(db: &Db, id: &str) -> Result<Option<User>, Error> {
    let row: Option<Row> =
        sqlx::query_as("SELECT * FROM users WHERE id = $1").bind(id.to_owned()).fetch_optional(db).await?;
    Ok(row.map(User::from))
}

/// Every account, oldest first.
///
/// # Errors
/// Those of the database.
pub async fn list(db: &Db) -> Result<Vec<User>, Error> {
    let rows: Vec<Row> = sqlx::query_as("SELECT * FROM users ORDER BY created_at, id").fetch_all(db).await?;
    Ok(rows.into_iter().map(User::from).collect())
}

/// Changes what is given, keeps what is `None`; an inner `None` takes the phone away.
///
/// # Errors
/// Those of the database.
pub async fn update_profile(
    db: &Db,
    id: &str,
    name: Option<Name>,
    phone: Option<Option<String>>,
    now: i64,
) -> Result<Option<User>, Error> {
    let (change_phone, phone) = (i64::from(phone.is_some()), phone.flatten());
    let rows: Vec<Row> = sqlx::query_as(
        "UPDATE users
         SET name = COALESCE($2, name), phone = CASE WHEN $3 = 1 THEN $4 ELSE phone END, updated_at = $5
         WHERE id = $1
         RETURNING *",
    )
    .bind(id.to_owned())
    .bind(name.map(|name| name.as_str().to_owned()))
    .bind(change_phone)
    .bind(phone)
    .bind(now)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().next().map(User::from))
}

/// Replaces a password hash by one of the same password, unless another has taken its place.
///
/// # Errors
/// Those of the database.
pub async fn rehash(db: &Db, id: &str, old: &str, new: String) -> Result<(), Error> {
    sqlx::query("UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2")
        .bind(id.to_owned())
        .bind(old.to_owned())
        .bind(new)
        .execute(db)
        .await
        .map(drop)
}

/// Replaces the roles of the account with this address; false if there is none.
///
/// # Errors
/// Those of the database.
pub async fn set_roles(db: &Db, email: &Email, roles: &[String], now: i64) -> Result<bool, Error> {
    let result = sqlx::query("UPDATE users SET roles = $2, updated_at = $3 WHERE email = $1")
        .bind(email.as_str().to_owned())
        .bind(roles.join(" "))
        .bind(now)
        .execute(db)
        .await?;
    Ok(result.rows_affected() == 1)
}
