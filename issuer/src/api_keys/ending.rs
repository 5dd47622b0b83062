//! The beginning and the end of a key, with everything that belongs to it, in one transaction: the row, the word to
//! verifiers, the event.

use super::store::Removed;
use super::{ApiKeyId, MOST_KEYS, NewKey, USE_NOTED_EVERY, store};
use crate::accounts::{self, UserId};
use crate::audit::{self, Event, Kind, Origin};
use crate::db::{Error, Tx};
use crate::feed;
use crate::sessions::Rules;
use crate::sessions::ending::OldTokens;

/// What came of making a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    Done,
    /// Its owner has [`MOST_KEYS`].
    TooMany,
    /// The account was closed or deleted meanwhile.
    NoOwner,
}

/// Makes a key for someone whose account is open.
///
/// # Errors
/// Those of the database.
pub async fn make(tx: &mut Tx<'_>, new: &NewKey, origin: &Origin) -> Result<Made, Error> {
    // Held until the end of the transaction: who closes the account ends this key, too.
    if !accounts::store::hold_if_active(tx, &new.owner).await? {
        return Ok(Made::NoOwner);
    }
    if store::count(tx, &new.owner).await? >= MOST_KEYS {
        return Ok(Made::TooMany);
    }
    store::create(tx, new).await?;
    note(tx, Kind::ApiKeyCreated, &new.owner, &new.id, origin).await?;
    Ok(Made::Done)
}

/// Ends a key of `owner`; false if it is none of theirs.
///
/// # Errors
/// Those of the database.
pub async fn end_one(
    tx: &mut Tx<'_>,
    owner: &UserId,
    id: &ApiKeyId,
    origin: &Origin,
    rules: Rules,
) -> Result<bool, Error> {
    // Held until the end of the transaction: an import that comes meanwhile sees that this key has ended.
    accounts::store::hold_if_active(tx, owner).await?;
    let ended = store::remove(tx, owner, id).await?;
    tell(tx, owner, &ended, origin, rules).await?;
    Ok(!ended.is_empty())
}

/// Ends every key of a user.
///
/// # Errors
/// Those of the database.
pub async fn end_all(tx: &mut Tx<'_>, owner: &UserId, origin: &Origin, rules: Rules) -> Result<(), Error> {
    let ended = store::remove_all(tx, owner).await?;
    tell(tx, owner, &ended, origin, rules).await
}

async fn tell(
    tx: &mut Tx<'_>,
    owner: &UserId,
    ended: &[Removed],
    origin: &Origin,
    rules: Rules,
) -> Result<(), Error> {
    if ended.is_empty() {
        return Ok(());
    }
    let tokens = OldTokens::of(tx, rules).await?;
    for Removed { id, last_used_at, .. } in ended {
        let until = tokens.expire(last_used_at.unwrap_or(tx.now()), USE_NOTED_EVERY);
        feed::store::revoke_session(tx, id.as_str(), until).await?;
        note(tx, Kind::ApiKeyRevoked, owner, id, origin).await?;
    }
    Ok(())
}

pub(super) async fn note(
    tx: &mut Tx<'_>,
    kind: Kind,
    owner: &UserId,
    id: &ApiKeyId,
    origin: &Origin,
) -> Result<(), Error> {
    let event = Event { kind, subject: Some(owner), session_id: Some(id.as_str()), origin };
    audit::store::record(tx, event).await
}
