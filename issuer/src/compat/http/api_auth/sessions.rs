//! Staying in and getting out: refresh, logout, and where one is logged in.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{AppendHeaders, IntoResponse, Response};
use countersign_claims::Reject;
use http::header::SET_COOKIE;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::super::{ApiAuth, Compat};
use crate::sessions::grant::TokenBody;
use crate::sessions::{Caller, RefreshToken, Refreshed, SessionId, SessionsBody};
use crate::web::{Client, JsonOrEmpty, Problem, bearer};

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ApiAuthRefresh)]
pub(super) struct RefreshBody {
    /// Instead of the `Authorization` header or the cookie.
    #[serde(default)]
    refresh_token: Option<String>,
    /// Ask for it in the body, too, from a page in a browser.
    #[serde(default)]
    refresh_token_in_body: bool,
}

/// Exchange the refresh token for a new access token and the next refresh token.
///
/// The refresh token is in the body, in `Authorization: Bearer …`, or in the cookie.
#[utoipa::path(post, path = "/api/auth/refresh", operation_id = "api_auth_refresh", tag = "compatible",
    request_body(content = Option<RefreshBody>),
    responses(
        (status = 200, body = TokenBody, description = "New tokens; the next refresh token as the last one came"),
        (status = 400, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "The refresh token is not good (RFC 6749 §5.2: `error` is `invalid_grant`); do not try again"),
        (status = 401, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "An access token was sent instead of the refresh token"),
        (status = 403, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`cross_site`: a page that may not use the cookie"),
    ),
)]
pub(super) async fn refresh(
    State(compat): State<Compat>,
    client: Client,
    headers: HeaderMap,
    JsonOrEmpty(body): JsonOrEmpty<RefreshBody>,
) -> Result<Response, Problem> {
    let api_auth = &compat.api_auth;
    let sessions = &api_auth.sessions;
    let given = match body.refresh_token {
        Some(token) => Some(token),
        None => api_auth.refresh_token_of(&headers)?,
    };
    let (token, carrier) = sessions.presented(&headers, given)?;
    let Refreshed { signer, user, session } = sessions.refresh(token, &client).await?;
    let delivery = carrier.delivery(&headers, body.refresh_token_in_body);
    Ok(sessions.grants.answer(&signer, StatusCode::OK, &user, &session, delivery, false)?)
}

impl ApiAuth {
    /// What `Authorization` has for a refresh token. Whether it is good is found out later, but a token of the other
    /// kind is told apart, good or not: whoever sends it has mistaken one for the other.
    fn refresh_token_of(&self, headers: &HeaderMap) -> Result<Option<String>, Problem> {
        let token = match bearer(headers) {
            Ok(token) => token,
            Err(Reject::Missing) => return Ok(None),
            Err(reject) => return Err(reject.into()),
        };
        let now = self.callers.clock.now().seconds();
        match self.callers.verifier.verify(token, &self.callers.keys.at(now).keyring, now) {
            Ok(_) => Err(Reject::WrongType.into()),
            Err(Reject::Malformed | Reject::TooLarge) => {
                Ok(Some(String::from_utf8_lossy(token).into_owned()))
            }
            Err(reject) => Err(reject.into()),
        }
    }

    async fn log_out(
        &self,
        caller: Result<Caller, Problem>,
        refresh_token: Option<String>,
        everywhere: bool,
        client: &Client,
        headers: &HeaderMap,
    ) -> Result<Response, Problem> {
        let grants = &self.sessions.grants;
        // As for a refresh; anything else in that header is no reason to leave the cookie's session alone.
        let genuine = |token: &&str| RefreshToken::verify(token, &grants.cookie.ring).is_ok();
        let bearer = bearer(headers).ok().and_then(|token| std::str::from_utf8(token).ok()).filter(genuine);
        let named = refresh_token.or_else(|| bearer.map(str::to_owned));
        self.sessions.log_out(caller, named, everywhere, client, headers).await?;
        let cookie = grants.cleared_cookie(headers).map(|cookie| (SET_COOKIE, cookie));
        Ok((AppendHeaders(cookie), Json(MessageBody { message: "Logged out" })).into_response())
    }
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ApiAuthLogout)]
pub(super) struct LogoutBody {
    /// Instead of the `Authorization` header or the cookie.
    #[serde(default)]
    refresh_token: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiAuthMessage)]
pub(super) struct MessageBody {
    #[schema(value_type = String)]
    pub(super) message: &'static str,
}

/// End the session. Without a token there is nothing to end, which is what the caller wanted.
#[utoipa::path(post, path = "/api/auth/logout", operation_id = "api_auth_logout", tag = "compatible",
    request_body(content = Option<LogoutBody>),
    responses(
        (status = 200, body = MessageBody,
         description = "Logged out, or was not logged in; the cookie is cleared, unless another site's page asks"),
        (status = 403, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`cross_site`: a page that may not use the cookie"),
    ),
)]
pub(super) async fn logout(
    State(compat): State<Compat>,
    caller: Result<Caller, Problem>,
    client: Client,
    headers: HeaderMap,
    JsonOrEmpty(body): JsonOrEmpty<LogoutBody>,
) -> Result<Response, Problem> {
    compat.api_auth.log_out(caller, body.refresh_token, false, &client, &headers).await
}

/// End every session of the user.
#[utoipa::path(post, path = "/api/auth/logout-all", operation_id = "api_auth_logout_all", tag = "compatible",
    request_body(content = Option<LogoutBody>),
    responses(
        (status = 200, body = MessageBody,
         description = "Logged out, or was not logged in; the cookie is cleared, unless another site's page asks"),
        (status = 403, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`cross_site`: a page that may not use the cookie"),
    ),
)]
pub(super) async fn logout_all(
    State(compat): State<Compat>,
    caller: Result<Caller, Problem>,
    client: Client,
    headers: HeaderMap,
    JsonOrEmpty(body): JsonOrEmpty<LogoutBody>,
) -> Result<Response, Problem> {
    compat.api_auth.log_out(caller, body.refresh_token, true, &client, &headers).await
}

/// Where one is logged in, newest first.
#[utoipa::path(get, path = "/api/auth/sessions", operation_id = "api_auth_sessions", tag = "compatible",
    security(("bearer" = [])), responses((status = 200, body = SessionsBody)),
)]
pub(super) async fn list(
    State(compat): State<Compat>,
    caller: Caller,
) -> Result<Json<SessionsBody>, Problem> {
    compat.api_auth.sessions.of(caller).await.map(Json)
}

/// End one of one's own sessions.
#[utoipa::path(delete, path = "/api/auth/sessions/{id}", operation_id = "api_auth_end_session", tag = "compatible",
    security(("bearer" = [])), params(("id" = String, Path, description = "As the list shows it")),
    responses((status = 204, description = "Ended"), (status = 404, description = "No live session of the caller's")),
)]
pub(super) async fn end(
    State(compat): State<Compat>,
    caller: Caller,
    client: Client,
    id: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let id = id.ok().and_then(|Path(id)| SessionId::parse(&id));
    compat.api_auth.sessions.end_own(caller, id, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}
