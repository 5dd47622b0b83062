//! The one door to time and randomness. Everything else gets `now` or random bytes as arguments, so that a test
//! can move the clock and repeat a draw; nothing outside this module may ask the system for either.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

/// Tells the time: the system's, or one that only moves when it is told to.
#[derive(Debug, Clone)]
pub struct Clock(TimeSource);

#[derive(Debug, Clone)]
enum TimeSource {
    System,
    Manual(Arc<AtomicI64>),
}

impl Clock {
    pub fn system() -> Self {
        Self(TimeSource::System)
    }

    /// A clock that stands at `now` (unix seconds) until [`Clock::set`]; clones share the time.
    pub fn manual(now: i64) -> Self {
        Self(TimeSource::Manual(Arc::new(AtomicI64::new(now.saturating_mul(1000)))))
    }

    /// Unix seconds.
    pub fn now(&self) -> i64 {
        self.now_millis().div_euclid(1000)
    }

    /// Unix milliseconds; a system clock before 1970 reads as 1970.
    #[expect(clippy::disallowed_methods, reason = "the one door to the system's time")]
    pub fn now_millis(&self) -> i64 {
        match &self.0 {
            TimeSource::System => {
                let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
                i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
            }
            TimeSource::Manual(millis) => millis.load(Ordering::SeqCst),
        }
    }

    /// Moves a manual clock to `now` (unix seconds), forwards or back; the system's clock is not ours to move.
    pub fn set(&self, now: i64) {
        if let TimeSource::Manual(millis) = &self.0 {
            millis.store(now.saturating_mul(1000), Ordering::SeqCst);
        }
    }
}

/// Draws random bytes: the system's, or a repeatable sequence.
#[derive(Debug, Clone)]
pub struct Entropy(RandomSource);

#[derive(Debug, Clone)]
enum RandomSource {
    System,
    Seeded(Arc<Mutex<StdRng>>),
}

impl Entropy {
    pub fn system() -> Self {
        Self(RandomSource::System)
    }

    /// The same bytes in the same order for the same seed. For tests.
    pub fn seeded(seed: u64) -> Self {
        Self(RandomSource::Seeded(Arc::new(Mutex::new(StdRng::seed_from_u64(seed)))))
    }

    #[expect(clippy::disallowed_methods, reason = "the one door to the system's randomness")]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        match &self.0 {
            RandomSource::System => rand::rng().fill_bytes(&mut bytes),
            RandomSource::Seeded(rng) => {
                rng.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut bytes);
            }
        }
        bytes
    }
}

/// A new UUIDv7 (RFC 9562 §5.7): sorts by time, 74 random bits.
pub fn new_id(clock: &Clock, entropy: &Entropy) -> Uuid {
    let millis = u64::try_from(clock.now_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &entropy.bytes()).into_uuid()
}
