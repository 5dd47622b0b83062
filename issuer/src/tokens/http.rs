//! The published keys (RFC 7517).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRef, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, StatusCode};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{LiveKeys, cache_control};
use crate::ambient::Clock;
use crate::config::Settings;
use crate::web::Problem;

/// How the keys are published; cheap to clone.
#[derive(Debug, Clone)]
pub struct Published {
    /// Their `Cache-Control`.
    cache: Arc<str>,
}

impl Published {
    pub fn new(settings: &Settings) -> Self {
        Self { cache: cache_control(settings).into() }
    }
}

pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Clock: FromRef<S>,
    Arc<LiveKeys>: FromRef<S>,
    Published: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(jwks)).routes(routes!(jwks_below_auth))
}

/// A JSON Web Key Set (RFC 7517 §5).
#[derive(ToSchema)]
#[schema(as = JwkSet)]
#[allow(dead_code, reason = "only for the documentation: the set is written once for each change of keys")]
struct JwkSetBody {
    keys: Vec<serde_json::Map<String, serde_json::Value>>,
}

/// The keys that verify our tokens (RFC 7517), with `ETag`.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "keys", responses(
    (status = 200, body = JwkSetBody),
    (status = 304, description = "As the `If-None-Match` says"),
))]
async fn jwks(
    State(clock): State<Clock>,
    State(keys): State<Arc<LiveKeys>>,
    State(published): State<Published>,
    headers: HeaderMap,
) -> Response {
    let view = keys.at(clock.now().seconds());
    let response = Response::builder().header(ETAG, &view.etag).header(CACHE_CONTROL, &*published.cache);
    let response = if holds(&headers, &view.etag) {
        response.status(StatusCode::NOT_MODIFIED).body(Body::empty())
    } else {
        response.header(CONTENT_TYPE, "application/json").body(Body::from(view.jwks.clone()))
    };
    response.unwrap_or_else(|error| Problem::internal(&error).into_response())
}

/// The same keys, where existing clients look for them.
#[utoipa::path(get, path = "/v1/auth/.well-known/jwks.json", tag = "keys", responses(
    (status = 200, body = JwkSetBody),
    (status = 304, description = "As the `If-None-Match` says"),
))]
async fn jwks_below_auth(
    clock: State<Clock>,
    keys: State<Arc<LiveKeys>>,
    published: State<Published>,
    headers: HeaderMap,
) -> Response {
    jwks(clock, keys, published, headers).await
}

/// Whether the client has this entity already (RFC 9110 §13.1.2: weak comparison).
fn holds(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}
