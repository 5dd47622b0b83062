//! One worker: a VM of its own with one build of the module in it, as Envoy drives it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use wasmtime::{Instance, Linker, Store, TypedFunc, WasmParams, WasmResults};

use super::process::Process;
use super::traffic::{Headers, Outcome, Refusal, Request};
use super::{FUEL, abi, compiled};

/// A running worker.
#[derive(Debug)]
pub(super) struct Worker {
    store: Store<Vm>,
    instance: Instance,
    /// The root context that serves.
    root: i32,
    last_context: i32,
    /// How often the module called the host for what passed last.
    host_calls: u32,
}

/// A root context: one configuration.
#[derive(Debug)]
pub(super) struct Root(i32);

/// An HTTP call that the module has made and that waits for its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub id: i32,
    pub cluster: String,
    pub headers: Headers,
    pub body: Vec<u8>,
    pub timeout: Duration,
}

/// A request and its answer, until both are over.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) request: Headers,
    pub(super) trailers: Headers,
    pub(super) refusal: Option<Refusal>,
    pub(super) filter_state: BTreeMap<String, String>,
    /// The request does not go on, and has no answer yet.
    pub(super) paused: bool,
    /// The status of the upstream's answer.
    pub(super) response_status: Option<u16>,
    /// The part of the answer that is going by.
    pub(super) body: Option<Vec<u8>>,
    /// The module has closed it.
    pub(super) closed: bool,
    cost: u64,
    host_calls: u32,
}

/// What the host functions of a worker work on.
#[derive(Debug)]
pub(super) struct Vm {
    pub(super) process: Process,
    /// The contexts that have not ended.
    pub(super) contexts: BTreeSet<i32>,
    pub(super) plugin_config: Vec<u8>,
    pub(super) tick_period: Option<Duration>,
    /// Those that are not over.
    pub(super) streams: BTreeMap<i32, Stream>,
    /// The context that is being called.
    called: i32,
    /// The one that the module has turned to.
    pub(super) effective: Option<i32>,
    pub(super) calls: VecDeque<Call>,
    pub(super) last_call: i32,
    pub(super) call_headers: Headers,
    pub(super) call_body: Vec<u8>,
    /// How often the module has called, for what a request does: headers, properties, the clock, an answer.
    pub(super) host_calls: u32,
    /// The next time that the module asks for headers, it is called meanwhile.
    pub(super) reenters: bool,
}

impl Vm {
    /// The stream that the module's calls are about.
    pub(super) fn stream(&mut self) -> Option<&mut Stream> {
        let context = self.effective.unwrap_or(self.called);
        self.streams.get_mut(&context)
    }
}

impl Worker {
    pub(super) fn start(process: Process, config: &serde_json::Value) -> Result<Self, String> {
        let compiled = compiled(process.build);
        let vm = Vm {
            process,
            contexts: BTreeSet::new(),
            plugin_config: Vec::new(),
            tick_period: None,
            streams: BTreeMap::new(),
            called: 0,
            effective: None,
            calls: VecDeque::new(),
            last_call: 0,
            call_headers: Headers::default(),
            call_body: Vec::new(),
            host_calls: 0,
            reenters: false,
        };
        let mut linker = Linker::new(&compiled.engine);
        abi::define(&mut linker).expect("host functions of the right types");
        linker.define_unknown_imports_as_traps(&compiled.module).expect("imports that are functions");
        let mut store = Store::new(&compiled.engine, vm);
        store.set_fuel(FUEL).expect("fuel is on");
        let instance = linker.instantiate(&mut store, &compiled.module).expect("a module that instantiates");
        let mut worker = Self { store, instance, root: 0, last_context: 0, host_calls: 0 };
        worker.enter::<(), ()>(0, "_initialize", ());
        worker.configure(config)?;
        Ok(worker)
    }

    /// Gives the worker a new configuration, as Envoy does: a new root context in the same VM. If it is refused,
    /// the root context before it goes on serving.
    ///
    /// # Errors
    /// What the module logged.
    pub(super) fn configure(&mut self, config: &serde_json::Value) -> Result<(), String> {
        self.configure_raw(config.to_string().as_bytes())
    }

    /// As [`configure`](Self::configure), with any bytes.
    ///
    /// # Errors
    /// What the module logged.
    pub(super) fn configure_raw(&mut self, config: &[u8]) -> Result<(), String> {
        let (root, accepted) = self.begin(config);
        let ended = if accepted.is_ok() { std::mem::replace(&mut self.root, root) } else { root };
        self.end(ended);
        accepted
    }

