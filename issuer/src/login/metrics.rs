//! How logins go.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Counts logins by outcome; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Family<Logins, Counter>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Logins {
    outcome: Word,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "these are the labels, as they are shown")]
pub(super) enum Word {
    granted,
    wrong,
    inactive,
    unverified,
    /// The password is right, and the login waits for a code.
    code_required,
    wrong_code,
    /// The login waited for its code no longer.
    expired,
    /// Not looked at, after too many failures.
    limited,
}

impl Metrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register("logins", "Steps of logins, by outcome", self.0.clone());
    }

    pub(super) fn count(&self, outcome: Word) {
        self.0.get_or_create(&Logins { outcome }).inc();
    }
}
