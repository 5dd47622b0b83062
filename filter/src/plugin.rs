//! The plugin as Envoy sees it: the only code that names the host.
//!
//! It fetches values, hands them to [`Edge`](crate::edge::Edge) and carries out the verdict; it decides nothing.

mod ambient;
mod keys;
mod metrics;
mod stream;
mod worker;

use countersign_proxy_abi::host::{self, Level};
use countersign_proxy_abi::{Action, Plugin};

use worker::Worker;

countersign_proxy_abi::plugin!(Vm);

/// Everything in one VM.
#[derive(Debug, Default)]
struct Vm {
    /// The configurations that Envoy serves with: one for each filter of this `vm_id`, or two while one takes over.
    roots: Vec<Root>,
    /// The stream that was begun last. Envoy begins one when it has its request headers, and hands them over next.
    begun: Option<Begun>,
}

/// A root context. Without a worker there is no sound configuration, and everything is refused.
#[derive(Debug)]
struct Root {
    id: u32,
    worker: Option<Worker>,
}

#[derive(Debug, Clone, Copy)]
struct Begun {
    stream: u32,
    root: u32,
}

impl Vm {
    fn worker(&mut self, root: u32) -> Option<&mut Worker> {
        self.roots.iter_mut().find(|known| known.id == root)?.worker.as_mut()
    }

    /// Whether this is the configuration that came last, of those that were taken: the gauges are about that one.
    fn is_newest(&self, root: u32) -> bool {
        self.roots.iter().rev().find(|known| known.worker.is_some()).is_some_and(|newest| newest.id == root)
    }

    /// Lets go of configurations that are no longer served with. Nobody says when that is: see [`Plugin`].
    fn sweep(&mut self, asking: u32) {
        let ended = |root: &mut Root| root.id != asking && !host::is_alive(root.id, asking);
        for root in self.roots.extract_if(.., ended) {
            if let Some(mut worker) = root.worker {
                worker.flush_counters();
                host::log(Level::Info, "countersign-filter: an earlier configuration is no longer in use");
            }
        }
    }
}

impl Plugin for Vm {
    fn on_context_create(&mut self, context: u32, parent: Option<u32>) {
        match parent {
            Some(root) => self.begun = Some(Begun { stream: context, root }),
            None => self.roots.push(Root { id: context, worker: None }),
        }
    }

    fn on_vm_start(&mut self, _root: u32) -> bool {
        host::log(Level::Info, concat!("countersign-filter ", env!("CARGO_PKG_VERSION")));
        true
    }

    fn on_configure(&mut self, root: u32, size: usize) -> bool {
        match Worker::configure(size) {
            Ok(worker) => {
                let known = self.roots.iter_mut().find(|known| known.id == root);
                known.map(|known| known.worker = Some(worker)).is_some()
            }
            Err(reason) => {
                host::log(Level::Error, &format!("countersign-filter: configuration refused: {reason}"));
                false
            }
        }
    }

    fn on_tick(&mut self, root: u32) {
        self.sweep(root);
        let newest = self.is_newest(root);
        if let Some(worker) = self.worker(root) {
            worker.tick(newest);
        }
    }

    fn on_http_call_response(&mut self, root: u32, call: u32, body_size: usize) {
        if let Some(worker) = self.worker(root) {
            worker.answered(call, body_size);
        }
    }

    fn on_request_headers(&mut self, stream: u32) -> Action {
        let root = self.begun.take_if(|begun| begun.stream == stream).map(|begun| begun.root);
        let Some(worker) = root.and_then(|root| self.worker(root)) else {
            // Never configured: nothing is let through.
            return Self::refuse();
        };
        // Headers that could not be read or changed must not go on as they are.
        stream::decide(worker).unwrap_or_else(|_| Self::refuse())
    }

    fn on_request_trailers(&mut self, _stream: u32) -> Action {
        // Which configuration the stream was begun with is not kept, and no name of another is of use to it. The empty one
        // stands for a VM without any.
        let workers = self.roots.iter().filter_map(|root| root.worker.as_ref());
        let claim_headers = workers.map(|worker| &*worker.claim_headers).chain([&[][..]]);
        stream::strip_trailers(claim_headers).map_or_else(|_| Self::refuse(), |()| Action::Continue)
    }

    fn refuse() -> Action {
        stream::fail_closed()
    }
}
