//! The beginning and the end of a key, with everything that belongs to it, in one transaction: the row, the word to
//! verifiers, the event.

use super::{ApiKeyId, MOST_KEYS, NewKey, store};
use crate::accounts::{self, UserId};
use crate::audit::{self, Event, Kind, Origin};
use crate::db::{Error, Tx};
use crate::feed;
use crate::sessions::Rules;
use crate::sessions::ending::last_token_expires;

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
    let ended = store::remove(tx, owner, id).await?;
    if ended {
        tell(tx, owner, std::slice::from_ref(id), origin, rules).await?;
    }
    Ok(ended)
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
    ended: &[ApiKeyId],
    origin: &Origin,
    rules: Rules,
) -> Result<(), Error> {
    if ended.is_empty() {
        return Ok(());
    }
    let until = last_token_expires(tx, rules).await?;
    for id in ended {
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
