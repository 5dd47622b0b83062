//! The API keys' SQL.

use sqlx::FromRow;

use super::{ApiKey, ApiKeyId, KeyHash, NewKey, USE_NOTED_EVERY};
use crate::accounts::{self, User, UserId};
use crate::ambient::UnixTime;
use crate::db::{Error, Source, Tx};

/// The columns of a [`Row`], named so that they can stand beside those of an account.
macro_rules! key_columns {
    () => {
        "api_keys.id AS key_id, api_keys.user_id AS owner_id, api_keys.name AS key_name, api_keys.hint AS hint,
         api_keys.scopes AS scopes, api_keys.created_at AS key_created_at, api_keys.expires_at AS expires_at,
         api_keys.last_used_at AS last_used_at"
    };
}

#[derive(FromRow)]
struct Row {
    key_id: ApiKeyId,
    owner_id: UserId,
    key_name: String,
    hint: String,
    scopes: Option<String>,
    key_created_at: UnixTime,
    expires_at: Option<UnixTime>,
    last_used_at: Option<UnixTime>,
}

impl From<Row> for ApiKey {
    fn from(row: Row) -> Self {
        let split = |scopes: String| scopes.split_whitespace().map(str::to_owned).collect();
        Self {
            id: row.key_id,
            owner: row.owner_id,
            name: row.key_name,
            hint: row.hint,
            scopes: row.scopes.map(split),
            created_at: row.key_created_at,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
        }
    }
}

#[derive(FromRow)]
struct Owned {
    #[sqlx(flatten)]
    key: Row,
    #[sqlx(flatten)]
    user: accounts::store::Row,
}

impl From<Owned> for (ApiKey, User) {
    fn from(Owned { key, user }: Owned) -> Self {
        (key.into(), user.into())
    }
}

/// The key with one of these hashes, and its owner.
///
/// # Errors
/// Those of the database.
pub(super) async fn find_by_hash<'e>(
    source: impl Source<'e>,
    [one, other]: [KeyHash; 2],
) -> Result<Option<(ApiKey, User)>, Error> {
    let row: Option<Owned> = sqlx::query_as(concat!(
        "SELECT ",
        key_columns!(),
        ", ",
        accounts::store::user_columns!(),
        " FROM api_keys JOIN users ON users.id = api_keys.user_id WHERE api_keys.key_hash IN ($1, $2)"
    ))
    .bind(one)
    .bind(other)
    .fetch_optional(source)
    .await?;
    Ok(row.map(<(ApiKey, User)>::from))
}

/// The key with this id, and its owner.
///
/// # Errors
/// Those of the database.
pub async fn find_with_user<'e>(
    source: impl Source<'e>,
    id: &ApiKeyId,
) -> Result<Option<(ApiKey, User)>, Error> {
    let row: Option<Owned> = sqlx::query_as(concat!(
        "SELECT ",
        key_columns!(),
        ", ",
        accounts::store::user_columns!(),
        " FROM api_keys JOIN users ON users.id = api_keys.user_id WHERE api_keys.id = $1"
    ))
    .bind(id.clone())
    .fetch_optional(source)
    .await?;
    Ok(row.map(<(ApiKey, User)>::from))
}

/// At most `most` keys of a user, newest first, older than the one with the id `before`.
///
/// # Errors
/// Those of the database.
pub async fn page<'e>(
    source: impl Source<'e>,
    owner: &UserId,
    before: Option<&str>,
    most: usize,
) -> Result<Vec<ApiKey>, Error> {
    let rows: Vec<Row> = sqlx::query_as(concat!(
        "SELECT ",
        key_columns!(),
        " FROM api_keys WHERE user_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3"
    ))
    .bind(owner.clone())
    // Ids are hexadecimal: all of them come before 'g'.
    .bind(before.unwrap_or("g").to_owned())
    .bind(i64::try_from(most).unwrap_or(i64::MAX))
    .fetch_all(source)
    .await?;
    Ok(rows.into_iter().map(ApiKey::from).collect())
}

/// How many keys a user has.
///
/// # Errors
/// Those of the database.
pub(super) async fn count(tx: &mut Tx<'_>, owner: &UserId) -> Result<i64, Error> {
    let count = "SELECT COUNT(*) FROM api_keys WHERE user_id = $1";
    Ok(sqlx::query_scalar(count).bind(owner.clone()).fetch_one(tx.connection()).await?)
}

