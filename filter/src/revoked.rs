//! What one worker knows of sessions that have ended, and whether that may be relied on.

use countersign_claims::{Handle, Reject, Revocation, Revocations, TooMany};

use crate::principal::Principal;

/// Asked when a token is verified. Remembered tokens are not asked again: those that are revoked are forgotten when that
/// becomes known, so that a request with a remembered token costs what it did.
#[derive(Debug, Default)]
pub struct Revoked {
    set: Revocations,
    /// Nothing is known, or nothing current, and the configuration says that nobody passes then.
    pub undecided: bool,
    /// How often the set has become larger or another one.
    changes: u64,
}

impl Revoked {
    /// # Errors
    /// [`Reject::Revoked`], or [`Reject::Unavailable`] if that cannot be told.
    pub fn check(&self, principal: &Principal) -> Result<(), Reject> {
        self.decided()?;
        let handle = session(principal);
        if handle.is_some_and(|handle| self.contains(handle)) { Err(Reject::Revoked) } else { Ok(()) }
    }

    /// # Errors
    /// [`Reject::Unavailable`].
    pub fn decided(&self) -> Result<(), Reject> {
        if self.undecided { Err(Reject::Unavailable) } else { Ok(()) }
    }

    pub fn contains(&self, handle: Handle) -> bool {
        self.set.contains(handle)
    }

    /// # Errors
    /// [`TooMany`]; nothing is added.
    pub(crate) fn extend(&mut self, more: &[Revocation]) -> Result<(), TooMany> {
        self.changes = self.changes.wrapping_add(1);
        self.set.extend(more)
    }

    pub(crate) fn replace(&mut self, set: Revocations) {
        self.changes = self.changes.wrapping_add(1);
        self.set = set;
    }

    pub fn forget_expired(&mut self, now: i64) {
        self.set.forget_expired(now);
    }

    pub fn set(&self) -> &Revocations {
        &self.set
    }

    pub fn changes(&self) -> u64 {
        self.changes
    }
}

/// What a principal's credential is revoked by: its session, or what a service has instead.
pub fn session(principal: &Principal) -> Option<Handle> {
    let id = principal.revoked_by();
    (!id.is_empty()).then(|| Handle::of(id))
}
