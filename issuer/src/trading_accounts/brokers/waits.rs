//! Who has to wait before a broker is asked for them again, because it has had enough. Remembered for the user whom it was
//! asked for: brokers limit keys as well as addresses, and whoever has used theirs up must keep nobody else out.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::client::LONGEST_WAIT;
use crate::accounts::UserId;
use crate::ambient::UnixTime;
use crate::trading_accounts::Broker;

#[derive(Debug, Default)]
pub(super) struct Waits(Mutex<BTreeMap<(&'static str, String), UnixTime>>);

impl Waits {
    /// For how many seconds; `None` if the broker may be asked.
    pub(super) fn left(&self, broker: &Broker, user: &UserId, now: UnixTime) -> Option<i64> {
        let waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let until = waits.get(&(broker.name, user.as_str().to_owned()))?;
        // A clock that was set back is no reason to wait longer.
        Some(until.since(now)).filter(|left| (1..=LONGEST_WAIT).contains(left))
    }

    pub(super) fn begin(&self, broker: &Broker, user: &UserId, now: UnixTime, seconds: i64) {
        let mut waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waits.retain(|_, until| *until > now);
        waits.insert((broker.name, user.as_str().to_owned()), now.plus(seconds));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_one_users_at_one_broker_and_ends() {
        let (waits, now) = (Waits::default(), UnixTime::from_seconds(10_000));
        let (kite, alpaca) = (Broker::named("kite").unwrap(), Broker::named("alpaca").unwrap());
        let [ada, bob] = ["ada", "bob"].map(|id| UserId::parse(id).unwrap());
        waits.begin(kite, &ada, now, 17);
        assert_eq!(waits.left(kite, &ada, now.plus(10)), Some(7));
        assert_eq!(waits.left(kite, &ada, now.plus(17)), None);
        assert_eq!((waits.left(alpaca, &ada, now), waits.left(kite, &bob, now)), (None, None));
        assert_eq!(waits.left(kite, &ada, now.minus(7_200)), None);
        waits.begin(kite, &bob, now.plus(17), 1);
        assert_eq!(waits.0.lock().unwrap().len(), 1);
    }
}
