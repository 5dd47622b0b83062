//! The one door to time and randomness. Everything else gets `now` or random bytes as arguments, so that a test
//! can move the clock and repeat a draw; nothing outside this module may ask the system for either.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

/// A moment in whole seconds since 1970 (UTC). Sums and differences stop at the ends instead of overflowing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, sqlx::Type)]
#[sqlx(transparent)]
pub struct UnixTime(i64);

impl UnixTime {
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds)
    }

    /// A date and time with an offset.
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        OffsetDateTime::parse(text, &Rfc3339).ok().map(|at| Self(at.unix_timestamp()))
    }

    pub const fn seconds(self) -> i64 {
        self.0
    }

    /// So many seconds later.
    #[must_use]
    pub const fn plus(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// So many seconds earlier.
    #[must_use]
    pub const fn minus(self, seconds: i64) -> Self {
        Self(self.0.saturating_sub(seconds))
    }

    /// Seconds from `earlier` to `self`; negative if `earlier` is the later one.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// RFC 3339 in UTC, as the API shows times; a moment beyond the year 9999 reads as the epoch.
impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = OffsetDateTime::from_unix_timestamp(self.0).ok().and_then(|at| at.format(&Rfc3339).ok());
        f.write_str(text.as_deref().unwrap_or("1970-01-01T00:00:00Z"))
    }
}

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

    /// A clock that stands at `now` until [`Clock::set`]; clones share the time.
    pub fn manual(now: UnixTime) -> Self {
        Self(TimeSource::Manual(Arc::new(AtomicI64::new(now.0.saturating_mul(1000)))))
    }

    pub fn now(&self) -> UnixTime {
        UnixTime(self.now_millis().div_euclid(1000))
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

    /// Moves a manual clock to `now`, forwards or back; the system's clock is not ours to move.
    pub fn set(&self, now: UnixTime) {
        if let TimeSource::Manual(millis) = &self.0 {
            millis.store(now.0.saturating_mul(1000), Ordering::SeqCst);
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

/// Makes ids; cheap to clone.
#[derive(Debug, Clone)]
pub struct Ids {
    pub clock: Clock,
    pub entropy: Entropy,
}

impl Ids {
    pub fn system() -> Self {
        Self { clock: Clock::system(), entropy: Entropy::system() }
    }

    /// A new UUIDv7 (RFC 9562 §5.7): sorts by time, 74 random bits.
    pub fn uuid(&self) -> Uuid {
        let millis = u64::try_from(self.clock.now_millis()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &self.entropy.bytes()).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_as_rfc_3339_and_never_overflows() {
        assert_eq!(UnixTime::from_seconds(1_795_176_000).to_string(), "2026-11-20T12:00:00Z");
        assert_eq!(
            UnixTime::from_rfc3339("2026-11-20T13:00:00+01:00"),
            Some(UnixTime::from_seconds(1_795_176_000))
        );
        let end = UnixTime::from_seconds(i64::MAX);
        assert_eq!((end.plus(1), end.to_string()), (end, "1970-01-01T00:00:00Z".to_owned()));
        assert_eq!(UnixTime::from_seconds(i64::MIN).since(end), i64::MIN);
    }
}
