//! The published keys (RFC 7517) and what there is to know about this issuer (RFC 8414).

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRef, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::LiveKeys;
use crate::ambient::Clock;
use crate::config::Settings;
use crate::web::{Problem, Reason};

const JWKS_PATH: &str = "/.well-known/jwks.json";

/// What does not change while the issuer runs; cheap to clone.
#[derive(Debug, Clone)]
pub struct Published(Arc<Facts>);

#[derive(Debug)]
struct Facts {
    /// `Cache-Control` of everything here.
    cache: String,
    metadata: Metadata,
}

impl Published {
    pub fn new(settings: &Settings) -> Self {
        let scopes = settings.roles.all_permissions().into_iter().map(str::to_owned).collect();
        let metadata = Metadata {
            issuer: settings.tokens.issuer.clone(),
            jwks_uri: format!("{}{JWKS_PATH}", settings.server.public_url.as_str()),
            scopes_supported: scopes,
            response_types_supported: [],
            grant_types_supported: [],
        };
        let cache = format!("public, max-age={}", settings.jwks.max_age);
        Self(Arc::new(Facts { cache, metadata }))
    }
}

pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Clock: FromRef<S>,
    Arc<LiveKeys>: FromRef<S>,
    Published: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(jwks))
        .routes(routes!(jwks_below_auth))
        .routes(routes!(metadata))
        .route("/.well-known/openid-configuration", get(no_openid))
}

/// Told apart from a slip of the path, because many clients look here first.
async fn no_openid() -> Problem {
    let detail = "This is no OpenID provider; see /.well-known/oauth-authorization-server";
    Problem::because(Reason::NotFound, detail)
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
    State(Published(facts)): State<Published>,
    headers: HeaderMap,
) -> Response {
    let view = keys.at(clock.now().seconds());
    let response = Response::builder().header(ETAG, &view.etag).header(CACHE_CONTROL, &facts.cache);
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

#[derive(Debug, Clone, Serialize, ToSchema)]
struct Metadata {
    /// What tokens say in `iss`, URL or not.
    issuer: String,
    jwks_uri: String,
    scopes_supported: Vec<String>,
    #[schema(value_type = Vec<String>)]
    response_types_supported: [&'static str; 0],
    #[schema(value_type = Vec<String>)]
    grant_types_supported: [&'static str; 0],
}

/// What there is to know about this issuer (RFC 8414). There is no OAuth grant, so none is announced.
#[utoipa::path(get, path = "/.well-known/oauth-authorization-server", tag = "keys", responses(
    (status = 200, body = Metadata),
))]
async fn metadata(State(Published(facts)): State<Published>) -> Response {
    ([(CACHE_CONTROL, facts.cache.clone())], Json(facts.metadata.clone())).into_response()
}
