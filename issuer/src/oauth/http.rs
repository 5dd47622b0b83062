//! OAuth's routes.

mod client_credentials;
mod token;
mod tokens;

use axum::Json;
use axum::extract::{FromRef, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::CACHE_CONTROL;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::OAuth;
use super::metadata::MetadataBody;
use crate::sessions::Callers;
use crate::web::{Problem, Reason, TrustedProxies};

pub(super) const TOKEN_PATH: &str = "/token";
pub(super) const SERVICE_TOKEN_PATH: &str = "/v1/auth/token";
pub(super) const INTROSPECT_PATH: &str = "/v1/auth/introspect";
pub(super) const REVOKE_PATH: &str = "/v1/auth/revoke";

pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    OAuth: FromRef<S>,
    Callers: FromRef<S>,
    TrustedProxies: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(client_credentials::service_token))
        .routes(routes!(tokens::introspect))
        .routes(routes!(tokens::revoke))
        .routes(routes!(metadata))
        .route("/.well-known/openid-configuration", get(no_openid))
}

/// The group of compatible routes that is the token endpoint.
pub fn token_routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    OAuth: FromRef<S>,
    TrustedProxies: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(token::token))
}

/// What there is to know about this issuer (RFC 8414).
#[utoipa::path(get, path = "/.well-known/oauth-authorization-server", tag = "oauth", responses(
    (status = 200, body = MetadataBody),
))]
async fn metadata(State(oauth): State<OAuth>) -> Response {
    let facts = oauth.metadata.facts();
    ([(CACHE_CONTROL, facts.cache.clone())], Json(facts.body.clone())).into_response()
}

/// Told apart from a slip of the path, because many clients look here first.
async fn no_openid() -> Problem {
    let detail = "This is no OpenID provider; see /.well-known/oauth-authorization-server";
    Problem::because(Reason::NotFound, detail)
}
