//! One request: its headers are read once, the verdict is carried out, and nothing is kept.

use countersign_claims::{PROBLEM_JSON, Reject};
use countersign_proxy_abi::host::{self, Map};
use countersign_proxy_abi::{Action, Status, pairs};

use super::ambient;
use super::worker::Worker;
use crate::credential::subprotocol;
use crate::principal::ClaimHeader;
use crate::request::{RequestView, is_reserved_trailer};
use crate::verdict::{Decision, Edits, Verdict};

const PROTOCOL_HEADER: &str = "sec-websocket-protocol";

/// Filter state in which a route finds the subprotocol that the reply has to select if the upstream selects none: a
/// browser drops a WebSocket whose reply selects none of those it offered (RFC 6455 §4.1). Not set in the reply
/// itself, because a callback for replies would be called for every reply.
const PROTOCOL_STATE: &str = "countersign_protocol";

/// Decides about the request whose headers the host has, and carries it out.
pub(super) fn decide(worker: &mut Worker) -> Result<Action, Status> {
    let headers = host::headers(Map::HttpRequestHeaders)?;
    let Worker { edge, tally, keys, claim_headers, .. } = worker;
    let mut view = RequestView { claim_headers, ..RequestView::default() };
    pairs::read(&headers, |name, value| view.add(name, value))?;
    let mut verdict = edge.judge(&view, ambient::now_seconds);
    // The key may have been fetched by another worker since this one's last tick.
    if verdict.decision.lacks_key()
        && let Some(keys) = keys
        && let Some(record) = keys.newer()
    {
        keys.load(&record, edge);
        verdict = edge.judge(&view, ambient::now_seconds);
    }
    tally.decided(verdict.decision, verdict.rule);
    tell(&verdict);
    let edited = apply(&verdict.edits);
    match verdict.decision {
        Decision::Public | Decision::Admitted | Decision::Observed(_) => {
            edited?;
            if verdict.edits.protocols.is_some() {
                // Without it a browser may end the connection; the verdict stands.
                let _ = host::set_property(PROTOCOL_STATE, subprotocol::MARKER.as_bytes());
            }
            Ok(Action::Continue)
        }
        Decision::Denied(reject) => {
            refuse(reject, verdict.challenge(reject), view.is_grpc())?;
            Ok(Action::Pause)
        }
    }
}

/// What cannot be decided must not go on.
pub(super) fn fail_closed() -> Action {
    // If there is no answer either, the stream stands still until its time is over.
    let _ = refuse(Reject::Unavailable, None, false);
    Action::Pause
}

/// Changes the request's headers. Identity headers go in last, when nothing of the client's is left under their
/// names.
fn apply(edits: &Edits<'_>) -> Result<(), Status> {
    let request = Map::HttpRequestHeaders;
    for name in edits.spoofed {
        host::remove_header(request, name)?;
    }
    if let Some(token) = &edits.authorization {
        host::set_header(request, "authorization", token)?;
    } else if edits.strip_authorization {
        host::remove_header(request, b"authorization")?;
    }
    if let Some(method) = edits.method {
        host::set_header(request, ":method", method)?;
    }
    if edits.plain_connection {
        host::set_header(request, "connection", b"Upgrade")?;
    }
    if let Some(path) = &edits.path {
        host::set_header(request, ":path", path)?;
    }
    if let Some(protocols) = &edits.protocols {
        // Removed first: there may have been several lines.
        host::remove_header(request, PROTOCOL_HEADER.as_bytes())?;
        if !protocols.is_empty() {
            host::set_header(request, PROTOCOL_HEADER, protocols)?;
        }
    }
    let Some(principal) = &edits.identity else { return Ok(()) };
    let identity = edits.identity_headers.iter().map(|header| (header.name(), principal.value(*header)));
    let claims = edits.claim_headers.iter().map(|header| &*header.name).zip(principal.told_claims());
    for (name, value) in identity.chain(claims).filter(|(_, value)| !value.is_empty()) {
        // Added, not set: nothing is left under this name, and the host need not look for it.
        host::add_header(request, name, value)?;
    }
    Ok(())
}

/// Some servers make one map of headers and trailers: what the edge vouches for must not come by either.
/// `claim_headers` are those of every configuration that may have let the request through.
pub(super) fn strip_trailers<'w>(
    claim_headers: impl Iterator<Item = &'w [ClaimHeader]> + Clone,
) -> Result<(), Status> {
    let trailers = host::headers(Map::HttpRequestTrailers)?;
    let is_reserved = |name: &[u8]| claim_headers.clone().any(|headers| is_reserved_trailer(name, headers));
    let mut reserved = Vec::new();
    pairs::read(&trailers, |name, _| reserved.extend(Some(name).filter(|name| is_reserved(name))))?;
    reserved.into_iter().try_for_each(|name| host::remove_header(Map::HttpRequestTrailers, name))
}

/// Tells access logs, and filters behind this one, what was decided. A host that takes no filter state changes no
/// verdict by that.
fn tell(verdict: &Verdict<'_>) {
    for told in verdict.told {
        if let Some(value) = told.value(verdict) {
            let _ = host::set_property(told.key(), value);
        }
    }
}

/// Answers instead of the upstream: `application/problem+json`, or a gRPC status where the host takes the request for
/// gRPC. The HTTP status is the real one in any case, should host and filter not agree about that.
fn refuse(reject: Reject, challenge: Option<String>, grpc: bool) -> Result<(), Status> {
    let mut headers = vec![("cache-control", "no-store")];
    headers.extend(challenge.as_deref().map(|challenge| ("www-authenticate", challenge)));
    headers.extend(reject.retry_after().map(|seconds| ("retry-after", seconds)));
    let body = if grpc {
        reject.detail().into()
    } else {
        headers.push(("content-type", PROBLEM_JSON));
        serde_json::to_vec(&reject.problem()).unwrap_or_default()
    };
    let details = format!("countersign_denied{{{}}}", reject.reason());
    host::respond(reject.status(), &details, &headers, &body, reject.grpc_status())
}
