//! The trading accounts' SQL. Credentials go in and come out sealed.

use sqlx::FromRow;

use super::{AccountId, MOST, Status, TradingAccount};
use crate::accounts::{self, UserId};
use crate::ambient::UnixTime;
use crate::db::{Error, Source, Tx};
use crate::envelope::{Sealed, WrappedKey};

/// The columns of a [`Row`], from `trading_accounts AS a JOIN users AS u`.
macro_rules! select {
    ($more:literal, $rest:literal) => {
        concat!(
            "SELECT a.id, a.user_id, a.broker, a.user_id_broker, a.status, a.created_at, a.updated_at, a.verified_at,
                    a.access_token_expires_at, a.rotate_after, a.revision, u.is_active",
            $more,
            " FROM trading_accounts a JOIN users u ON u.id = a.user_id ",
            $rest
        )
    };
}

#[derive(FromRow)]
struct Row {
    id: AccountId,
    user_id: UserId,
    broker: String,
    user_id_broker: String,
    status: String,
    created_at: UnixTime,
    updated_at: UnixTime,
    verified_at: Option<UnixTime>,
    access_token_expires_at: Option<UnixTime>,
    rotate_after: UnixTime,
    revision: i64,
    is_active: i64,
}

impl From<Row> for TradingAccount {
    fn from(row: Row) -> Self {
        let open = row.is_active != 0;
        Self {
            id: row.id,
            user_id: row.user_id,
            broker: row.broker,
            user_id_broker: row.user_id_broker,
            // A status of a later version is none that services may use.
            status: Status::parse(&row.status).filter(|_| open).unwrap_or(Status::Revoked),
            created_at: row.created_at,
            updated_at: row.updated_at,
            verified_at: row.verified_at,
            access_token_expires_at: row.access_token_expires_at,
            rotate_after: row.rotate_after,
            revision: row.revision,
        }
    }
}

#[derive(FromRow)]
struct SealedRow {
    #[sqlx(flatten)]
    account: Row,
    #[sqlx(flatten)]
    sealed: Sealed,
}

/// The accounts of a user, oldest first.
///
/// # Errors
/// Those of the database.
pub async fn list<'e>(source: impl Source<'e>, owner: &UserId) -> Result<Vec<TradingAccount>, Error> {
    let list = select!("", "WHERE a.user_id = $1 ORDER BY a.created_at, a.id");
    let rows: Vec<Row> = sqlx::query_as(list).bind(owner.clone()).fetch_all(source).await?;
    Ok(rows.into_iter().map(TradingAccount::from).collect())
}

/// An account and its credentials.
///
/// # Errors
/// Those of the database.
pub(super) async fn find<'e>(
    source: impl Source<'e>,
    id: &AccountId,
) -> Result<Option<(TradingAccount, Sealed)>, Error> {
    let find = select!(", a.ciphertext, a.key_id, a.wrapped_key", "WHERE a.id = $1");
    let row: Option<SealedRow> = sqlx::query_as(find).bind(id.clone()).fetch_optional(source).await?;
    Ok(row.map(|SealedRow { account, sealed }| (account.into(), sealed)))
}

/// What came of putting an account in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inserted {
    Done,
    /// Its owner has the same one already.
    Exists,
    TooMany,
    /// The owner's account was closed or deleted.
    NoOwner,
}

/// Puts an account in.
///
/// # Errors
/// Those of the database.
pub(super) async fn insert(
    tx: &mut Tx<'_>,
    account: &TradingAccount,
    sealed: &Sealed,
) -> Result<Inserted, Error> {
    // Held until the end of the transaction: nobody deletes the owner or links another account meanwhile.
    if !accounts::store::hold_if_active(tx, &account.user_id).await? {
        return Ok(Inserted::NoOwner);
    }
    let count = "SELECT COUNT(*) FROM trading_accounts WHERE user_id = $1";
    let has: i64 = sqlx::query_scalar(count).bind(account.user_id.clone()).fetch_one(tx.connection()).await?;
    if has >= MOST {
        return Ok(Inserted::TooMany);
    }
    let done = sqlx::query(
        "INSERT INTO trading_accounts (id, user_id, broker, user_id_broker, status, ciphertext, key_id, wrapped_key,
                                       revision, created_at, updated_at, rotate_after, rotation_due)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $11, 0)
         ON CONFLICT (user_id, broker, user_id_broker) DO NOTHING",
    )
    .bind(account.id.clone())
    .bind(account.user_id.clone())
    .bind(account.broker.clone())
    .bind(account.user_id_broker.clone())
    .bind(account.status.as_str())
    .bind(sealed.ciphertext.clone())
    .bind(sealed.data_key.key_id.clone())
    .bind(sealed.data_key.wrapped_key.clone())
    .bind(account.revision)
    .bind(account.created_at)
    .bind(account.rotate_after)
    .execute(tx.connection())
    .await?;
    Ok(if done.rows_affected() == 1 { Inserted::Done } else { Inserted::Exists })
}

