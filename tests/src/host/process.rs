//! What the workers of one Envoy process share: shared data, metrics, the log and the clock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::pair::Worker;
use super::{Build, START, given};

/// One Envoy process.
#[derive(Debug, Clone)]
pub struct Process {
    pub(super) build: Build,
    state: Arc<Mutex<State>>,
    /// What the same process would have with the module on the SDK in it.
    follower: Option<Arc<Mutex<State>>>,
}

/// A line that the module logged. Levels as in the ABI: 0 trace to 5 critical.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    pub level: i32,
    pub message: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct State {
    pub(super) now: Duration,
    pub(super) log: Vec<LogLine>,
    /// Values with their version, by key.
    pub(super) shared_data: BTreeMap<Vec<u8>, (Vec<u8>, u32)>,
    pub(super) last_version: u32,
    /// Names in the order of their ids.
    pub(super) metric_names: Vec<String>,
    pub(super) metrics: BTreeMap<String, u64>,
    pub(super) clusters: Vec<String>,
    /// Clusters that are known and have no host to call.
    pub(super) deserted: Vec<String>,
    pub(super) refuses_properties: bool,
    /// What VMs that are started find in their environment.
    pub(super) environment: BTreeMap<String, String>,
    pub(super) random: u64,
}

impl Default for Process {
    fn default() -> Self {
        Self::new()
    }
}

impl Process {
    /// A process whose clock stands at [`START`] and that knows one cluster, `issuer`. What is done to its workers
    /// is done to both builds of the module.
    pub fn new() -> Self {
        let mut process = Self::alone(Build::Own);
        // A module that was given need not be like those that are built.
        process.follower = given().is_none().then(|| Arc::new(Mutex::new(process.state().clone())));
        process
    }

    /// A process with one build of the module alone.
    pub fn alone(build: Build) -> Self {
        let state = State {
            now: Duration::from_secs(START as u64),
            log: Vec::new(),
            shared_data: BTreeMap::new(),
            last_version: 0,
            metric_names: Vec::new(),
            metrics: BTreeMap::new(),
            clusters: vec!["issuer".into()],
            deserted: Vec::new(),
            refuses_properties: false,
            environment: BTreeMap::new(),
            random: 0x9e37_79b9_7f4a_7c15,
        };
        Self { build, state: Arc::new(Mutex::new(state)), follower: None }
    }

    /// Starts a worker: a VM of its own, configured.
    ///
    /// # Errors
    /// What the module logged when it refused the configuration.
    pub fn worker(&self, config: &serde_json::Value) -> Result<Worker, String> {
        Worker::start(self.clone(), config)
    }

    /// Moves the clock.
    pub fn advance(&self, by: Duration) {
        self.state().now += by;
    }

    /// Sets the clock, in seconds since the Unix epoch.
    pub fn set_time(&self, now: i64) {
        self.state().now = Duration::from_secs(now.try_into().expect("a time after 1970"));
    }

    /// Seconds since the Unix epoch.
    pub fn now(&self) -> i64 {
        self.state().now.as_secs().try_into().expect("a time before the end of time")
    }

    /// The value of a metric, summed over workers; zero if it was never told.
    pub fn metric(&self, name: &str) -> u64 {
        self.state().metrics.get(name).copied().unwrap_or_default()
    }

    /// Every metric that was told.
    pub fn metrics(&self) -> BTreeMap<String, u64> {
        self.state().metrics.clone()
    }

    pub fn log(&self) -> Vec<LogLine> {
        self.state().log.clone()
    }

    /// Forgets a cluster, as when a configuration names one that is not there.
    pub fn remove_cluster(&self, name: &str) {
        self.state().clusters.retain(|cluster| cluster != name);
    }

    pub fn add_cluster(&self, name: &str) {
        self.state().clusters.push(name.to_owned());
    }

    /// Lets a cluster have no healthy host.
    pub fn desert_cluster(&self, name: &str) {
        self.state().deserted.push(name.to_owned());
    }

    /// From now on no filter state can be set, as when a host does not know how.
    pub fn refuse_properties(&self) {
        self.state().refuses_properties = true;
    }

    /// Gives an environment variable to VMs that are started from now on.
    pub fn set_env(&self, name: &str, value: &str) {
        self.state().environment.insert(name.to_owned(), value.to_owned());
    }

    /// What the workers share, by key.
    pub fn shared_data(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state();
        let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
        state.shared_data.iter().map(|(key, (value, _))| (text(key), value.clone())).collect()
    }

    /// The process with the other build, with what a test has set in this one; it goes on from there by itself.
    pub(super) fn follower(&self) -> Option<Self> {
        let state = Arc::clone(self.follower.as_ref()?);
        let follower = Self { build: Build::Sdk, state, follower: None };
        follower.state().follow(&self.state());
        Some(follower)
    }

    /// That both builds have left the same behind.
    pub(super) fn assert_followed(&self) {
        let Some(follower) = self.follower() else { return };
        assert_eq!(*self.state(), *follower.state(), "the builds differ in what they left behind");
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panicked with the lock held")
    }
}

impl State {
    /// Takes over what tests set, and nothing that modules write.
    fn follow(&mut self, other: &Self) {
        let Self {
            now,
            clusters,
            deserted,
            refuses_properties,
            environment,
            log: _,
            shared_data: _,
            last_version: _,
            metric_names: _,
            metrics: _,
            random: _,
        } = other;
        self.now = *now;
        self.clusters.clone_from(clusters);
        self.deserted.clone_from(deserted);
        self.refuses_properties = *refuses_properties;
        self.environment.clone_from(environment);
    }

    /// Reproducible bytes: a test that fails fails again.
    pub(super) fn fill_random(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            *byte = self.random.to_le_bytes()[3];
        }
    }
}
