//! One worker twice: as it is shipped, and on the SDK. Both are driven alike, and a difference panics the test.

use std::time::Duration;

use super::process::Process;
use super::traffic::{Outcome, Request};
use super::worker::{self, Call};

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    process: Process,
    first: worker::Worker,
    second: Option<worker::Worker>,
}

/// A root context: one configuration.
#[derive(Debug)]
pub struct Root {
    first: worker::Root,
    second: Option<worker::Root>,
}

/// A request whose answer is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream(i32);

impl Worker {
    pub(super) fn start(process: Process, config: &serde_json::Value) -> Result<Self, String> {
        let first = worker::Worker::start(process.clone(), config);
        let second = process.follower().map(|process| worker::Worker::start(process, config));
        process.assert_followed();
        match (first, second) {
            (Ok(first), Some(Ok(second))) => Ok(Self { process, first, second: Some(second) }),
            (Ok(first), None) => Ok(Self { process, first, second: None }),
            (Err(reason), None) => Err(reason),
            (Err(reason), Some(Err(same))) if reason == same => Err(reason),
            (first, second) => panic!("the builds differ: {first:?}\n{second:?}"),
        }
    }

    /// Gives the worker a new configuration, as Envoy does: a new root context in the same VM. If it is refused,
    /// the root context before it goes on serving.
    ///
    /// # Errors
    /// What the module logged.
    pub fn configure(&mut self, config: &serde_json::Value) -> Result<(), String> {
        self.configure_raw(config.to_string().as_bytes())
    }

    /// As [`configure`](Self::configure), with any bytes.
    ///
    /// # Errors
    /// What the module logged.
    pub fn configure_raw(&mut self, config: &[u8]) -> Result<(), String> {
        let (first, second) = self.both(|worker| worker.configure_raw(config));
        assert!(second.is_none_or(|second| second == first), "only one build refuses: {first:?}");
        first
    }

    /// Serves with a second configuration beside the one that there is, as while listeners drain. What is sent and
    /// ticked from then on is the second one's; returns the first, for [`swap`](Self::swap).
    ///
    /// # Errors
    /// What the module logged.
    pub fn configure_beside(&mut self, config: &serde_json::Value) -> Result<Root, String> {
        let (first, second) = self.both(|worker| worker.configure_beside(config));
        let second = second.transpose();
        assert_eq!(first.as_ref().err(), second.as_ref().err(), "only one build refuses");
        Ok(Root { first: first?, second: second? })
    }

    /// Goes on with another root context, and returns the one before.
    pub fn swap(&mut self, root: Root) -> Root {
        let second = self.second.as_mut().zip(root.second).map(|(worker, root)| worker.swap(root));
        Root { first: self.first.swap(root.first), second }
    }

    /// Sends a request through the whole life of its context. What it cost is the first build's.
    pub fn send(&mut self, request: &Request) -> Outcome {
        let (first, second) = self.both(|worker| worker.send(request));
        same(first, second)
    }

    /// Sends a request whose answer is still to come.
    pub fn begin(&mut self, request: &Request) -> Stream {
        let (first, second) = self.both(|worker| worker.begin_stream(request));
        assert!(second.is_none_or(|second| second == first), "both count contexts alike");
        Stream(first)
    }

    /// What has become of a request, unless it waits.
    pub fn outcome(&mut self, Stream(stream): Stream) -> Option<Outcome> {
        let (first, second) = self.both(|worker| worker.outcome(stream));
        let waits = second.as_ref().map(Option::is_none);
        assert!(waits.is_none_or(|waits| waits == first.is_none()), "only one build lets the request wait");
        first.map(|first| same(first, second.flatten()))
    }

    /// Lets the upstream answer with this status.
    pub fn respond(&mut self, Stream(stream): Stream, status: u16) {
        self.both(|worker| worker.respond(stream, status));
    }

    /// Lets bytes of the upstream's answer go by; what the client gets of them.
    pub fn pass(&mut self, Stream(stream): Stream, bytes: &[u8], end: bool) -> Vec<u8> {
        let (first, second) = self.both(|worker| worker.pass(stream, bytes, end));
        assert!(second.is_none_or(|second| second == first), "the builds differ in what the client gets");
        first
    }

    /// Whether a stream has not been closed by the module.
    pub fn is_open(&mut self, Stream(stream): Stream) -> bool {
        let (first, second) = self.both(|worker| worker.is_open(stream));
        assert!(second.is_none_or(|second| second == first), "only one build closes the stream");
        first
    }

    /// Lets go of a stream, as when its client has left.
    pub fn end(&mut self, Stream(stream): Stream) {
        self.both(|worker| worker.end(stream));
    }

    /// How often the module called the host for what passed last.
    pub fn host_calls(&self) -> u32 {
        self.first.host_calls()
    }

    /// Sends a request to a root context that was created and never configured.
    pub fn send_unconfigured(&mut self, request: &Request) -> Outcome {
        let (first, second) = self.both(|worker| worker.send_unconfigured(request));
        same(first, second)
    }

    /// Lets the timer fire, if the module has set one.
    pub fn tick(&mut self) {
        self.both(worker::Worker::tick);
    }

    /// How often the module wants its timer to fire.
    pub fn tick_period(&self) -> Option<Duration> {
        self.first.left().0
    }

    /// Makes the next request one in the middle of which the module is called for everything else. Only for our own
    /// build: the SDK traps, and Envoy never does that.
    pub fn reenter(&mut self) {
        assert!(self.second.is_none(), "the SDK cannot be called while it calls");
        self.first.reenter();
    }

    /// What the last call into the first build took, in WebAssembly instructions.
    pub fn last_cost(&self) -> u64 {
        self.first.last_cost()
    }

    /// The HTTP calls that wait for an answer.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.first.calls()
    }

    /// Answers the oldest call.
    pub fn answer(&mut self, status: u16, body: impl AsRef<[u8]>) {
        self.both(|worker| worker.answer(status, body.as_ref()));
    }

    /// Lets the oldest call fail: a timeout, a reset, no host to connect to.
    pub fn fail_call(&mut self) {
        self.both(worker::Worker::fail_call);
    }

    /// The first build's memory, in bytes.
    pub fn memory_bytes(&mut self) -> usize {
        self.first.memory_bytes()
    }

    /// Does the same to both, and compares what they have left with the host.
    fn both<T>(&mut self, mut act: impl FnMut(&mut worker::Worker) -> T) -> (T, Option<T>) {
        let first = act(&mut self.first);
        let Some(worker) = &mut self.second else { return (first, None) };
        self.process.follower();
        let second = act(worker);
        assert_eq!(self.first.left(), worker.left(), "the builds differ in ticks or calls");
        self.process.assert_followed();
        (first, Some(second))
    }
}

fn same(first: Outcome, second: Option<Outcome>) -> Outcome {
    if let Some(second) = second {
        assert_eq!(first.seen(), second.seen(), "the builds differ in what became of a request");
    }
    first
}
