//! The root context: one per worker and configuration. Holds the worker's state and its background work.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{BufferType, ContextType, LogLevel};

use super::host;
use super::keys::{Attempt, KeySync};
use super::metrics::Metrics;
use super::stream::Stream;
use crate::cache::Seeds;
use crate::config::Config;
use crate::edge::{Checks, Edge};
use crate::tally::{Counter, Tally};

/// How soon a worker sees keys that another has fetched, and metrics are told.
const TICK: Duration = Duration::from_millis(200);

/// What the requests of one worker share. Host calls never call back into the plugin, so no two borrows meet.
pub(super) type Shared = Rc<RefCell<Worker>>;

/// A worker serving with one configuration.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) edge: Edge,
    pub(super) tally: Tally,
    pub(super) keys: Option<KeySync>,
    metrics: Metrics,
}

/// The plugin of one worker. Without a worker there is no sound configuration, and everything is refused.
#[derive(Debug, Default)]
pub(super) struct Plugin {
    worker: Option<Shared>,
}

impl Plugin {
    fn configure(&self) -> Result<Worker, String> {
        let json = hostcalls::get_buffer(BufferType::PluginConfiguration, 0, usize::MAX).ok().flatten();
        let config = Config::parse(&json.unwrap_or_default()).map_err(|error| error.to_string())?;
        let remote = config.keys.remote.clone();
        let mut edge = Edge::new(config, Seeds([host::random(), host::random()]));
        let keys = remote.map(|remote| KeySync::start(remote, &mut edge));
        let metrics = Metrics::define().map_err(|_| "the host defines no metrics")?;
        hostcalls::set_tick_period(TICK).map_err(|_| "the host has no ticks")?;
        Ok(Worker { edge, tally: Tally::default(), keys, metrics })
    }
}

impl Worker {
    fn tick(&mut self) {
        if let Some(keys) = &mut self.keys {
            let attempt = keys.tick(&mut self.edge);
            self.count_attempt(attempt);
        }
        self.flush();
    }

    fn count_attempt(&mut self, attempt: Option<Attempt>) {
        match attempt {
            Some(Attempt::Succeeded) => self.tally.add(Counter::KeyFetchOk, 1),
            Some(Attempt::Failed) => self.tally.add(Counter::KeyFetchFailed, 1),
            None => {}
        }
    }

    fn flush(&mut self) {
        let Checks { cached, verified } = std::mem::take(&mut self.edge.checks);
        self.tally.add(Counter::TokenCached, cached);
        self.tally.add(Counter::TokenVerified, verified);
        let age = self.keys.as_ref().and_then(KeySync::age_seconds);
        // A metric that the host does not take must not stop the rest.
        let _ = self.metrics.flush(&mut self.tally);
        let _ = self.metrics.set_keys(self.edge.keys(), age);
    }
}

impl Context for Plugin {
    fn on_http_call_response(&mut self, token_id: u32, _headers: usize, body_size: usize, _trailers: usize) {
        let Some(worker) = &self.worker else { return };
        let worker = &mut *worker.borrow_mut();
        if let Some(keys) = &mut worker.keys {
            let attempt = keys.answered(token_id, body_size, &mut worker.edge);
            worker.count_attempt(attempt);
        }
    }

    fn on_done(&mut self) -> bool {
        if let Some(worker) = &self.worker {
            worker.borrow_mut().flush();
        }
        true
    }
}

impl RootContext for Plugin {
    fn on_vm_start(&mut self, _vm_configuration_size: usize) -> bool {
        host::log(LogLevel::Info, concat!("countersign-filter ", env!("CARGO_PKG_VERSION")));
        true
    }

    fn on_configure(&mut self, _plugin_configuration_size: usize) -> bool {
        match self.configure() {
            Ok(worker) => {
                self.worker = Some(Rc::new(RefCell::new(worker)));
                true
            }
            Err(reason) => {
                host::log(LogLevel::Error, &format!("countersign-filter: configuration refused: {reason}"));
                false
            }
        }
    }

    fn on_tick(&mut self) {
        if let Some(worker) = &self.worker {
            worker.borrow_mut().tick();
        }
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream::new(self.worker.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}