    /// Serves with a second configuration beside the one that there is, as while listeners drain. What is sent and
    /// ticked from then on is the second one's; returns the first, for [`swap`](Self::swap).
    ///
    /// # Errors
    /// What the module logged.
    pub(super) fn configure_beside(&mut self, config: &serde_json::Value) -> Result<Root, String> {
        let (root, accepted) = self.begin(config.to_string().as_bytes());
        accepted.map(|()| self.swap(Root(root)))
    }

    /// Goes on with another root context, and returns the one before.
    pub(super) fn swap(&mut self, root: Root) -> Root {
        Root(std::mem::replace(&mut self.root, root.0))
    }

    /// Begins a root context and gives it a configuration.
    fn begin(&mut self, config: &[u8]) -> (i32, Result<(), String>) {
        let root = self.next_context();
        let logged = self.store.data().process.log().len();
        self.store.data_mut().plugin_config = config.to_vec();
        let size = i32::try_from(config.len()).expect("a small configuration");
        self.enter::<_, ()>(root, "proxy_on_context_create", (root, 0));
        let started = self.enter::<_, i32>(root, "proxy_on_vm_start", (root, 0)) != 0;
        let accepted = started && self.enter::<_, i32>(root, "proxy_on_configure", (root, size)) != 0;
        if accepted {
            return (root, Ok(()));
        }
        let lines: Vec<_> =
            self.store.data().process.log().drain(logged..).map(|line| line.message).collect();
        (root, Err(lines.join("\n")))
    }

    /// Sends a request through the whole life of its context.
    pub(super) fn send(&mut self, request: &Request) -> Outcome {
        let stream = self.begin_stream(request);
        let outcome = self.outcome(stream).expect("the request waits");
        self.end(stream);
        outcome
    }

    /// Sends a request whose answer is still to come.
    pub(super) fn begin_stream(&mut self, request: &Request) -> i32 {
        let context = self.next_context();
        let stream = Stream {
            request: request.headers.clone(),
            trailers: request.trailers.clone(),
            ..Stream::default()
        };
        let vm = self.store.data_mut();
        let count = i32::try_from(stream.request.0.len()).expect("few headers");
        vm.streams.insert(context, stream);
        vm.host_calls = 0;
        self.enter::<_, ()>(context, "proxy_on_context_create", (context, self.root));
        let action = self.enter::<_, i32>(context, "proxy_on_request_headers", (context, count, 1));
        let cost = self.last_cost();
        let host_calls = self.store.data().host_calls;
        let stream = self.stream(context);
        (stream.cost, stream.host_calls) = (cost, host_calls);
        let refused = stream.refusal.is_some();
        assert!(action != 0 || !refused, "a request that is answered is stopped");
        stream.paused = action != 0 && !refused;
        if action == 0 {
            self.send_trailers(context);
        }
        context
    }

    /// What has become of a request, unless it waits.
    pub(super) fn outcome(&mut self, context: i32) -> Option<Outcome> {
        let stream = self.stream(context);
        let refused = stream.refusal.is_some();
        if stream.paused && !refused {
            return None;
        }
        Some(Outcome {
            headers: stream.request.clone(),
            trailers: if refused { Headers::default() } else { stream.trailers.clone() },
            refusal: stream.refusal.clone(),
            filter_state: stream.filter_state.clone(),
            cost: stream.cost,
            host_calls: stream.host_calls,
        })
    }

    /// Lets the upstream answer with this status.
    pub(super) fn respond(&mut self, context: i32, status: u16) {
        self.stream(context).response_status = Some(status);
    }

    /// Lets bytes of the upstream's answer go by; what the client gets of them.
    pub(super) fn pass(&mut self, context: i32, bytes: &[u8], end: bool) -> Vec<u8> {
        self.stream(context).body = Some(bytes.to_vec());
        let size = i32::try_from(bytes.len()).expect("a small part");
        self.store.data_mut().host_calls = 0;
        let action = self.enter::<_, i32>(context, "proxy_on_response_body", (context, size, i32::from(end)));
        assert_eq!(action, 0, "answers go on");
        self.host_calls = self.store.data().host_calls;
        self.stream(context).body.take().expect("what goes by")
    }

    /// Whether a stream has not been closed by the module.
    pub(super) fn is_open(&self, context: i32) -> bool {
        self.store.data().contexts.contains(&context)
    }

    /// How often the module called the host for what passed last.
    pub(super) fn host_calls(&self) -> u32 {
        self.host_calls
    }

    fn stream(&mut self, context: i32) -> &mut Stream {
        self.store.data_mut().streams.get_mut(&context).expect("a stream that is not over")
    }

