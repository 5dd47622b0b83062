//! WebSockets that were let through: ended when their credential is, with a close frame if the server leaves a place for it.
//!
//! A plugin can change what passes, and not begin to speak. So the frame goes in with the next bytes of the server; if there
//! are none in time, the connection is closed without it. Requests that open no WebSocket leave nothing here.

use std::collections::BTreeMap;

use countersign_claims::Reject;
use countersign_proxy_abi::host::{self, Buffer};
use countersign_proxy_abi::{Action, Status};

use crate::edge::Edge;
use crate::tally::{Counter, Tally};
use crate::verdict::Told;
use crate::websocket::{Fate, Lifetime, Live, Passage};

/// The host does not say when a stream ends. With each tick some are asked for, so that all are within this many ticks.
const TICKS_TO_ASK_ALL: usize = 64;

/// One worker's live streams.
#[derive(Debug, Default)]
pub(super) struct Streams {
    live: BTreeMap<u32, Live>,
    /// The last that was asked whether it is still there.
    asked: u32,
    /// How often revocations had changed when all were held against them.
    changes: u64,
}

impl Streams {
    pub(super) fn begin(&mut self, stream: u32, lifetime: Lifetime) {
        self.live.insert(stream, Live::new(lifetime));
    }

    pub(super) fn has(&self, stream: u32) -> bool {
        self.live.contains_key(&stream)
    }

    /// Part of an answer goes by.
    pub(super) fn pass(&mut self, stream: u32, size: usize, end: bool) -> Action {
        let Some(live) = self.live.get_mut(&stream) else { return Action::Continue };
        if live.begins() && !was_upgraded() {
            self.live.remove(&stream);
            return Action::Continue;
        }
        let body = Buffer::HttpResponseBody;
        // What cannot be read goes on. A stream whose place is lost is closed without a word.
        if let Ok(Passage::Instead(bytes)) = live.pass(size, |from, most| host::buffer(body, from, most)) {
            let _ = host::set_buffer(body, size, &bytes);
        }
        if end {
            self.live.remove(&stream);
        }
        Action::Continue
    }

    /// Ends what is to end. `root`: the context that is being called.
    pub(super) fn tick(&mut self, root: u32, seconds: i64, millis: u64, edge: &Edge, tally: &mut Tally) {
        if self.live.is_empty() {
            return;
        }
        let changes = edge.revoked().changes();
        let changed = std::mem::replace(&mut self.changes, changes) != changes;
        let reason = |Lifetime { until, session }: Lifetime| {
            // Those that began since the last change were held against it then.
            let revoked = changed && session.is_some_and(|session| edge.revoked().contains(session));
            match () {
                () if revoked => Some(Reject::Revoked),
                () if until <= seconds => Some(Reject::Expired),
                () => None,
            }
        };
        let mut closed = Vec::new();
        for (stream, live) in &mut self.live {
            if let Fate::Closes { why, told } = live.fate(millis, reason) {
                closed.push((*stream, why, told));
            }
        }
        for (stream, why, told) in closed {
            self.live.remove(&stream);
            if close(stream, why, edge).is_ok() {
                tally.add(Counter::StreamClosed { why, told }, 1);
            }
        }
        self.ask_some();
        let _ = host::turn_to(root);
    }

    /// Lets go of those that have ended by themselves.
    fn ask_some(&mut self) {
        let some = self.live.len().div_ceil(TICKS_TO_ASK_ALL);
        let after = (std::ops::Bound::Excluded(self.asked), std::ops::Bound::Unbounded);
        let asked: Vec<u32> = self.live.range(after).take(some).map(|(stream, _)| *stream).collect();
        self.asked = asked.last().copied().unwrap_or_default();
        for stream in asked {
            if host::turn_to(stream) == Err(Status::BAD_ARGUMENT) {
                self.live.remove(&stream);
            }
        }
    }
}

/// Closes a stream, and tells access logs why, if they are told that.
fn close(stream: u32, why: Reject, edge: &Edge) -> Result<(), Status> {
    host::turn_to(stream)?;
    if edge.config().filter_state.contains(&Told::Reason) {
        let _ = host::set_property(Told::Reason.key(), why.reason().as_bytes());
    }
    host::close_stream()
}

/// Whether the answer whose first bytes go by is an upgrade. If it is not, the server has refused the handshake.
fn was_upgraded() -> bool {
    let code = host::property("response\0code").ok().flatten();
    code.is_some_and(|code| *code == 101_i64.to_le_bytes())
}
