//! The clock, the log and randomness: each by its one door.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, UNIX_EPOCH};

use proxy_wasm::hostcalls;
use proxy_wasm::types::LogLevel;

/// Time since the Unix epoch; zero, which no token survives, if the host does not know.
pub(super) fn now() -> Duration {
    hostcalls::get_current_time()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .unwrap_or_default()
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

/// Messages name keys, rules and paths of the configuration; never a token, nor anything a client sent.
pub(super) fn log(level: LogLevel, message: &str) {
    // Nothing can be done about a log that cannot be written.
    let _ = hostcalls::log(level, message);
}