/// Adds a key; false if there is one with this hash.
///
/// # Errors
/// Those of the database.
pub(super) async fn create(tx: &mut Tx<'_>, new: &NewKey) -> Result<bool, Error> {
    let done = sqlx::query(
        "INSERT INTO api_keys (id, user_id, name, hint, key_hash, scopes, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (key_hash) DO NOTHING",
    )
    .bind(new.id.clone())
    .bind(new.owner.clone())
    .bind(new.name.as_str().to_owned())
    .bind(new.hint.clone())
    .bind(new.hash.clone())
    .bind(new.scopes.as_ref().map(|scopes| scopes.join(" ")))
    .bind(new.created_at)
    .bind(new.expires_at)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The owner of the key with this hash.
///
/// # Errors
/// Those of the database.
pub(super) async fn owner_of<'e>(source: impl Source<'e>, hash: &KeyHash) -> Result<Option<UserId>, Error> {
    let owner = "SELECT user_id FROM api_keys WHERE key_hash = $1";
    Ok(sqlx::query_scalar(owner).bind(hash.clone()).fetch_optional(source).await?)
}

/// Whether the key with this hash was revoked here.
///
/// # Errors
/// Those of the database.
pub(super) async fn has_ended<'e>(source: impl Source<'e>, hash: &KeyHash) -> Result<bool, Error> {
    let count = "SELECT COUNT(*) FROM ended_keys WHERE key_hash = $1";
    Ok(sqlx::query_scalar::<_, i64>(count).bind(hash.clone()).fetch_one(source).await? > 0)
}

/// A key that is gone.
#[derive(FromRow)]
pub(super) struct Removed {
    pub(super) id: ApiKeyId,
    key_hash: KeyHash,
    pub(super) last_used_at: Option<UnixTime>,
}

/// Removes a key of a user for good; answers with it, or with nothing if it is none of theirs.
///
/// # Errors
/// Those of the database.
pub(super) async fn remove(tx: &mut Tx<'_>, owner: &UserId, id: &ApiKeyId) -> Result<Vec<Removed>, Error> {
    let remove = "DELETE FROM api_keys WHERE id = $1 AND user_id = $2 RETURNING id, key_hash, last_used_at";
    let removed = sqlx::query_as(remove).bind(id.clone()).bind(owner.clone());
    let removed: Vec<Removed> = removed.fetch_all(tx.connection()).await?;
    remember(tx, &removed).await?;
    Ok(removed)
}

/// Removes every key of a user for good; answers which.
///
/// # Errors
/// Those of the database.
pub(super) async fn remove_all(tx: &mut Tx<'_>, owner: &UserId) -> Result<Vec<Removed>, Error> {
    let remove = "DELETE FROM api_keys WHERE user_id = $1 RETURNING id, key_hash, last_used_at";
    let removed: Vec<Removed> = sqlx::query_as(remove).bind(owner.clone()).fetch_all(tx.connection()).await?;
    remember(tx, &removed).await?;
    Ok(removed)
}

async fn remember(tx: &mut Tx<'_>, removed: &[Removed]) -> Result<(), Error> {
    for Removed { key_hash, .. } in removed {
        let remember = "INSERT INTO ended_keys (key_hash) VALUES ($1) ON CONFLICT (key_hash) DO NOTHING";
        sqlx::query(remember).bind(key_hash.clone()).execute(tx.connection()).await?;
    }
    Ok(())
}

/// Notes that a key is in use, unless that was noted just before.
///
/// # Errors
/// Those of the database.
pub(super) async fn note_use(tx: &mut Tx<'_>, id: &ApiKeyId) -> Result<(), Error> {
    let now = tx.now();
    sqlx::query(
        "UPDATE api_keys SET last_used_at = $2
         WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= $3)",
    )
    .bind(id.clone())
    .bind(now)
    .bind(now.minus(USE_NOTED_EVERY))
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Forgets at most `most` keys that expired at `expired` or before; answers how many.
///
/// # Errors
/// Those of the database.
pub(super) async fn forget(tx: &mut Tx<'_>, expired: UnixTime, most: i64) -> Result<u64, Error> {
    let done = sqlx::query(
        "DELETE FROM api_keys WHERE id IN (SELECT id FROM api_keys WHERE expires_at <= $1 LIMIT $2)",
    )
    .bind(expired)
    .bind(most)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected())
}
