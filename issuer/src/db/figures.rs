//! What the database's metrics are made of.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

#[derive(Debug)]
pub(super) struct Figures {
    batch: Histogram,
    retried: Counter,
}

impl Default for Figures {
    fn default() -> Self {
        Self { batch: Histogram::new(exponential_buckets(1.0, 2.0, 8)), retried: Counter::default() }
    }
}

impl Figures {
    pub(super) fn batch(&self, size: usize) {
        self.batch.observe(u32::try_from(size).unwrap_or(u32::MAX).into());
    }

    pub(super) fn retried(&self) {
        self.retried.inc();
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "db_commit_size",
            "Pieces of work that one commit made durable",
            self.batch.clone(),
        );
        registry.register(
            "db_retries",
            "Transactions tried again because another came first",
            self.retried.clone(),
        );
    }
}
