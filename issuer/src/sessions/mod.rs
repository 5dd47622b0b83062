//! Sessions: one login on one device, from its first token to its last refresh. The rules of rotation, reuse and
//! expiry; no I/O.

mod caller;
pub mod devices;
pub mod ending;
pub mod grant;
pub mod http;
mod id;
mod listing;
mod logout;
mod metrics;
mod refresh;
mod refresh_cookie;
mod refresh_token;
pub mod store;
mod sweep;

pub use caller::{Caller, Callers, Subject};
pub use id::SessionId;
pub use listing::SessionsBody;
pub use metrics::Metrics;
pub use refresh::{Carrier, Refreshed};
pub use refresh_cookie::RefreshCookie;
pub use refresh_token::{Forged, RefreshToken};
pub use sweep::sweep;

use crate::accounts::UserId;
use crate::ambient::UnixTime;
use crate::config;
use crate::db::Db;
use grant::Grants;

/// What goes on with sessions that have begun; cheap to clone.
#[derive(Debug, Clone)]
pub struct Sessions {
    pub db: Db,
    pub grants: Grants,
    pub metrics: Metrics,
}

/// One login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub id: SessionId,
    pub user_id: UserId,
    /// How often the refresh token was rotated; the current one carries this number.
    pub counter: i64,
    /// The time of the login.
    pub created_at: UnixTime,
    /// The latest time at which it began or was refreshed, also after the clock was set back.
    pub last_used_at: UnixTime,
    /// When `counter` last moved.
    pub rotated_at: Option<UnixTime>,
    pub idle_expires_at: UnixTime,
    pub expires_at: UnixTime,
    pub revoked_at: Option<UnixTime>,
    /// Whether the refresh cookie outlives the browser.
    pub persistent: bool,
    /// How the user authenticated (RFC 8176).
    pub amr: Vec<String>,
    /// What the client calls itself.
    pub device: String,
    pub ip: Option<String>,
}

impl Session {
    /// When the refresh token stops working unless it is used.
    pub fn refreshable_until(&self) -> UnixTime {
        self.idle_expires_at.min(self.expires_at)
    }

    pub fn is_live(&self, now: UnixTime) -> bool {
        self.revoked_at.is_none() && now < self.refreshable_until()
    }
}

/// Who may have sessions, how many, and how long they last, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub idle: i64,
    pub total: i64,
    pub grace: i64,
    pub most: u32,
    /// How long after its last refresh a session may have a live access token: their lifetime and the verifiers' skew.
    pub token_life: i64,
    /// Of the verifiers.
    pub clock_skew: i64,
    /// Whether nobody begins one before their address is verified.
    pub verified_only: bool,
}

impl From<&config::Settings> for Rules {
    fn from(settings: &config::Settings) -> Self {
        let config::Sessions { idle_lifetime, lifetime, refresh_grace, max_per_user, .. } = settings.sessions;
        Self {
            idle: idle_lifetime,
            total: lifetime,
            grace: refresh_grace,
            most: max_per_user,
            token_life: settings.overlap(),
            clock_skew: settings.tokens.clock_skew,
            verified_only: settings.accounts.verify_email,
        }
    }
}

/// What came of presenting a refresh token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The counter moved.
    Rotated(Session),
    /// The token is the current one, or the one before it within the grace: the current one holds.
    Repeated(Session),
    Refused(Refusal),
}

/// Why a genuine refresh token is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The session is not in the database, or never had this counter, or the clock was set back.
    Unknown,
    Expired,
    Revoked,
    AccountInactive,
    /// A token that was rotated away came back: one of its two holders stole it. The session is to be ended.
    Reused(Session),
}

/// How far the clocks of two issuers may differ, in seconds.
const CLOCK_DIFFERENCE: i64 = 5;

