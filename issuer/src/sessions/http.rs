//! The sessions' routes: refresh, logout, and the list of where one is logged in.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRef, Path, State};
use axum::response::{AppendHeaders, IntoResponse, Response};
use http::header::SET_COOKIE;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::grant::TokenBody;
use super::{Caller, Callers, Refreshed, SessionId, Sessions, SessionsBody};
use crate::web::{Client, JsonOrEmpty, Problem, TrustedProxies};

pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Sessions: FromRef<S>,
    Callers: FromRef<S>,
    TrustedProxies: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(refresh))
        .routes(routes!(logout))
        .routes(routes!(list))
        .routes(routes!(end))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = Refresh)]
struct RefreshBody {
    /// Instead of the cookie.
    #[serde(default)]
    refresh_token: Option<String>,
    /// Ask for it in the body, too, from a page in a browser.
    #[serde(default)]
    refresh_token_in_body: bool,
}

/// Exchange the refresh token for a new access token and the next refresh token.
#[utoipa::path(post, path = "/v1/auth/refresh", tag = "sessions", request_body(content = Option<RefreshBody>), responses(
    (status = 200, body = TokenBody, description = "New tokens; the next refresh token as the last one came"),
    (status = 400, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "The refresh token is not good (RFC 6749 §5.2: `error` is `invalid_grant`); do not try again"),
    (status = 403, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`cross_site`: a page that may not use the cookie"),
))]
async fn refresh(
    State(sessions): State<Sessions>,
    client: Client,
    headers: HeaderMap,
    JsonOrEmpty(body): JsonOrEmpty<RefreshBody>,
) -> Result<Response, Problem> {
    let (token, carrier) = sessions.presented(&headers, body.refresh_token)?;
    let Refreshed { signer, user, session } = sessions.refresh(token, &client).await?;
    let delivery = carrier.delivery(&headers, body.refresh_token_in_body);
    Ok(sessions.grants.answer(&signer, StatusCode::OK, &user, &session, delivery, false)?)
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = Logout)]
struct LogoutBody {
    /// End every session of the user.
    #[serde(default)]
    all_devices: bool,
    /// Instead of the cookie.
    #[serde(default)]
    refresh_token: Option<String>,
}

/// End the session, or all of them.
///
/// The session is named by the access token or, if that is missing or no longer good, by the refresh token. Without
/// any, there is nothing to end, which is what the caller wanted.
#[utoipa::path(post, path = "/v1/auth/logout", tag = "sessions", request_body(content = Option<LogoutBody>), responses(
    (status = 204, description = "Logged out, or was not logged in; the cookie is cleared, unless another site's page asks"),
    (status = 403, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`cross_site`: a page that may not use the cookie"),
))]
async fn logout(
    State(sessions): State<Sessions>,
    caller: Result<Caller, Problem>,
    client: Client,
    headers: HeaderMap,
    JsonOrEmpty(body): JsonOrEmpty<LogoutBody>,
) -> Result<Response, Problem> {
    sessions.log_out(caller, body.refresh_token, body.all_devices, &client, &headers).await?;
    let cookie = sessions.grants.cleared_cookie(&headers).map(|cookie| (SET_COOKIE, cookie));
    Ok((StatusCode::NO_CONTENT, AppendHeaders(cookie)).into_response())
}

/// Where one is logged in, newest first.
#[utoipa::path(get, path = "/v1/auth/sessions", tag = "sessions", security(("bearer" = [])), responses(
    (status = 200, body = SessionsBody),
))]
async fn list(State(sessions): State<Sessions>, caller: Caller) -> Result<Json<SessionsBody>, Problem> {
    sessions.of(caller).await.map(Json)
}

/// End one of one's own sessions.
#[utoipa::path(delete, path = "/v1/auth/sessions/{id}", tag = "sessions", security(("bearer" = [])),
    params(("id" = String, Path, description = "As the list shows it")),
    responses((status = 204, description = "Ended"), (status = 404, description = "No live session of the caller's")),
)]
async fn end(
    State(sessions): State<Sessions>,
    caller: Caller,
    client: Client,
    id: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let id = id.ok().and_then(|Path(id)| SessionId::parse(&id));
    sessions.end_own(caller, id, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}
