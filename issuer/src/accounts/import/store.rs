//! The import's SQL.

use sqlx::FromRow;

use super::Refusal;
use crate::accounts::{ImportedUser, UserId};
use crate::audit::{self, Event, Kind, Origin};
use crate::db::{Error, Source, Tx};

/// What came of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Imported,
    /// By an earlier run: the id and the address are there.
    Already,
    Refused(Refusal),
}

/// Adds what is not there yet, and changes nothing that is; with an event if there is anything new.
///
/// # Errors
/// Those of the database.
pub async fn import(tx: &mut Tx<'_>, users: &[ImportedUser]) -> Result<Vec<Outcome>, Error> {
    let mut outcomes = Vec::with_capacity(users.len());
    for user in users {
        let added = insert(tx, user).await?;
        outcomes.push(if added { None } else { find(&mut *tx.connection(), user).await? });
    }
    if outcomes.contains(&None) {
        let origin = Origin::command();
        let event = Event { kind: Kind::UsersImported, subject: None, session_id: None, origin: &origin };
        audit::store::record(tx, event).await?;
    }
    Ok(outcomes.into_iter().map(|there| there.unwrap_or(Outcome::Imported)).collect())
}

async fn insert(tx: &mut Tx<'_>, user: &ImportedUser) -> Result<bool, Error> {
    let done = sqlx::query(
        "INSERT INTO users (id, email, email_verified, username, name, password_hash, roles, is_active, created_at,
                            updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT DO NOTHING",
    )
    .bind(user.id.clone())
    .bind(user.email.as_str().to_owned())
    .bind(i64::from(user.email_verified))
    .bind(user.username.as_ref().map(|username| username.as_str().to_owned()))
    .bind(user.name.as_str().to_owned())
    .bind(user.password_hash.clone())
    .bind(user.roles.join(" "))
    .bind(i64::from(user.is_active))
    .bind(user.created_at)
    .bind(user.updated_at)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

#[derive(FromRow)]
struct Row {
    id: UserId,
    email: String,
}

/// What is there instead of this user; `None` if nothing is in the way.
///
/// # Errors
/// Those of the database.
pub async fn find<'e>(source: impl Source<'e>, user: &ImportedUser) -> Result<Option<Outcome>, Error> {
    let rows: Vec<Row> =
        sqlx::query_as("SELECT id, email FROM users WHERE id = $1 OR email = $2 OR username = $3")
            .bind(user.id.clone())
            .bind(user.email.as_str().to_owned())
            .bind(user.username.as_ref().map(|username| username.as_str().to_owned()))
            .fetch_all(source)
            .await?;
    let (id, email) = (&user.id, user.email.as_str());
    Ok(if rows.is_empty() {
        None
    } else if rows.iter().any(|row| row.id == *id && row.email == email) {
        Some(Outcome::Already)
    } else if rows.iter().any(|row| row.email == email) {
        Some(Outcome::Refused(Refusal::EmailTaken))
    } else if rows.iter().any(|row| row.id == *id) {
        Some(Outcome::Refused(Refusal::IdTaken))
    } else {
        Some(Outcome::Refused(Refusal::UsernameTaken))
    })
}
