//! How trading accounts do.

use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Broker;

/// Counts; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    asked: Family<Asked, Counter>,
    pub(super) due: Gauge<i64, AtomicI64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    broker: &'static str,
    outcome: Answered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "these are the labels, as they are shown")]
pub(super) enum Answered {
    proved,
    refused,
    unavailable,
}

impl Metrics {
    pub fn register(&self, registry: &mut Registry) {
        let help = "What brokers said when they were asked about credentials";
        registry.register("broker_answers", help, self.asked.clone());
        let help = "Trading accounts whose credentials are due to be replaced; counted every hour";
        registry.register("trading_accounts_rotation_due", help, self.due.clone());
    }

    pub(super) fn count(&self, broker: &Broker, outcome: Answered) {
        self.asked.get_or_create(&Asked { broker: broker.name, outcome }).inc();
    }
}
