//! The host's metrics: defined once per configuration, told on a tick.

use proxy_wasm::hostcalls;
use proxy_wasm::types::{MetricType, Status};

use crate::tally::{Counter, KEYS, KEYS_AGE, Tally};

/// The ids that the host gave to our metrics.
#[derive(Debug)]
pub(super) struct Metrics {
    counters: Vec<u32>,
    keys: u32,
    keys_age: u32,
}

impl Metrics {
    pub(super) fn define() -> Result<Self, Status> {
        let counters =
            Counter::all().map(|counter| hostcalls::define_metric(MetricType::Counter, &counter.name()));
        Ok(Self {
            counters: counters.collect::<Result<_, _>>()?,
            keys: hostcalls::define_metric(MetricType::Gauge, KEYS)?,
            keys_age: hostcalls::define_metric(MetricType::Gauge, KEYS_AGE)?,
        })
    }

    pub(super) fn flush(&self, tally: &mut Tally) -> Result<(), Status> {
        for (at, count) in tally.drain() {
            if let Some(id) = self.counters.get(at) {
                hostcalls::increment_metric(*id, i64::try_from(count).unwrap_or(i64::MAX))?;
            }
        }
        Ok(())
    }

    pub(super) fn set_keys(&self, count: usize, age_seconds: Option<u64>) -> Result<(), Status> {
        hostcalls::record_metric(self.keys, u64::try_from(count).unwrap_or(u64::MAX))?;
        age_seconds.map_or(Ok(()), |age| hostcalls::record_metric(self.keys_age, age))
    }
}
