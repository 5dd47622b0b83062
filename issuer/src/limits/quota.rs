//! How often somebody whom we know may do something in a minute, a service or a user. Counted by each issuer for itself: what
//! it bounds costs a few milliseconds, and a count that all issuers share would cost as much.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::ambient::UnixTime;

const MINUTE: i64 = 60;

/// With so many names, those whose minute is over are forgotten.
const MANY: usize = 10_000;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Quota {
    most: u32,
    /// One for each name that was given of late, so only names that we have given out.
    minutes: Arc<Mutex<BTreeMap<String, Minute>>>,
}

#[derive(Debug, Default)]
struct Minute {
    begun: i64,
    count: u32,
}

impl Minute {
    /// A clock that was set back is no reason to wait longer.
    fn is_over(&self, now: UnixTime) -> bool {
        !(0..MINUTE).contains(&now.seconds().saturating_sub(self.begun))
    }
}

/// There were too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// Until there may be more.
    pub seconds: i64,
    /// Nobody was refused in this minute before.
    pub is_first: bool,
}

impl Quota {
    pub fn new(most: u32) -> Self {
        Self { most, minutes: Arc::default() }
    }

    /// Counts one.
    ///
    /// # Errors
    /// [`Spent`].
    pub fn take(&self, name: &str, now: UnixTime) -> Result<(), Spent> {
        let mut minutes = self.minutes.lock().unwrap_or_else(PoisonError::into_inner);
        if !minutes.contains_key(name) {
            if minutes.len() >= MANY {
                minutes.retain(|_, minute| !minute.is_over(now));
            }
            minutes.insert(name.to_owned(), Minute { begun: now.seconds(), count: 0 });
        }
        let Some(minute) = minutes.get_mut(name) else { return Ok(()) };
        if minute.is_over(now) {
            *minute = Minute { begun: now.seconds(), count: 0 };
        }
        minute.count = minute.count.saturating_add(1);
        let seconds = minute.begun.saturating_add(MINUTE).saturating_sub(now.seconds());
        match minute.count.checked_sub(self.most) {
            None | Some(0) => Ok(()),
            Some(beyond) => Err(Spent { seconds, is_first: beyond == 1 }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_in_a_minute_for_each_name_and_one_is_told_first() {
        let (quota, now) = (Quota::new(2), UnixTime::from_seconds(1_000));
        let take = |name, now| quota.take(name, now);
        assert_eq!([take("a", now), take("a", now.plus(20))], [Ok(()), Ok(())]);
        assert_eq!(take("a", now.plus(20)), Err(Spent { seconds: 40, is_first: true }));
        assert_eq!(take("a", now.plus(59)), Err(Spent { seconds: 1, is_first: false }));
        assert_eq!(take("b", now.plus(59)), Ok(()));
        assert_eq!(take("a", now.plus(60)), Ok(()));
        assert_eq!(take("a", now.minus(3_600)), Ok(()));
    }

    #[test]
    fn names_are_forgotten_once_there_are_many() {
        let (quota, now) = (Quota::new(1), UnixTime::from_seconds(1_000));
        (0..MANY).for_each(|n| quota.take(&n.to_string(), now).unwrap());
        assert_eq!(quota.take("another", now.plus(60)), Ok(()));
        assert_eq!(quota.minutes.lock().unwrap().len(), 1);
    }
}
