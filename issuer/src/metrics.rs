//! Every figure that `/metrics` shows. Each room and wall counts for itself; here they are gathered under one prefix.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::ambient::Clock;
use crate::db::Db;
use crate::tokens::LiveKeys;

/// What is shown; cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Registry>);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// With what `register` adds.
    pub fn new(register: impl FnOnce(&mut Registry)) -> Self {
        let mut registry = Registry::with_prefix("countersign");
        register(&mut registry);
        Self(Arc::new(registry))
    }

    /// As Prometheus reads it.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut out, &self.0);
        out
    }
}

/// What is read when it is asked for, not counted as it happens.
#[derive(Debug)]
pub struct Live {
    pub keys: Arc<LiveKeys>,
    pub clock: Clock,
    pub db: Db,
    pub restarts: Arc<AtomicU64>,
}

impl Collector for Live {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let now = self.clock.now().seconds();
        let view = self.keys.at(now);
        let published = i64::try_from(view.published()).unwrap_or(i64::MAX);
        gauge(&mut encoder, "keys_published", "Keys that verifiers are told to trust", published)?;
        if let Some(since) = view.signing_since() {
            let help = "Seconds since the signing key began to sign";
            gauge(&mut encoder, "signing_key_age_seconds", help, now.saturating_sub(since))?;
        }
        let reads = self.db.reads();
        let help = "Connections that reads have open";
        gauge(&mut encoder, "db_read_connections", help, i64::from(reads.size()))?;
        let idle = i64::try_from(reads.idle()).unwrap_or(i64::MAX);
        gauge(&mut encoder, "db_read_connections_idle", "Those of them that nothing uses now", idle)?;
        let help = "Changed configurations that were refused";
        counter(&mut encoder, "config_reloads_refused", help, self.keys.refusals())?;
        let help = "Background tasks that ended and were started again";
        counter(&mut encoder, "task_restarts", help, self.restarts.load(Ordering::Relaxed))
    }
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: i64) -> fmt::Result {
    let gauge = ConstGauge::new(value);
    gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let counter = ConstCounter::new(value);
    counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
}
