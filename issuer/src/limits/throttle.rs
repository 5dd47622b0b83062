//! Secrets of machines that turn out to be nobody's. Each costs a look into the database; nobody guesses one, so there is
//! no account to lock, and nothing to remember for long. After too many in a short time none is looked up that was not
//! good before: whoever floods us with bad ones keeps nobody out who works.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::ambient::UnixTime;

/// Seconds in which failures are counted together.
const WINDOW: i64 = 10;

/// Failures in that time after which only what is known is looked up.
const MOST: u32 = 500;

/// Good ones that are remembered, by their hashes.
const REMEMBERED: usize = 10_000;

/// Counts for this process; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Throttle(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    begun: i64,
    failures: u32,
    good: HashSet<String>,
}

impl Throttle {
    /// For how many seconds this one is not looked up; `None` if it may be.
    pub fn wait(&self, hash: &str, now: UnixTime) -> Option<i64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = state.passed(now);
        (state.failures >= MOST && !state.good.contains(hash)).then_some(WINDOW - passed)
    }

    /// It was found.
    pub fn good(&self, hash: &str) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.good.contains(hash) {
            return;
        }
        if state.good.len() >= REMEMBERED {
            state.good.clear();
        }
        state.good.insert(hash.to_owned());
    }

    /// It was not, or is good no longer.
    pub fn bad(&self, hash: &str, now: UnixTime) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.passed(now);
        state.failures = state.failures.saturating_add(1);
        state.good.remove(hash);
    }
}

impl State {
    /// Seconds since counting began, which it does anew after its time, and when the clock was set back.
    fn passed(&mut self, now: UnixTime) -> i64 {
        let passed = now.seconds().saturating_sub(self.begun);
        if (0..WINDOW).contains(&passed) {
            return passed;
        }
        (self.begun, self.failures) = (now.seconds(), 0);
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_bad_secrets_keeps_out_none_that_is_known_and_ends() {
        let (throttle, now) = (Throttle::default(), UnixTime::from_seconds(1_000));
        throttle.good("known");
        for n in 0..MOST {
            let hash = n.to_string();
            assert_eq!(throttle.wait(&hash, now), None, "{n}");
            throttle.bad(&hash, now);
        }
        assert_eq!(throttle.wait("another", now.plus(3)), Some(7));
        assert_eq!(throttle.wait("known", now), None);
        assert_eq!(throttle.wait("another", now.plus(10)), None);
        // A clock that is set back locks nobody out.
        (0..MOST).for_each(|_| throttle.bad("x", now.plus(10)));
        assert!(throttle.wait("another", now.plus(10)).is_some());
        assert_eq!(throttle.wait("another", now.minus(3_600)), None);
    }

    #[test]
    fn what_was_good_once_is_forgotten_when_it_is_not() {
        let (throttle, now) = (Throttle::default(), UnixTime::from_seconds(1_000));
        throttle.good("revoked");
        (0..MOST).for_each(|_| throttle.bad("revoked", now));
        assert!(throttle.wait("revoked", now).is_some());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let throttle = Throttle::default();
        (0..3 * REMEMBERED).for_each(|n| throttle.good(&n.to_string()));
        assert!(throttle.0.lock().unwrap().good.len() <= REMEMBERED);
    }
}
