//! How mail goes.

use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Kind;

/// Counts attempts by their end; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    attempts: Family<Attempts, Counter>,
    pub(super) waiting: Gauge<i64, AtomicI64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempts {
    kind: &'static str,
    outcome: Word,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "these are the labels, as they are shown")]
pub(super) enum Word {
    sent,
    delayed,
    given_up,
    /// There was nobody to be told.
    dropped,
}

impl Metrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register("mail_attempts", "Attempts to send a message, by outcome", self.attempts.clone());
        let help = "Messages that wait to be sent; counted to 1000";
        registry.register("mail_waiting", help, self.waiting.clone());
    }

    pub(super) fn count(&self, kind: Option<Kind>, outcome: Word) {
        let kind = kind.map_or("unknown", Kind::as_str);
        self.attempts.get_or_create(&Attempts { kind, outcome }).inc();
    }
}
