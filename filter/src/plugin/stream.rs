//! One request: its headers are read once, the verdict is carried out, and nothing is kept but what the reply
//! needs.

use countersign_claims::{PROBLEM_JSON, Reject};
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, GrpcStatusCode, MapType, Status};

use super::host;
use super::root::{Shared, Worker};
use crate::credential::subprotocol;
use crate::request::{RequestView, is_reserved};
use crate::tally::Counter;
use crate::verdict::{Decision, Edits, Verdict};

const PROTOCOL_HEADER: &str = "sec-websocket-protocol";

/// Filter state in which access logs find why a request was, or would have been, refused, and by which rule:
/// `%FILTER_STATE(wasm.countersign_reason:PLAIN)%`.
const REASON_STATE: &str = "countersign_reason";
const RULE_STATE: &str = "countersign_rule";

#[derive(Debug)]
pub(super) struct Stream {
    /// Let go once the request is decided, so that a long stream holds no old configuration.
    worker: Option<Shared>,
    /// The token came as a subprotocol, so the reply must select one.
    select_protocol: bool,
}

impl Stream {
    pub(super) fn new(worker: Option<Shared>) -> Self {
        Self { worker, select_protocol: false }
    }

    fn decide(&mut self, worker: &mut Worker) -> Result<Action, Status> {
        let headers = hostcalls::get_map_bytes(MapType::HttpRequestHeaders)?;
        let view = RequestView::read(headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())));
        let Worker { edge, tally, keys, .. } = worker;
        let now = host::now_seconds();
        let mut verdict = edge.judge(&view, now);
        // The key may have been fetched by another worker since this one's last tick.
        if verdict.decision.lacks_key()
            && let Some(keys) = keys
            && let Some(record) = keys.newer()
        {
            keys.load(&record, edge);
            verdict = edge.judge(&view, now);
        }
        tally.add(Counter::Request(verdict.decision), 1);
        self.select_protocol = verdict.edits.protocols.is_some();
        apply(&verdict.edits)?;
        if verdict.decision.reject().is_some() {
            explain(&verdict)?;
        }
        match verdict.decision {
            Decision::Public | Decision::Admitted | Decision::Observed(_) => Ok(Action::Continue),
            Decision::Denied(reject) => {
                let grpc = view.is_grpc();
                refuse(reject, &edge.config().issuer, grpc)?;
                Ok(Action::Pause)
            }
        }
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _num_headers: usize, _end_of_stream: bool) -> Action {
        let decided = match self.worker.take() {
            Some(worker) => self.decide(&mut worker.borrow_mut()),
            // Never configured: nothing is let through.
            None => refuse(Reject::Unavailable, "", false).map(|()| Action::Pause),
        };
        // Headers that could not be read or changed must not go on as they are.
        decided.unwrap_or_else(|_| {
            let _ = refuse(Reject::Unavailable, "", false);
            Action::Pause
        })
    }

    fn on_http_request_trailers(&mut self, _num_trailers: usize) -> Action {
        if strip_trailers().is_err() {
            let _ = refuse(Reject::Unavailable, "", false);
            return Action::Pause;
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _num_headers: usize, _end_of_stream: bool) -> Action {
        if self.select_protocol {
            // A reply that cannot be read is passed on; the client will close.
            let _ = select_protocol();
        }
        Action::Continue
    }
}

/// Changes the request's headers. Identity headers go in last, when nothing of the client's is left under their
/// names.
fn apply(edits: &Edits<'_>) -> Result<(), Status> {
    let request = MapType::HttpRequestHeaders;
    for name in &edits.remove {
        hostcalls::remove_map_value(request, name)?;
    }
    if let Some(path) = &edits.path {
        hostcalls::set_map_value_bytes(request, ":path", Some(path))?;
    }
    if let Some(protocols) = &edits.protocols {
        // Removed first: there may have been several lines.
        hostcalls::remove_map_value(request, PROTOCOL_HEADER)?;
        if !protocols.is_empty() {
            hostcalls::set_map_value_bytes(request, PROTOCOL_HEADER, Some(protocols))?;
        }
    }
    for (name, value) in edits.identity.iter().flat_map(|principal| principal.headers()) {
        // Added, not set: nothing is left under this name, and the host need not look for it.
        hostcalls::add_map_value_bytes(request, name, value.as_bytes())?;
    }
    Ok(())
}

/// Some servers make one map of headers and trailers: identity must not come by either.
fn strip_trailers() -> Result<(), Status> {
    let trailers = MapType::HttpRequestTrailers;
    for (name, _) in hostcalls::get_map_bytes(trailers)?.iter().filter(|(name, _)| is_reserved(name)) {
        hostcalls::remove_map_value(trailers, name)?;
    }
    Ok(())
}

/// Tells access logs why.
fn explain(verdict: &Verdict<'_>) -> Result<(), Status> {
    if let Some(reject) = verdict.decision.reject() {
        hostcalls::set_property(vec![REASON_STATE], Some(reject.reason().as_bytes()))?;
    }
    if let Some(rule) = verdict.rule {
        hostcalls::set_property(vec![RULE_STATE], Some(rule.as_bytes()))?;
    }
    Ok(())
}

/// Answers instead of the upstream: `application/problem+json`, or a gRPC status.
fn refuse(reject: Reject, realm: &str, grpc: bool) -> Result<(), Status> {
    let challenge = reject.www_authenticate(realm);
    let mut headers = vec![("cache-control", "no-store")];
    if let Some(challenge) = &challenge {
        headers.push(("www-authenticate", challenge));
    }
    if grpc {
        let headers = headers.into_iter().map(|(name, value)| (name, value.as_bytes())).collect();
        return hostcalls::send_grpc_response(grpc_status(reject), Some(reject.detail()), headers);
    }
    headers.push(("content-type", PROBLEM_JSON));
    let body = serde_json::to_vec(&reject.problem()).unwrap_or_default();
    hostcalls::send_http_response(u32::from(reject.status()), headers, Some(&body))
}

fn grpc_status(reject: Reject) -> GrpcStatusCode {
    match reject.grpc_status() {
        3 => GrpcStatusCode::InvalidArgument,
        7 => GrpcStatusCode::PermissionDenied,
        16 => GrpcStatusCode::Unauthenticated,
        _ => GrpcStatusCode::Unavailable,
    }
}

/// A browser drops a WebSocket whose reply selects none of the protocols it offered (RFC 6455 §4.1). If the
/// upstream selected none, the one that announced the token is selected.
fn select_protocol() -> Result<(), Status> {
    let reply = MapType::HttpResponseHeaders;
    let switching = hostcalls::get_map_value_bytes(reply, ":status")?.as_deref() == Some(b"101");
    if switching && hostcalls::get_map_value_bytes(reply, PROTOCOL_HEADER)?.is_none() {
        hostcalls::set_map_value_bytes(reply, PROTOCOL_HEADER, Some(subprotocol::MARKER.as_bytes()))?;
    }
    Ok(())
}
