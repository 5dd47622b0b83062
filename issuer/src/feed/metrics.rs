//! How the feed is read.

use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    reads: Family<Reads, Counter>,
    /// Looks whether another issuer, or a command, has written.
    pub(super) looks: Counter,
    waiting: Gauge<i64, AtomicI64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reads {
    answer: Word,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "these are the labels, as they are shown")]
pub(super) enum Word {
    /// All that is alive, or the beginning of it.
    reset,
    news,
    nothing,
    /// Too many waited already.
    refused,
}

impl Metrics {
    pub fn register(&self, registry: &mut Registry) {
        let help = "Reads of the revocation feed, by what was answered";
        registry.register("feed_reads", help, self.reads.clone());
        let help = "Looks for revocations that others have written, while someone waits";
        registry.register("feed_looks", help, self.looks.clone());
        registry.register("feed_waiting", "Readers that wait for a revocation", self.waiting.clone());
    }

    pub(super) fn count(&self, answer: Word) {
        self.reads.get_or_create(&Reads { answer }).inc();
    }

    /// Counts someone who waits, until what is returned is dropped.
    pub(super) fn waits(&self) -> Waits {
        self.waiting.inc();
        Waits(self.waiting.clone())
    }
}

pub(super) struct Waits(Gauge<i64, AtomicI64>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.dec();
    }
}
