//! Ending sessions, with everything that belongs to it, in one transaction: the row, the word to verifiers, the event.

use super::store::Ended;
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
    tell(tx, owner, &ended, kind, origin, rules).await?;
    Ok(!ended.is_empty())
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
    ended: &[Ended],
    kind: Kind,
    origin: &Origin,
    rules: Rules,
) -> Result<(), Error> {
    if ended.is_empty() {
        return Ok(());
    }
    let tokens = OldTokens::of(tx, rules).await?;
    for (id, used) in ended {
        // Within the grace, a refresh that is repeated gets a token, too.
        let until = tokens.expire(*used, rules.grace);
        feed::store::revoke_session(tx, id.as_str(), until).await?;
        let event = Event { kind, subject: Some(owner), session_id: Some(id.as_str()), origin };
        audit::store::record(tx, event).await?;
    }
    Ok(())
}

/// The tokens of what ends now.
#[derive(Debug, Clone, Copy)]
pub struct OldTokens {
    now: UnixTime,
    /// Seconds, clock skew included.
    longest_life: i64,
}

impl OldTokens {
    /// # Errors
    /// Those of the database.
    pub async fn of(tx: &mut Tx<'_>, rules: Rules) -> Result<Self, Error> {
        let now = tx.now();
        // Longer ones than today's may be alive that were issued under another configuration.
        let longest = tokens::store::longest_lifetime(tx.connection(), now).await?;
        Ok(Self { now, longest_life: rules.token_life.max(longest.saturating_add(rules.clock_skew)) })
    }

    /// When no verifier takes one any more of what was used last at `used`, and so many seconds later without a note of it.
    pub fn expire(self, used: UnixTime, later: i64) -> UnixTime {
        // Tokens say a time to come if the clock was set back since.
        let signed = if used > self.now { used.plus(later) } else { self.now };
        signed.plus(self.longest_life).plus(SIGNED_LATE)
    }
}
