//! How keys are used.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{Error, kms_metrics};

/// Counts what is asked of the key-encryption keys; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    asked: Family<Asked, Counter>,
    pub(super) kms: kms_metrics::Metrics,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    operation: Operation,
    outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "these are the labels, as they are shown")]
pub(super) enum Operation {
    wrap,
    unwrap,
    /// Both at once, where the provider can.
    rewrap,
    open,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "these are the labels, as they are shown")]
pub(super) enum Outcome {
    done,
    unavailable,
    forged,
}

impl Outcome {
    pub(super) fn of<T>(result: &Result<T, Error>) -> Self {
        match result {
            Ok(_) => Self::done,
            Err(Error::Forged) => Self::forged,
            Err(Error::Off | Error::UnknownKey { .. } | Error::Unavailable { .. }) => Self::unavailable,
        }
    }
}

impl Metrics {
    pub fn register(&self, registry: &mut Registry) {
        let help = "Data keys that were wrapped and unwrapped, and records that did not open";
        registry.register("encryption_operations", help, self.asked.clone());
        self.kms.register(registry);
    }

    pub(super) fn count(&self, operation: Operation, outcome: Outcome) {
        self.asked.get_or_create(&Asked { operation, outcome }).inc();
    }
}
