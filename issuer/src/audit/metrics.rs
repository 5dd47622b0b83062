//! How far the chain of events is.

use std::sync::atomic::AtomicI64;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// The number of the last sealed event.
    pub sealed: Gauge<i64, AtomicI64>,
    /// Events that wait to be sealed.
    pub unsealed: Gauge<i64, AtomicI64>,
}

impl Metrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register("audit_sealed", "The number of the last sealed audit event", self.sealed.clone());
        let help = "Audit events that wait to be sealed, up to 10000";
        registry.register("audit_unsealed", help, self.unsealed.clone());
    }
}
