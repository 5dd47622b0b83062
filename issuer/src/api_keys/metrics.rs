//! How exchanges go.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Counts exchanges by outcome; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Family<ByOutcome, Counter>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: Word,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "these are the labels, as they are shown")]
pub(super) enum Word {
    exchanged,
    invalid,
    expired,
    owner_inactive,
    /// Not looked up, after too many that were not good.
    limited,
}

impl Metrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register("api_key_exchanges", "API keys presented, by outcome", self.0.clone());
    }

    pub(super) fn count(&self, outcome: Word) {
        self.0.get_or_create(&ByOutcome { outcome }).inc();
    }
}
