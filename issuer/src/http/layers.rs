//! What surrounds every request: an id, one line in the log, a time limit, a net under panics. The log gets the
//! path without its query, and no header, body or token.

use std::any::Any;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue, StatusCode};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument as _;

use super::ApiError;
use crate::app::App;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longer than any queue for hashing; shorter than a client that trickles its body would like.
const TIME_LIMIT: Duration = Duration::from_secs(30);

const MAX_LOGGED_PATH: usize = 256;
const MAX_LOGGED_METHOD: usize = 16;

pub(super) fn around(routes: Router<App>, app: &App) -> Router<App> {
    routes
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(|request, next| bounded(TIME_LIMIT, request, next)))
        .layer(from_fn(cautious_headers))
        .layer(from_fn_with_state(app.clone(), logged))
}

fn panicked(_: Box<dyn Any + Send>) -> Response {
    ApiError::broken().into_response()
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

async fn bounded(limit: Duration, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = "The request took too long";
            ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail).into_response()
        }
    }
}

/// Answers hold tokens and personal data: nobody stores them unless the handler says so (RFC 6749 §5.1).
async fn cautious_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn logged(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = match request.headers().get(REQUEST_ID) {
        Some(id) if is_sane(id) => id.clone(),
        // An UUID is a valid header value.
        _ => HeaderValue::try_from(app.new_id()).unwrap_or_else(|_| HeaderValue::from_static("-")),
    };
    let request_id = id.to_str().unwrap_or_default().to_owned();
    let method: String = request.method().as_str().chars().take(MAX_LOGGED_METHOD).collect();
    let path: String = request.uri().path().chars().take(MAX_LOGGED_PATH).collect();
    let span = tracing::info_span!("request", request_id);
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    span.in_scope(|| {
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

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::routing::get;
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
    async fn a_request_that_takes_too_long_is_cut_off() {
        let routes: Router = Router::new()
            .route("/", get(std::future::pending::<()>))
            .layer(from_fn(|request, next| bounded(Duration::ZERO, request, next)));
        let response = routes.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
    }
}
