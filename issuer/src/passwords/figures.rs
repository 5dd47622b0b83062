//! What the hashing threads have done since the start, for metrics.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// In seconds; a last bucket has no bound.
const WAIT_BOUNDS: [f64; 11] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Every figure; clones share it.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Jobs that wait for a thread now.
    pub queued: Gauge,
    pub accepted: Counter<u64, AtomicU64>,
    /// Refused because the queue was full.
    pub refused: Counter<u64, AtomicU64>,
    pub panicked: Counter<u64, AtomicU64>,
    /// Stored hashes that could not be used, counted at each attempt to log in.
    pub unusable: Counter<u64, AtomicU64>,
    wait: Histogram,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            queued: Gauge::default(),
            accepted: Counter::default(),
            refused: Counter::default(),
            panicked: Counter::default(),
            unusable: Counter::default(),
            wait: Histogram::new(WAIT_BOUNDS),
        }
    }
}

impl Figures {
    pub(super) fn waited(&self, wait: Duration) {
        self.queued.dec();
        self.wait.observe(wait.as_secs_f64());
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let Self { queued, accepted, refused, panicked, unusable, wait } = self.clone();
        registry.register("hash_queue", "Passwords that wait to be hashed or checked", queued);
        registry.register("hash_jobs", "Passwords taken to be hashed or checked", accepted);
        registry.register("hash_jobs_refused", "Passwords refused because the queue was full", refused);
        registry.register("hash_jobs_panicked", "Passwords whose hashing panicked", panicked);
        let help = "Logins refused because the stored hash cannot be used";
        registry.register("hash_unusable", help, unusable);
        let help = "How long passwords waited to be hashed or checked";
        registry.register_with_unit("hash_queue_wait", help, Unit::Seconds, wait);
    }
}
