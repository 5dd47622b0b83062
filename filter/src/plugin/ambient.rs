//! The clock and randomness: each by its one door.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use countersign_proxy_abi::host;

/// Time since the Unix epoch; zero, which no token survives, if the host does not know.
fn now() -> Duration {
    host::now().unwrap_or_default()
}

pub(super) fn now_seconds() -> i64 {
    i64::try_from(now().as_secs()).unwrap_or(i64::MAX)
}

pub(super) fn now_millis() -> u64 {
    u64::try_from(now().as_millis()).unwrap_or(u64::MAX)
}

/// A number that nobody outside can know: the standard library's hasher is seeded by the host.
pub(super) fn random() -> u64 {
    RandomState::new().hash_one(())
}
