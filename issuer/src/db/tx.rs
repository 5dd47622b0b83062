//! A transaction as the store verbs see it: a connection, the moment in which it runs, and what is to happen once it
//! is committed. Nothing that it does is seen by others, or told to anyone, before then.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::AnyConnection;
use uuid::Uuid;

use super::writer::Desk;
use crate::ambient::UnixTime;
use crate::secrets::Ring;

/// What happens outside the database when a transaction has been committed, such as a log line.
pub(super) type Effect = Box<dyn FnOnce() + Send>;

pub struct Tx<'c> {
    pub(super) connection: &'c mut AnyConnection,
    now: UnixTime,
    desk: &'c Desk,
    pub(super) effects: Vec<Effect>,
}

impl fmt::Debug for Tx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").field("now", &self.now).finish_non_exhaustive()
    }
}

impl<'c> Tx<'c> {
    pub(super) fn new(connection: &'c mut AnyConnection, desk: &'c Desk) -> Self {
        Self { connection, now: desk.ids.clock.now(), desk, effects: Vec::new() }
    }

    /// Where statements run.
    pub fn connection(&mut self) -> &mut AnyConnection {
        self.connection
    }

    /// The time at which this transaction got its turn: time spent waiting has passed already.
    pub fn now(&self) -> UnixTime {
        self.now
    }

    pub fn new_id(&self) -> Uuid {
        self.desk.ids.uuid()
    }

    /// What makes and checks the MACs of rows that are kept: also by secrets that are good for nothing else any more.
    pub fn archive_ring(&self) -> &Ring {
        &self.desk.ring
    }

    /// Does `effect` once this transaction has been committed, and never if it is not. It must be quick.
    pub fn after_commit(&mut self, effect: impl FnOnce() + Send + 'static) {
        self.effects.push(Box::new(effect));
    }

    /// Tells whoever listens to [`Db::bell`](super::Db::bell), once this transaction has been committed.
    pub fn ring(&mut self) {
        let bell = self.desk.bell.clone();
        self.after_commit(move || bell.send_replace(()));
    }

    /// When what was written at `written` became true for others: later than that only if the commit was slow.
    pub fn committed_at(&self, written: UnixTime) -> UnixTime {
        self.desk.stalls.committed_at(written)
    }
}

/// The commits that took long enough to matter to a grace.
#[derive(Debug, Clone, Default)]
pub(super) struct Stalls(Arc<Mutex<Vec<Stall>>>);

#[derive(Debug, Clone, Copy)]
struct Stall {
    begun: UnixTime,
    committed: UnixTime,
}

/// Longer than any grace that the configuration takes, in seconds.
const REMEMBERED: i64 = 600;

impl Stalls {
    /// Remembers a commit, unless it came in the second in which its transaction began.
    pub(super) fn note(&self, begun: UnixTime, committed: UnixTime) {
        if committed <= begun {
            return;
        }
        let mut stalls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stalls.retain(|stall| committed.since(stall.committed) < REMEMBERED);
        stalls.push(Stall { begun, committed });
    }

    fn committed_at(&self, written: UnixTime) -> UnixTime {
        let stalls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |stall: &Stall| (stall.begun..=stall.committed).contains(&written);
        stalls.iter().filter(|stall| of(stall)).map(|stall| stall.committed).max().unwrap_or(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> UnixTime {
        UnixTime::from_seconds(seconds)
    }

    #[test]
    fn what_a_slow_commit_wrote_counts_from_its_end() {
        let stalls = Stalls::default();
        stalls.note(at(100), at(100));
        stalls.note(at(100), at(140));
        assert_eq!(stalls.committed_at(at(100)), at(140));
        assert_eq!(stalls.committed_at(at(99)), at(99));
        assert_eq!(stalls.committed_at(at(141)), at(141));
        stalls.note(at(1_000), at(1_001));
        assert_eq!(stalls.committed_at(at(100)), at(100));
    }
}