/// Puts other credentials in the place of those of this revision, with what follows from them; false if they are not
/// there any more.
///
/// # Errors
/// Those of the database.
pub(super) async fn replace(
    tx: &mut Tx<'_>,
    account: &TradingAccount,
    sealed: &Sealed,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE trading_accounts
         SET status = $3, ciphertext = $4, key_id = $5, wrapped_key = $6, revision = revision + 1, updated_at = $7,
             verified_at = $8, access_token_expires_at = $9,
             rotation_due = CASE WHEN rotate_after = $10 THEN rotation_due ELSE 0 END, rotate_after = $10
         WHERE id = $1 AND revision = $2",
    )
    .bind(account.id.clone())
    .bind(account.revision)
    .bind(account.status.as_str())
    .bind(sealed.ciphertext.clone())
    .bind(sealed.data_key.key_id.clone())
    .bind(sealed.data_key.wrapped_key.clone())
    .bind(account.updated_at)
    .bind(account.verified_at)
    .bind(account.access_token_expires_at)
    .bind(account.rotate_after)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Notes what the broker said about the credentials of this revision; false if they are not there any more.
///
/// # Errors
/// Those of the database.
pub(super) async fn judge(tx: &mut Tx<'_>, account: &TradingAccount) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE trading_accounts SET status = $3, updated_at = $4, verified_at = $5 WHERE id = $1 AND revision = $2",
    )
    .bind(account.id.clone())
    .bind(account.revision)
    .bind(account.status.as_str())
    .bind(account.updated_at)
    .bind(account.verified_at)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Removes an account of this user; false if there is none such.
///
/// # Errors
/// Those of the database.
pub(super) async fn remove(tx: &mut Tx<'_>, id: &AccountId, owner: &UserId) -> Result<bool, Error> {
    let done = sqlx::query("DELETE FROM trading_accounts WHERE id = $1 AND user_id = $2")
        .bind(id.clone())
        .bind(owner.clone())
        .execute(tx.connection())
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Whether services may still use the credentials of this revision.
///
/// # Errors
/// Those of the database.
pub(super) async fn is_active(tx: &mut Tx<'_>, id: &AccountId, revision: i64) -> Result<bool, Error> {
    let count = "SELECT COUNT(*) FROM trading_accounts a JOIN users u ON u.id = a.user_id
                 WHERE a.id = $1 AND a.revision = $2 AND a.status = 'active' AND u.is_active = 1";
    let count = sqlx::query_scalar::<_, i64>(count).bind(id.clone()).bind(revision);
    Ok(count.fetch_one(tx.connection()).await? == 1)
}

/// Marks at most `most` accounts whose credentials are due to be replaced and of which nobody was told yet; answers
/// which, and whose they are.
///
/// # Errors
/// Those of the database.
pub(super) async fn mark_due(tx: &mut Tx<'_>, most: i64) -> Result<Vec<(AccountId, UserId)>, Error> {
    let now = tx.now();
    let mark = "UPDATE trading_accounts SET rotation_due = 1 WHERE id IN
                (SELECT id FROM trading_accounts WHERE rotation_due = 0 AND rotate_after <= $1 LIMIT $2)
                RETURNING id, user_id";
    Ok(sqlx::query_as(mark).bind(now).bind(most).fetch_all(tx.connection()).await?)
}

/// How many accounts have credentials that are due to be replaced.
///
/// # Errors
/// Those of the database.
pub(super) async fn count_due<'e>(source: impl Source<'e>) -> Result<i64, Error> {
    let count = "SELECT COUNT(*) FROM trading_accounts WHERE rotation_due = 1";
    Ok(sqlx::query_scalar(count).fetch_one(source).await?)
}

/// A wrapped key, and where it belongs.
#[derive(Debug, FromRow)]
pub(super) struct Wrapped {
    pub(super) id: String,
    pub(super) user_id: String,
    #[sqlx(flatten)]
    pub(super) data_key: WrappedKey,
}

/// How many keys another key than this one has wrapped.
///
/// # Errors
/// Those of the database.
pub(super) async fn count_wrapped_by_others<'e>(
    source: impl Source<'e>,
    current: &str,
) -> Result<i64, Error> {
    let count = "SELECT COUNT(*) FROM trading_accounts WHERE key_id <> $1";
    Ok(sqlx::query_scalar(count).bind(current.to_owned()).fetch_one(source).await?)
}

/// The next `most` keys after `after` that another key than this one has wrapped, in the order of their rows.
///
/// # Errors
/// Those of the database.
pub(super) async fn wrapped_by_others<'e>(
    source: impl Source<'e>,
    current: &str,
    after: &str,
    most: i64,
) -> Result<Vec<Wrapped>, Error> {
    let next = "SELECT id, user_id, key_id, wrapped_key FROM trading_accounts
                WHERE id > $1 AND key_id <> $2 ORDER BY id LIMIT $3";
    let rows = sqlx::query_as(next).bind(after.to_owned()).bind(current.to_owned()).bind(most);
    Ok(rows.fetch_all(source).await?)
}

/// Puts a key that was wrapped anew in the place of the one that it came from; false if that is not there any more.
///
/// # Errors
/// Those of the database.
pub(super) async fn rewrap(
    tx: &mut Tx<'_>,
    id: &str,
    old: &WrappedKey,
    new: &WrappedKey,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE trading_accounts SET key_id = $3, wrapped_key = $4 WHERE id = $1 AND wrapped_key = $2",
    )
    .bind(id.to_owned())
    .bind(old.wrapped_key.clone())
    .bind(new.key_id.clone())
    .bind(new.wrapped_key.clone())
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}
