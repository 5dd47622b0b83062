//! The published keys (RFC 7517) and what there is to know about this issuer (RFC 8414).

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, StatusCode};
use serde::Serialize;

use crate::app::App;

const JWKS_PATH: &str = "/.well-known/jwks.json";

pub fn routes() -> Router<App> {
    Router::new()
        .route(JWKS_PATH, get(jwks))
        .route("/v1/auth/.well-known/jwks.json", get(jwks))
        .route("/.well-known/oauth-authorization-server", get(metadata))
}

/// GET /.well-known/jwks.json
async fn jwks(State(app): State<App>, headers: HeaderMap) -> Response {
    let view = app.keys.at(app.clock.now());
    let response = Response::builder()
        .header(ETAG, &view.etag)
        .header(CACHE_CONTROL, format!("public, max-age={}", app.settings.jwks.max_age));
    let response = if holds(&headers, &view.etag) {
        response.status(StatusCode::NOT_MODIFIED).body(Body::empty())
    } else {
        response.header(CONTENT_TYPE, "application/json").body(Body::from(view.jwks.clone()))
    };
    response.unwrap_or_else(|error| crate::http::ApiError::internal(&error).into_response())
}

/// Whether the client has this entity already (RFC 9110 §13.1.2: weak comparison).
fn holds(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

#[derive(Serialize)]
struct Metadata<'a> {
    issuer: &'a str,
    jwks_uri: String,
    scopes_supported: Vec<&'a str>,
    response_types_supported: [&'static str; 0],
    grant_types_supported: [&'static str; 0],
}

/// GET /.well-known/oauth-authorization-server
///
/// `issuer` is what tokens say in `iss`, URL or not; there is no OAuth grant, so none is announced.
async fn metadata(State(app): State<App>) -> Response {
    let settings = &app.settings;
    Json(Metadata {
        issuer: &settings.tokens.issuer,
        jwks_uri: format!("{}{JWKS_PATH}", settings.server.public_url.as_str()),
        scopes_supported: settings.roles.all_permissions(),
        response_types_supported: [],
        grant_types_supported: [],
    })
    .into_response()
}
