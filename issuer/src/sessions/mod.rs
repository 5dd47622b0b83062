//! Sessions: one login on one device, from its first token to its last refresh. The rules of rotation, reuse and
//! expiry; no I/O.

pub mod grant;
pub mod http;
mod refresh_token;
pub mod store;

pub use refresh_token::{Forged, RefreshToken};

use crate::config;

/// One login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub id: String,
    pub user_id: String,
    /// How often the refresh token was rotated; the current one carries this number.
    pub counter: i64,
    /// Unix seconds, as all times here. The time of the login.
    pub created_at: i64,
    pub last_used_at: i64,
    /// When `counter` last moved.
    pub rotated_at: Option<i64>,
    pub idle_expires_at: i64,
    pub expires_at: i64,
    pub revoked_at: Option<i64>,
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
    pub fn refreshable_until(&self) -> i64 {
        self.idle_expires_at.min(self.expires_at)
    }

    pub fn is_live(&self, now: i64) -> bool {
        self.revoked_at.is_none() && now < self.refreshable_until()
    }
}

/// How long sessions last, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    pub idle: i64,
    pub total: i64,
    pub grace: i64,
}

impl From<&config::Sessions> for Lifetimes {
    fn from(sessions: &config::Sessions) -> Self {
        Self { idle: sessions.idle_lifetime, total: sessions.lifetime, grace: sessions.refresh_grace }
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
    /// The session is not in the database, or never had this counter.
    Unknown,
    Expired,
    Revoked,
    AccountInactive,
    /// A token that was rotated away came back: one of its two holders stole it. The session is now revoked.
    Reused(Session),
}

/// Decides what a genuine token is worth, from the row as it is.
pub fn judge(session: Session, user_is_active: bool, presented: i64, now: i64, grace: i64) -> Outcome {
    let is_last = presented.checked_add(1) == Some(session.counter);
    let in_grace = session.rotated_at.is_some_and(|at| now.saturating_sub(at) <= grace);
    if session.revoked_at.is_some() {
        Outcome::Refused(Refusal::Revoked)
    } else if !session.is_live(now) {
        Outcome::Refused(Refusal::Expired)
    } else if !user_is_active {
        Outcome::Refused(Refusal::AccountInactive)
    } else if presented == session.counter || (is_last && in_grace) {
        Outcome::Repeated(session)
    } else if presented < session.counter {
        Outcome::Refused(Refusal::Reused(session))
    } else {
        Outcome::Refused(Refusal::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000;
    const GRACE: i64 = 10;

    fn session() -> Session {
        Session {
            id: "s".into(),
            user_id: "u".into(),
            counter: 3,
            created_at: 0,
            last_used_at: 995,
            rotated_at: Some(995),
            idle_expires_at: 2_000,
            expires_at: 3_000,
            revoked_at: None,
            persistent: false,
            amr: vec!["pwd".into()],
            device: String::new(),
            ip: None,
        }
    }

    fn judged(session: Session, presented: i64) -> Outcome {
        judge(session, true, presented, NOW, GRACE)
    }

    #[test]
    fn the_last_rotation_may_be_repeated_within_the_grace() {
        assert_eq!(judged(session(), 2), Outcome::Repeated(session()));
        let late = Session { rotated_at: Some(NOW - GRACE - 1), ..session() };
        assert_eq!(judged(late.clone(), 2), Outcome::Refused(Refusal::Reused(late)));
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
        let revoked = Session { revoked_at: Some(999), ..session() };
        assert_eq!(judged(revoked, 2), Outcome::Refused(Refusal::Revoked));
        let idle = Session { idle_expires_at: NOW, ..session() };
        assert_eq!(judged(idle, 2), Outcome::Refused(Refusal::Expired));
        let old = Session { expires_at: NOW, ..session() };
        assert_eq!(judged(old, 2), Outcome::Refused(Refusal::Expired));
        assert_eq!(judge(session(), false, 2, NOW, GRACE), Outcome::Refused(Refusal::AccountInactive));
    }
}
