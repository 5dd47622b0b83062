//! The clock and randomness: each by its one door.

use std::hash::{BuildHasher, RandomState};

use countersign_proxy_abi::host;

/// Unix time, in seconds. If the host does not know, one that no token survives.
pub(super) fn now_seconds() -> i64 {
    host::now().ok().and_then(|now| i64::try_from(now.as_secs()).ok()).unwrap_or(i64::MAX)
}

/// Unix time, in milliseconds; zero if the host does not know.
pub(super) fn now_millis() -> u64 {
    host::now().ok().and_then(|now| u64::try_from(now.as_millis()).ok()).unwrap_or_default()
}

/// A number that nobody outside can know: the standard library's hasher is seeded by the host.
pub(super) fn random() -> u64 {
    RandomState::new().hash_one(())
}
