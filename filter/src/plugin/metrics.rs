//! The host's metrics: defined once per configuration, told on a tick.

use countersign_proxy_abi::Status;
use countersign_proxy_abi::host::{self, Metric};

use crate::policy::Rule;
use crate::tally::{self, KEYS, KEYS_AGE, Tally};

/// The ids that the host gave to our metrics.
#[derive(Debug)]
pub(super) struct Metrics {
    /// In the order of [`tally::names`].
    counters: Vec<u32>,
    keys: u32,
    keys_age: u32,
}

impl Metrics {
    pub(super) fn define(rules: &[Rule]) -> Result<Self, Status> {
        let counters = tally::names(rules).map(|name| host::define_metric(Metric::Counter, &name));
        Ok(Self {
            counters: counters.collect::<Result<_, _>>()?,
            keys: host::define_metric(Metric::Gauge, KEYS)?,
            keys_age: host::define_metric(Metric::Gauge, KEYS_AGE)?,
        })
    }

    pub(super) fn flush(&self, tally: &mut Tally) -> Result<(), Status> {
        for (at, count) in tally.drain() {
            if let Some(id) = self.counters.get(at) {
                host::increment_metric(*id, count)?;
            }
        }
        Ok(())
    }

    pub(super) fn set_keys(&self, count: usize, age_seconds: u64) -> Result<(), Status> {
        host::record_metric(self.keys, u64::try_from(count).unwrap_or(u64::MAX))?;
        host::record_metric(self.keys_age, age_seconds)
    }
}
