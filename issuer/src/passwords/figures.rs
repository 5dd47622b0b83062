//! What the hashing threads have done since the start, for metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the buckets into which waits in the queue are counted; a last bucket has none.
pub const WAIT_BOUNDS: [Duration; 11] = [
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
];

/// A reading of all figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Jobs that wait for a thread now.
    pub queued: usize,
    pub accepted: u64,
    /// Refused because the queue was full.
    pub refused: u64,
    pub panicked: u64,
    /// Stored hashes that could not be used, counted at each attempt to log in.
    pub unusable: u64,
    pub wait: Waits,
}

/// How long jobs have waited in the queue: a histogram, as Prometheus wants it except that each bucket counts only
/// what is in none before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waits {
    pub buckets: [u64; WAIT_BOUNDS.len() + 1],
    pub sum: Duration,
}

impl Waits {
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) accepted: Counter,
    pub(super) refused: Counter,
    pub(super) panicked: Counter,
    pub(super) unusable: Counter,
    buckets: [Counter; WAIT_BOUNDS.len() + 1],
    waited_micros: Counter,
}

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Counters {
    pub(super) fn waited(&self, wait: Duration) {
        let index = WAIT_BOUNDS.partition_point(|bound| *bound < wait);
        if let Some(bucket) = self.buckets.get(index) {
            bucket.add(1);
        }
        self.waited_micros.add(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX));
    }

    pub(super) fn read(&self, queued: usize) -> Figures {
        Figures {
            queued,
            accepted: self.accepted.get(),
            refused: self.refused.get(),
            panicked: self.panicked.get(),
            unusable: self.unusable.get(),
            wait: Waits {
                buckets: std::array::from_fn(|index| self.buckets.get(index).map_or(0, Counter::get)),
                sum: Duration::from_micros(self.waited_micros.get()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_counted_in_the_first_bucket_that_holds_it() {
        let counters = Counters::default();
        for micros in [0, 1_000, 1_001, 30_000, 5_000_000, 5_000_001, 60_000_000] {
            counters.waited(Duration::from_micros(micros));
        }
        let wait = counters.read(0).wait;
        assert_eq!(wait.buckets, [2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!((wait.count(), wait.sum), (7, Duration::from_micros(70_032_002)));
    }
}
