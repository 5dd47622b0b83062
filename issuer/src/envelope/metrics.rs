//! How keys are used.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::Error;

/// Counts what is asked of the key-encryption keys; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Family<Asked, Counter>);

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
            Err(Error::Off | Error::Unavailable { .. }) => Self::unavailable,
        }
    }
}

impl Metrics {
    pub fn register(&self, registry: &mut Registry) {
        let help = "Data keys that were wrapped and unwrapped, and records that did not open";
        registry.register("encryption_operations", help, self.0.clone());
    }

    pub(super) fn count(&self, operation: Operation, outcome: Outcome) {
        self.0.get_or_create(&Asked { operation, outcome }).inc();
    }
}