    /// The module hears of trailers only where there are some.
    fn send_trailers(&mut self, context: i32) {
        let count = i32::try_from(self.stream(context).trailers.0.len()).expect("few trailers");
        if count > 0 {
            let action = self.enter::<_, i32>(context, "proxy_on_request_trailers", (context, count));
            assert_eq!(action, 0, "trailers go on");
        }
    }

    /// Sends a request to a root context that was created and never configured.
    pub(super) fn send_unconfigured(&mut self, request: &Request) -> Outcome {
        let root = self.next_context();
        self.enter::<_, ()>(root, "proxy_on_context_create", (root, 0));
        let configured = std::mem::replace(&mut self.root, root);
        let outcome = self.send(request);
        self.root = configured;
        outcome
    }

    /// Lets the timer fire, if the module has set one.
    pub(super) fn tick(&mut self) {
        if self.store.data().tick_period.is_some() {
            self.enter::<_, ()>(self.root, "proxy_on_tick", self.root);
        }
    }

    /// Makes the next request one in the middle of which the module is called for everything else.
    pub(super) fn reenter(&mut self) {
        self.store.data_mut().reenters = true;
    }

    /// What the last call into the module took, in WebAssembly instructions.
    pub(super) fn last_cost(&self) -> u64 {
        FUEL - self.store.get_fuel().expect("fuel is on")
    }

    /// The HTTP calls that wait for an answer.
    pub(super) fn calls(&self) -> impl Iterator<Item = &Call> {
        self.store.data().calls.iter()
    }

    /// Answers the oldest call.
    pub(super) fn answer(&mut self, status: u16, body: impl AsRef<[u8]>) {
        let headers = Headers(vec![(":status".into(), status.to_string().into_bytes())]);
        self.complete(headers, body.as_ref().to_vec());
    }

    /// Lets the oldest call fail: a timeout, a reset, no host to connect to.
    pub(super) fn fail_call(&mut self) {
        self.complete(Headers::default(), Vec::new());
    }

    fn complete(&mut self, headers: Headers, body: Vec<u8>) {
        let vm = self.store.data_mut();
        let call = vm.calls.pop_front().expect("a call that waits");
        let counts = [headers.0.len(), body.len()].map(|n| i32::try_from(n).expect("a small answer"));
        vm.call_headers = headers;
        vm.call_body = body;
        let [headers, body] = counts;
        self.enter::<_, ()>(self.root, "proxy_on_http_call_response", (self.root, call.id, headers, body, 0));
    }

    /// The module's memory, in bytes.
    pub(super) fn memory_bytes(&mut self) -> usize {
        let memory = self.instance.get_memory(&mut self.store, "memory").expect("a memory");
        memory.data_size(&self.store)
    }

    fn next_context(&mut self) -> i32 {
        self.last_context += 1;
        self.store.data_mut().contexts.insert(self.last_context);
        self.last_context
    }

    /// Lets go of a context, and of what is known of it.
    pub(super) fn end(&mut self, context: i32) {
        self.end_context(context);
        self.store.data_mut().streams.remove(&context);
    }

    /// The module hears of it if it wants to.
    fn end_context(&mut self, context: i32) {
        let begun = self.store.data().contexts.contains(&context);
        if begun && self.instance.get_func(&mut self.store, "proxy_on_delete").is_some() {
            self.enter::<_, ()>(context, "proxy_on_delete", context);
        }
        self.store.data_mut().contexts.remove(&context);
    }

    /// What the module has left with the host, besides what it left with the process.
    pub(super) fn left(&self) -> (Option<Duration>, &VecDeque<Call>) {
        (self.store.data().tick_period, &self.store.data().calls)
    }

    fn enter<P: WasmParams, R: WasmResults>(&mut self, context: i32, export: &str, params: P) -> R {
        let vm = self.store.data_mut();
        (vm.called, vm.effective) = (context, None);
        self.store.set_fuel(FUEL).expect("fuel is on");
        let function: TypedFunc<P, R> =
            self.instance.get_typed_func(&mut self.store, export).expect("an export of the ABI");
        let result = function.call(&mut self.store, params).unwrap_or_else(|trap| {
            let log = self.store.data().process.log();
            panic!(
                "{export} trapped: {trap:?}\nlast lines of the log: {:#?}",
                log.iter().rev().take(5).collect::<Vec<_>>()
            )
        });
        // As in Envoy, a stream that is closed ends when the module has returned.
        let closed = self.store.data().streams.iter().filter(|(_, stream)| stream.closed);
        for context in closed.map(|(context, _)| *context).collect::<Vec<_>>() {
            self.stream(context).closed = false;
            let fuel = self.store.get_fuel().expect("fuel is on");
            self.end_context(context);
            self.store.set_fuel(fuel).expect("fuel is on");
        }
        result
    }
}
