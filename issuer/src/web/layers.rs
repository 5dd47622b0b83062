//! What surrounds every request: an id, one line in the log, figures, a time limit, a net under panics. The log gets
//! the path without its query, and no header, body or token.

use std::any::Any;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, HOST, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument as _;

use super::metrics::Metrics;
use super::{Problem, Reason};
use crate::ambient::Ids;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const MAX_LOGGED_PATH: usize = 256;
const MAX_LOGGED_METHOD: usize = 16;

/// The id under which the log knows a request.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub(super) String);

/// What a group of routes grants its requests.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Larger bodies are refused with 413; bytes.
    pub body: usize,
    /// Requests that take us longer are refused with 503.
    pub deadline: Duration,
}

/// Puts the layers around a group of routes.
pub fn around<S>(routes: Router<S>, limits: Limits, ids: Ids, metrics: Metrics) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    routes
        .layer(DefaultBodyLimit::max(limits.body))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(move |request, next| bounded(limits.deadline, request, next)))
        .layer(from_fn(with_host))
        .layer(from_fn(cautious_headers))
        .layer(from_fn(move |request, next| logged(ids.clone(), metrics.clone(), request, next)))
}

fn panicked(_: Box<dyn Any + Send>) -> Response {
    Problem::new(Reason::Internal).into_response()
}

/// Sends panics to the log: the place, and the message only if it is a literal, which can hold no secret.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        let message =
            panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("(formatted message)");
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(event = "panic", location, message, "panicked");
    }));
}

/// The body's own limit is shorter, so what is cut off here took us too long, not the client.
async fn bounded(limit: Duration, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            tracing::error!(event = "deadline", "the request took too long");
            Problem::because(Reason::Busy, "This took the service too long; try again").into_response()
        }
    }
}

/// RFC 9112 §3.2: without a host, or with two, a request says not whom it is for.
async fn with_host(request: Request, next: Next) -> Response {
    let hosts = request.headers().get_all(HOST).iter().count();
    let enough = request.version() != Version::HTTP_11 || hosts == 1;
    if enough { next.run(request).await } else { Problem::new(Reason::MissingHost).into_response() }
}

/// Answers hold tokens and personal data: nobody stores them unless the handler says so (RFC 6749 §5.1).
async fn cautious_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn logged(ids: Ids, metrics: Metrics, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = match request.headers().get(REQUEST_ID) {
        Some(id) if is_sane(id) => id.clone(),
        // An UUID is a valid header value.
        _ => HeaderValue::try_from(ids.uuid().to_string()).unwrap_or_else(|_| HeaderValue::from_static("-")),
    };
    let request_id = id.to_str().unwrap_or_default().to_owned();
    request.extensions_mut().insert(RequestId(request_id.clone()));
    let method: String = request.method().as_str().chars().take(MAX_LOGGED_METHOD).collect();
    let path: String = request.uri().path().chars().take(MAX_LOGGED_PATH).collect();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let span = match trace_id(request.headers()) {
        Some(trace_id) => tracing::info_span!("request", request_id, trace_id),
        None => tracing::info_span!("request", request_id),
    };
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    let took = started.elapsed();
    metrics.observe(&method, route.as_ref().map(MatchedPath::as_str), status, took);
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    span.in_scope(|| {
        let status = status.as_u16();
        tracing::info!(event = "request", method, path, status, micros, "{method} {path} {status}");
    });
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// A request id from outside goes into the log, so it has to be short and plain.
fn is_sane(id: &HeaderValue) -> bool {
    (1..=64).contains(&id.len())
        && id.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// The trace that a request belongs to (W3C Trace Context §3.2): `00-<trace>-<parent>-<flags>` in lower-case hex.
fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all("traceparent").iter();
    let value = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
    let (version, rest) = value.split_once('-')?;
    let (trace, rest) = rest.split_once('-')?;
    let (parent, flags) = rest.split_once('-')?;
    let hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let set = |text: &str| text.bytes().any(|b| b != b'0');
    let sound =
        version == "00" && hex(trace, 32) && set(trace) && hex(parent, 16) && set(parent) && hex(flags, 2);
    sound.then_some(trace)
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::routing::get;
    use http::StatusCode;
    use tower::ServiceExt as _;

    use super::*;

    async fn broken_handler() {
        panic!("a secret");
    }

    #[tokio::test]
    async fn a_panic_is_a_500_that_tells_nothing() {
        let routes: Router =
            Router::new().route("/", get(broken_handler)).layer(CatchPanicLayer::custom(panicked));
        let response = routes.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        assert!(!String::from_utf8_lossy(&body).contains("secret"));
    }

    #[tokio::test]
    async fn what_takes_us_too_long_is_a_503_to_be_tried_again() {
        let routes: Router = Router::new()
            .route("/", get(std::future::pending::<()>))
            .layer(from_fn(|request, next| bounded(Duration::ZERO, request, next)));
        let response = routes.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["retry-after"], "1");
    }

    #[test]
    fn a_trace_is_named_only_by_a_sound_header() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", value.parse().unwrap());
            trace_id(&headers).map(str::to_owned)
        };
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(of(&format!("00-{trace}-00f067aa0ba902b7-01")).as_deref(), Some(trace));
        for bad in [
            "",
            "00",
            &format!("01-{trace}-00f067aa0ba902b7-01"),
            &format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()),
            &format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            &format!("00-{trace}-0000000000000000-01"),
            &format!("00-{trace}-00f067aa0ba902b7-01-x"),
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