/// Decides what a genuine token is worth, from the row as it is. `rotated_at` is when the last rotation was committed:
/// nobody could have its token before then.
pub fn judge(
    session: Session,
    rotated_at: Option<UnixTime>,
    user_is_active: bool,
    presented: i64,
    now: UnixTime,
    grace: i64,
) -> Outcome {
    let age = rotated_at.map_or(i64::MAX, |at| now.since(at));
    let is_last = presented.checked_add(1) == Some(session.counter);
    if session.revoked_at.is_some() {
        Outcome::Refused(Refusal::Revoked)
    } else if !session.is_live(now) {
        Outcome::Refused(Refusal::Expired)
    } else if !user_is_active {
        Outcome::Refused(Refusal::AccountInactive)
    } else if presented == session.counter {
        Outcome::Repeated(session)
    } else if presented > session.counter {
        Outcome::Refused(Refusal::Unknown)
    } else if is_last && age < -CLOCK_DIFFERENCE {
        // The clock was set back. That must not stretch the grace, and proves no theft either.
        Outcome::Refused(Refusal::Unknown)
    } else if is_last && age <= grace {
        Outcome::Repeated(session)
    } else {
        Outcome::Refused(Refusal::Reused(session))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const NOW: i64 = 1_000;
    const GRACE: i64 = 30;

    fn at(seconds: i64) -> UnixTime {
        UnixTime::from_seconds(seconds)
    }

    fn session() -> Session {
        Session {
            id: SessionId::new(Uuid::nil()),
            user_id: UserId::new(Uuid::nil()),
            counter: 3,
            created_at: at(0),
            last_used_at: at(995),
            rotated_at: Some(at(995)),
            idle_expires_at: at(2_000),
            expires_at: at(3_000),
            revoked_at: None,
            persistent: false,
            amr: vec!["pwd".into()],
            device: String::new(),
            ip: None,
        }
    }

    fn judged(session: Session, presented: i64) -> Outcome {
        let rotated_at = session.rotated_at;
        judge(session, rotated_at, true, presented, at(NOW), GRACE)
    }

    #[test]
    fn the_last_rotation_may_be_repeated_within_the_grace() {
        assert_eq!(judged(session(), 2), Outcome::Repeated(session()));
        let late = Session { rotated_at: Some(at(NOW - GRACE - 1)), ..session() };
        assert_eq!(judged(late.clone(), 2), Outcome::Refused(Refusal::Reused(late)));
    }

    #[test]
    fn the_grace_counts_from_the_commit() {
        let late = Session { rotated_at: Some(at(NOW - GRACE - 10)), ..session() };
        let judged = judge(late.clone(), Some(at(NOW - GRACE)), true, 2, at(NOW), GRACE);
        assert_eq!(judged, Outcome::Repeated(late));
    }

    #[test]
    fn a_clock_set_back_stretches_no_grace_and_ends_no_session() {
        let ahead = |seconds| Session { rotated_at: Some(at(NOW + seconds)), ..session() };
        assert_eq!(judged(ahead(5), 2), Outcome::Repeated(ahead(5)));
        assert_eq!(judged(ahead(6), 2), Outcome::Refused(Refusal::Unknown));
        assert_eq!(judged(ahead(3_600), 2), Outcome::Refused(Refusal::Unknown));
        assert_eq!(judged(ahead(3_600), 3), Outcome::Repeated(ahead(3_600)));
    }

    #[test]
    fn the_current_token_holds() {
        assert_eq!(judged(session(), 3), Outcome::Repeated(session()));
    }

    #[test]
    fn anything_older_is_reuse() {
        assert_eq!(judged(session(), 1), Outcome::Refused(Refusal::Reused(session())));
        assert_eq!(judged(session(), -1), Outcome::Refused(Refusal::Reused(session())));
        assert_eq!(judged(session(), i64::MIN), Outcome::Refused(Refusal::Reused(session())));
    }

    #[test]
    fn a_counter_from_the_future_is_not_reuse() {
        // As after restoring a backup: nobody stole anything, and nobody gets in.
        assert_eq!(judged(session(), 4), Outcome::Refused(Refusal::Unknown));
        assert_eq!(judged(session(), i64::MAX), Outcome::Refused(Refusal::Unknown));
    }

    #[test]
    fn an_ended_session_grants_no_grace() {
        let revoked = Session { revoked_at: Some(at(999)), ..session() };
        assert_eq!(judged(revoked, 2), Outcome::Refused(Refusal::Revoked));
        let idle = Session { idle_expires_at: at(NOW), ..session() };
        assert_eq!(judged(idle, 2), Outcome::Refused(Refusal::Expired));
        let old = Session { expires_at: at(NOW), ..session() };
        assert_eq!(judged(old, 2), Outcome::Refused(Refusal::Expired));
        let inactive = judge(session(), None, false, 2, at(NOW), GRACE);
        assert_eq!(inactive, Outcome::Refused(Refusal::AccountInactive));
    }
}
