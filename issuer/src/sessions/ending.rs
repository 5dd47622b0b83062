//! Ending sessions, with everything that belongs to it, in one transaction: the row, the word to verifiers, the event.

use super::{Rules, Session, SessionId, store};
use crate::accounts::UserId;
use crate::ambient::UnixTime;
use crate::audit::{self, Event, Kind, Origin};
use crate::db::{Error, Tx};
use crate::{feed, tokens};

/// Seconds after the end of a session in which a token of it may still be signed: its refresh was committed before, and no
/// call takes as long. The clocks of two issuers may differ by less.
const SIGNED_LATE: i64 = 30;

/// Ends one session of `owner`; false if it had ended, or is none of theirs.
///
/// # Errors
/// Those of the database.
pub async fn end_one(
    tx: &mut Tx<'_>,
    owner: &UserId,
    id: &SessionId,
    kind: Kind,
    origin: &Origin,
    rules: Rules,
) -> Result<bool, Error> {
    let ended = store::revoke(tx, owner, id).await?;
    if ended {
        tell(tx, owner, std::slice::from_ref(id), kind, origin, rules).await?;
    }
    Ok(ended)
}

/// Ends every session of a user, and every login under way.
///
/// # Errors
/// Those of the database.
pub async fn end_all(
    tx: &mut Tx<'_>,
    owner: &UserId,
    kind: Kind,
    origin: &Origin,
    rules: Rules,
) -> Result<(), Error> {
    crate::accounts::store::end_logins(tx, owner).await?;
    let ended = store::revoke_oldest(tx, owner, 0).await?;
    tell(tx, owner, &ended, kind, origin, rules).await
}

/// Ends every session of a user but `kept`, and every login under way.
///
/// # Errors
/// Those of the database.
pub async fn end_others(
    tx: &mut Tx<'_>,
    owner: &UserId,
    kept: &SessionId,
    kind: Kind,
    origin: &Origin,
    rules: Rules,
) -> Result<(), Error> {
    crate::accounts::store::end_logins(tx, owner).await?;
    let ended = store::revoke_others(tx, owner, kept).await?;
    tell(tx, owner, &ended, kind, origin, rules).await
}

/// Ends what a user has above the number of sessions that they may have, the oldest first.
///
/// # Errors
/// Those of the database.
pub async fn end_surplus(
    tx: &mut Tx<'_>,
    owner: &UserId,
    origin: &Origin,
    rules: Rules,
) -> Result<(), Error> {
    let ended = store::revoke_oldest(tx, owner, rules.most).await?;
    tell(tx, owner, &ended, Kind::SessionEnded, &origin.by_issuer(), rules).await
}

/// Ends the session of a refresh token that came back.
///
/// # Errors
/// Those of the database.
pub async fn end_reused(
    tx: &mut Tx<'_>,
    session: &Session,
    origin: &Origin,
    rules: Rules,
) -> Result<(), Error> {
    end_one(tx, &session.user_id, &session.id, Kind::RefreshReused, origin, rules).await.map(drop)
}

async fn tell(
    tx: &mut Tx<'_>,
    owner: &UserId,
    ended: &[SessionId],
    kind: Kind,
    origin: &Origin,
    rules: Rules,
) -> Result<(), Error> {
    if ended.is_empty() {
        return Ok(());
    }
    let until = last_token_expires(tx, rules).await?;
    for id in ended {
        feed::store::revoke_session(tx, id.as_str(), until).await?;
        let event = Event { kind, subject: Some(owner), session_id: Some(id.as_str()), origin };
        audit::store::record(tx, event).await?;
    }
    Ok(())
}

/// When no verifier takes a token any more of what ends now, clock skew included.
///
/// # Errors
/// Those of the database.
pub async fn last_token_expires(tx: &mut Tx<'_>, rules: Rules) -> Result<UnixTime, Error> {
    let now = tx.now();
    // Longer ones than today's may be alive that were issued under another configuration.
    let longest = tokens::store::longest_lifetime(tx.connection(), now).await?;
    let life = rules.token_life.max(longest.saturating_add(rules.clock_skew));
    Ok(now.plus(life).plus(SIGNED_LATE))
}
