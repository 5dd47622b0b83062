//! A worker serving with one configuration: its state and its background work.

use std::time::Duration;

use countersign_proxy_abi::host::{self, Buffer};

use super::ambient;
use super::keys::{Attempt, KeySync};
use super::metrics::Metrics;
use crate::cache::Seeds;
use crate::config::Config;
use crate::edge::{Checks, Edge};
use crate::principal::ClaimHeader;
use crate::tally::{Counter, Tally};

/// How soon a worker sees keys that another has fetched, and metrics are told.
const TICK: Duration = Duration::from_millis(200);

/// What the requests of one worker share.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) edge: Edge,
    pub(super) tally: Tally,
    pub(super) keys: Option<KeySync>,
    /// Of the configuration; here so that they can be read while the edge decides.
    pub(super) claim_headers: Vec<ClaimHeader>,
    metrics: Metrics,
}

impl Worker {
    /// Reads the configuration that the host has for the root context, of so many bytes.
    pub(super) fn configure(size: usize) -> Result<Self, String> {
        let json = host::buffer(Buffer::PluginConfiguration, size).map_err(|_| "it cannot be read")?;
        let config = Config::parse(&json).map_err(|error| error.to_string())?;
        let remote = config.keys.remote.clone();
        let claim_headers = config.claim_headers.clone();
        let mut edge = Edge::new(config, Seeds([ambient::random(), ambient::random()]));
        let keys = remote.map(|remote| KeySync::start(remote, &mut edge));
        let rules = edge.config().policy.rules();
        let metrics = Metrics::define(rules).map_err(|_| "the host defines no metrics")?;
        host::set_tick_period(TICK).map_err(|_| "the host has no ticks")?;
        let tally = Tally::new(rules);
        Ok(Self { edge, tally, keys, metrics, claim_headers })
    }

    /// `newest`: no configuration has come after this one.
    pub(super) fn tick(&mut self, newest: bool) {
        self.edge.tick(ambient::now_seconds());
        if let Some(keys) = &mut self.keys {
            let attempt = keys.tick(&mut self.edge);
            self.count_attempt(attempt);
        }
        self.flush_counters();
        if newest {
            self.set_gauges();
        }
    }

    /// Takes the answer to an HTTP call.
    pub(super) fn answered(&mut self, call: u32, body_size: usize) {
        if let Some(keys) = &mut self.keys {
            let attempt = keys.answered(call, body_size, &mut self.edge);
            self.count_attempt(attempt);
        }
    }

    fn count_attempt(&mut self, attempt: Option<Attempt>) {
        match attempt {
            Some(Attempt::Succeeded) => self.tally.add(Counter::KeyFetchOk, 1),
            Some(Attempt::Failed) => self.tally.add(Counter::KeyFetchFailed, 1),
            None => {}
        }
    }

    /// Tells the host what was counted.
    pub(super) fn flush_counters(&mut self) {
        let Checks { cached, verified } = std::mem::take(&mut self.edge.checks);
        self.tally.add(Counter::TokenEvicted, self.edge.take_evictions());
        self.tally.add(Counter::TokenCached, cached);
        self.tally.add(Counter::TokenVerified, verified);
        // A metric that the host does not take must not stop the rest.
        let _ = self.metrics.flush(&mut self.tally);
    }

    /// Tells the host how things stand. Keys that stand in the configuration have no age.
    fn set_gauges(&self) {
        let age = self.keys.as_ref().map_or(0, KeySync::age_seconds);
        let _ = self.metrics.set_keys(self.edge.keys(), age);
    }
}
