//! An account's standing: whether it is open, which roles and which password it has, and its end. Each change with what
//! belongs to it - events, ended sessions, word to verifiers - in one transaction, for administrators and operators alike.

use super::{User, UserId, store};
use crate::api_keys;
use crate::audit::{self, Event, Kind, Origin};
use crate::db::{Error, Tx};
use crate::mail::{self, Letter};
use crate::sessions::{Rules, ending};
use crate::verification::{self, Purpose};

/// What is to be different; `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct Change {
    pub active: Option<bool>,
    pub roles: Option<Vec<String>>,
}

/// Whether a change may leave no administrator who can log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastAdmin {
    MustStay,
    /// An operator insists.
    MayGo,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The account as it is now; as it was last, if it was deleted.
    Done(User),
    /// It was so before.
    AlreadySo(User),
    /// This is the last administrator.
    Refused,
    Unknown,
}

/// Opens or closes an account, replaces its roles, or both at once. To close it ends its sessions and its API keys.
///
/// # Errors
/// Those of the database.
pub async fn change(
    tx: &mut Tx<'_>,
    id: &UserId,
    change: &Change,
    last: LastAdmin,
    origin: &Origin,
    rules: Rules,
) -> Result<Outcome, Error> {
    store::hold_administrators(tx).await?;
    let Some(old) = store::find(tx.connection(), id).await? else { return Ok(Outcome::Unknown) };
    let same_roles = change.roles.as_ref().is_none_or(|roles| *roles == old.roles);
    let same_state = change.active.is_none_or(|active| active == old.is_active);
    if same_roles && same_state {
        return Ok(Outcome::AlreadySo(old));
    }
    let Some(user) = store::set_standing(tx, id, change, last).await? else { return Ok(Outcome::Refused) };
    if !same_roles {
        note(tx, Kind::RoleChanged, id, origin).await?;
    }
    if !same_state {
        let kind = if user.is_active { Kind::UserActivated } else { Kind::UserDeactivated };
        note(tx, kind, id, origin).await?;
    }
    if !user.is_active {
        ending::end_all(tx, id, Kind::SessionEnded, origin, rules).await?;
        api_keys::ending::end_all(tx, id, origin, rules).await?;
    }
    Ok(Outcome::Done(user))
}

/// Gives an account a new password, tells its owner so by `notice`, and ends its sessions; a link that lets one choose
/// another is good no longer. `None` if there is no such account.
///
/// # Errors
/// Those of the database.
pub async fn set_password(
    tx: &mut Tx<'_>,
    id: &UserId,
    password_hash: &str,
    notice: Option<&Letter>,
    origin: &Origin,
    rules: Rules,
) -> Result<Option<User>, Error> {
    let Some(user) = store::set_password(tx, id, password_hash).await? else { return Ok(None) };
    note(tx, Kind::PasswordChanged, id, origin).await?;
    verification::store::withdraw(tx, Purpose::ResetPassword, &user.email).await?;
    ending::end_all(tx, id, Kind::SessionEnded, origin, rules).await?;
    if let Some(notice) = notice {
        mail::store::post(tx, notice).await?;
    }
    Ok(Some(user))
}

/// Ends every session of an account; `None` if there is no such account.
///
/// # Errors
/// Those of the database.
pub async fn end_sessions(
    tx: &mut Tx<'_>,
    id: &UserId,
    origin: &Origin,
    rules: Rules,
) -> Result<Option<User>, Error> {
    let Some(user) = store::find(tx.connection(), id).await? else { return Ok(None) };
    ending::end_all(tx, id, Kind::SessionEnded, origin, rules).await?;
    Ok(Some(user))
}

/// Deletes an account with all that is its own. What happened to it stays in the audit, under its id.
///
/// # Errors
/// Those of the database.
pub async fn delete(
    tx: &mut Tx<'_>,
    id: &UserId,
    last: LastAdmin,
    origin: &Origin,
    rules: Rules,
) -> Result<Outcome, Error> {
    store::hold_administrators(tx).await?;
    let Some(user) = store::find(tx.connection(), id).await? else { return Ok(Outcome::Unknown) };
    // Closed first, because that is refused where deleting it must be; its sessions and keys end before their rows go.
    let closed = Change { active: Some(false), roles: None };
    if store::set_standing(tx, id, &closed, last).await?.is_none() {
        return Ok(Outcome::Refused);
    }
    ending::end_all(tx, id, Kind::SessionEnded, origin, rules).await?;
    api_keys::ending::end_all(tx, id, origin, rules).await?;
    store::delete(tx, id).await?;
    note(tx, Kind::UserDeleted, id, origin).await?;
    Ok(Outcome::Done(user))
}

async fn note(tx: &mut Tx<'_>, kind: Kind, id: &UserId, origin: &Origin) -> Result<(), Error> {
    audit::store::record(tx, Event { kind, subject: Some(id), session_id: None, origin }).await
}
