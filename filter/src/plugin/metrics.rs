//! The host's metrics: defined once per configuration, told on a tick.

use countersign_proxy_abi::Status;
use countersign_proxy_abi::host::{self, Metric};

use super::feed::Standing;
use crate::policy::Rule;
use crate::tally::{self, KEYS, KEYS_AGE, REVOCATIONS, REVOCATIONS_AGE, REVOCATIONS_LAG, Tally};

/// The ids that the host gave to our metrics.
#[derive(Debug)]
pub(super) struct Metrics {
    /// In the order of [`tally::names`].
    counters: Vec<u32>,
    /// In the order of [`Gauges::values`].
    gauges: [u32; 5],
}

/// How things stand.
#[derive(Debug)]
pub(super) struct Gauges {
    pub(super) keys: usize,
    pub(super) keys_age_seconds: u64,
    pub(super) feed: Standing,
}

impl Gauges {
    const NAMES: [&str; 5] = [KEYS, KEYS_AGE, REVOCATIONS, REVOCATIONS_AGE, REVOCATIONS_LAG];

    fn values(&self) -> [u64; 5] {
        let Self { keys, keys_age_seconds, feed } = self;
        let Standing { revocations, age_seconds, lag_milliseconds } = *feed;
        [*keys as u64, *keys_age_seconds, revocations as u64, age_seconds, lag_milliseconds]
    }
}

impl Metrics {
    pub(super) fn define(rules: &[Rule]) -> Result<Self, Status> {
        let counters = tally::names(rules).map(|name| host::define_metric(Metric::Counter, &name));
        let counters = counters.collect::<Result<_, _>>()?;
        let mut gauges = [0; 5];
        for (id, name) in gauges.iter_mut().zip(Gauges::NAMES) {
            *id = host::define_metric(Metric::Gauge, name)?;
        }
        Ok(Self { counters, gauges })
    }

    pub(super) fn flush(&self, tally: &mut Tally) -> Result<(), Status> {
        for (at, count) in tally.drain() {
            if let Some(id) = self.counters.get(at) {
                host::increment_metric(*id, count)?;
            }
        }
        Ok(())
    }

    pub(super) fn set(&self, gauges: &Gauges) -> Result<(), Status> {
        let values = self.gauges.into_iter().zip(gauges.values());
        values.into_iter().try_for_each(|(id, value)| host::record_metric(id, value))
    }
}
