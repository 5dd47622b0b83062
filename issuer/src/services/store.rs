//! The services' SQL.

use sqlx::FromRow;

use super::{Scopes, ServiceName, ServiceToken, USE_NOTED_EVERY};
use crate::ambient::UnixTime;
use crate::db::{Error, Source, Tx};

#[derive(FromRow)]
struct Row {
    id: String,
    name: ServiceName,
    scopes: String,
    created_at: UnixTime,
    last_used_at: Option<UnixTime>,
}

impl From<Row> for ServiceToken {
    fn from(row: Row) -> Self {
        let Row { id, name, scopes, created_at, last_used_at } = row;
        Self { id, name, scopes: Scopes::stored(&scopes), created_at, last_used_at }
    }
}

/// The token whose secret has this hash.
///
/// # Errors
/// Those of the database.
pub async fn find<'e>(source: impl Source<'e>, secret_hash: &str) -> Result<Option<ServiceToken>, Error> {
    let query =
        "SELECT id, name, scopes, created_at, last_used_at FROM service_tokens WHERE secret_hash = $1";
    let row: Option<Row> = sqlx::query_as(query).bind(secret_hash.to_owned()).fetch_optional(source).await?;
    Ok(row.map(ServiceToken::from))
}

/// All of them, in the order of their names, the oldest of each first.
///
/// # Errors
/// Those of the database.
pub async fn list<'e>(source: impl Source<'e>) -> Result<Vec<ServiceToken>, Error> {
    let query = "SELECT id, name, scopes, created_at, last_used_at FROM service_tokens ORDER BY name, id";
    let rows: Vec<Row> = sqlx::query_as(query).fetch_all(source).await?;
    Ok(rows.into_iter().map(ServiceToken::from).collect())
}

/// The hashes of all secrets.
///
/// # Errors
/// Those of the database.
pub(super) async fn hashes<'e>(source: impl Source<'e>) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar("SELECT secret_hash FROM service_tokens").fetch_all(source).await?)
}

/// How many a service has.
///
/// # Errors
/// Those of the database.
pub(super) async fn count(tx: &mut Tx<'_>, name: &ServiceName) -> Result<i64, Error> {
    let count = "SELECT COUNT(*) FROM service_tokens WHERE name = $1";
    Ok(sqlx::query_scalar(count).bind(name.clone()).fetch_one(tx.connection()).await?)
}

/// Adds one; `None` if the secret is in use already.
///
/// # Errors
/// Those of the database.
pub(super) async fn create(
    tx: &mut Tx<'_>,
    name: &ServiceName,
    scopes: &Scopes,
    secret_hash: &str,
) -> Result<Option<String>, Error> {
    let (id, now) = (tx.new_id().to_string(), tx.now());
    let done = sqlx::query(
        "INSERT INTO service_tokens (id, name, scopes, secret_hash, created_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (secret_hash) DO NOTHING",
    )
    .bind(id.clone())
    .bind(name.clone())
    .bind(scopes.to_string())
    .bind(secret_hash.to_owned())
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok((done.rows_affected() == 1).then_some(id))
}

/// Removes those of a service, or the one of them with this id; answers which, and when each was used last.
///
/// # Errors
/// Those of the database.
pub(super) async fn remove(
    tx: &mut Tx<'_>,
    name: &ServiceName,
    id: Option<&str>,
) -> Result<Vec<(String, Option<UnixTime>)>, Error> {
    let remove =
        "DELETE FROM service_tokens WHERE name = $1 AND id = COALESCE($2, id) RETURNING id, last_used_at";
    let removed = sqlx::query_as(remove).bind(name.clone()).bind(id.map(str::to_owned));
    Ok(removed.fetch_all(tx.connection()).await?)
}

/// Whether a secret is still good; in a transaction, until it ends.
///
/// # Errors
/// Those of the database.
pub(super) async fn hold(tx: &mut Tx<'_>, id: &str) -> Result<bool, Error> {
    let hold =
        "UPDATE service_tokens SET last_used_at = CASE WHEN last_used_at > $2 THEN last_used_at ELSE $2 END
                WHERE id = $1";
    let held = sqlx::query(hold).bind(id.to_owned()).bind(tx.now()).execute(tx.connection()).await?;
    Ok(held.rows_affected() == 1)
}

/// Whether a secret is still good.
///
/// # Errors
/// Those of the database.
pub async fn is_good<'e>(source: impl Source<'e>, id: &str) -> Result<bool, Error> {
    let query = "SELECT COUNT(*) FROM service_tokens WHERE id = $1";
    let count: i64 = sqlx::query_scalar(query).bind(id.to_owned()).fetch_one(source).await?;
    Ok(count > 0)
}

/// Notes that a token is in use, unless that was noted just before.
///
/// # Errors
/// Those of the database.
pub(super) async fn note_use(tx: &mut Tx<'_>, id: &str) -> Result<(), Error> {
    let now = tx.now();
    sqlx::query(
        "UPDATE service_tokens SET last_used_at = $2
         WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= $3)",
    )
    .bind(id.to_owned())
    .bind(now)
    .bind(now.minus(USE_NOTED_EVERY))
    .execute(tx.connection())
    .await?;
    Ok(())
}
