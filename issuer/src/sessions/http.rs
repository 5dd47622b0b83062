//! The sessions' routes: refresh, logout, and the list of where one is logged in.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::routing::{delete, get, post};
use countersign_claims::Reject;
use http::header::SET_COOKIE;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::grant::{self, Delivery};
use super::{Lifetimes, Outcome, RefreshToken, Refusal, Session, judge, store};
use crate::app::App;
use crate::http::{ApiError, Caller, Client, JsonOrEmpty, origin, refresh_cookie, rfc3339};

pub fn routes() -> axum::Router<App> {
    axum::Router::new()
        .route("/v1/auth/refresh", post(refresh))
        .route("/v1/auth/logout", post(logout))
        .route("/v1/auth/sessions", get(list))
        .route("/v1/auth/sessions/{id}", delete(end))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RefreshBody {
    refresh_token: Option<String>,
}

/// A refresh token as it came in.
struct Presented {
    token: RefreshToken,
    delivery: Delivery,
}

/// The refresh token of the body or of the cookie, not two different ones; a cookie only from our own pages.
fn presented(app: &App, headers: &HeaderMap, body: Option<String>) -> Result<Presented, ApiError> {
    let (text, delivery) = match (body, refresh_cookie::get(headers)?) {
        (Some(body), Some(cookie)) if body != cookie => return Err(Reject::AmbiguousCredentials.into()),
        (Some(token), _) => (token, Delivery::BodyAndCookie),
        (None, Some(token)) => {
            origin::check(headers, &app.settings.server.public_url)?;
            (token, Delivery::Cookie)
        }
        (None, None) => return Err(Reject::Missing.into()),
    };
    let token = app.settings.secrets.iter().find_map(|secret| RefreshToken::verify(&text, secret).ok());
    match token {
        Some(token) => Ok(Presented { token, delivery }),
        None => Err(refused(app, &Refusal::Unknown)),
    }
}

/// 401, and the cookie that led to it is taken back.
fn refused(app: &App, refusal: &Refusal) -> ApiError {
    let reason = match refusal {
        Refusal::Unknown => "refresh_invalid",
        Refusal::Expired => "session_expired",
        Refusal::Revoked => "session_revoked",
        Refusal::AccountInactive => "account_inactive",
        Refusal::Reused(_) => "refresh_reused",
    };
    ApiError::unauthorized(reason, "Authentication required")
        .with_cookie(refresh_cookie::clear(app.settings.cookies.secure))
}

fn note_reuse(refusal: &Refusal, client: &Client) {
    if let Refusal::Reused(session) = refusal {
        let (user_id, session_id) = (&session.user_id, &session.id);
        tracing::warn!(target: "audit", event = "refresh_reused", user_id, session_id, ip = client.ip(), "session revoked");
    }
}

/// POST /v1/auth/refresh
async fn refresh(
    State(app): State<App>,
    client: Client,
    headers: HeaderMap,
    JsonOrEmpty(body): JsonOrEmpty<RefreshBody>,
) -> Result<Response, ApiError> {
    let Presented { token, delivery } = presented(&app, &headers, body.refresh_token)?;
    let lifetimes = Lifetimes::from(&app.settings.sessions);
    let outcome = store::rotate_refresh(&app.db, &token, app.clock.now(), lifetimes).await?;
    let session = match outcome {
        Outcome::Rotated(session) | Outcome::Repeated(session) => session,
        Outcome::Refused(refusal) => {
            note_reuse(&refusal, &client);
            return Err(refused(&app, &refusal));
        }
    };
    let user = crate::accounts::store::find(&app.db, &session.user_id).await?;
    let user = user.ok_or_else(|| refused(&app, &Refusal::Unknown))?;
    grant::renew(&app, &user, &session, delivery)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LogoutBody {
    all_devices: bool,
    refresh_token: Option<String>,
}

/// POST /v1/auth/logout
///
/// The session is named by the access token or, if that is missing or no longer good, by the refresh token.
async fn logout(
    State(app): State<App>,
    caller: Result<Caller, ApiError>,
    client: Client,
    headers: HeaderMap,
    JsonOrEmpty(body): JsonOrEmpty<LogoutBody>,
) -> Result<Response, ApiError> {
    let now = app.clock.now();
    let has_refresh_token = body.refresh_token.is_some() || refresh_cookie::get(&headers) != Ok(None);
    let session = match caller {
        Ok(caller) => Some(caller.session),
        Err(refusal) if !has_refresh_token => return Err(refusal),
        Err(_) => {
            let presented = presented(&app, &headers, body.refresh_token)?;
            session_of(&app, &presented.token, &client).await?
        }
    };
    if let Some(Session { id, user_id, .. }) = session {
        if body.all_devices {
            store::revoke_all(&app.db, &user_id, now).await?;
        } else {
            store::revoke(&app.db, &id, now).await?;
        }
        let (session_id, all_devices) = (id, body.all_devices);
        tracing::info!(target: "audit", event = "logout", user_id, session_id, all_devices, ip = client.ip(), "logged out");
    }
    let cookie = refresh_cookie::clear(app.settings.cookies.secure);
    Ok((StatusCode::NO_CONTENT, AppendHeaders([(SET_COOKIE, cookie)])).into_response())
}

/// The session that a refresh token may end; `None` if it has ended already, which is what the caller wants.
///
/// A token that was rotated away ends its session, as any use of it does, but speaks for nothing else.
async fn session_of(app: &App, token: &RefreshToken, client: &Client) -> Result<Option<Session>, ApiError> {
    let now = app.clock.now();
    let Some((session, _)) = store::find_with_user(&app.db, &token.session_id).await? else {
        return Ok(None);
    };
    match judge(session, true, token.counter, now, app.settings.sessions.refresh_grace) {
        Outcome::Rotated(session) | Outcome::Repeated(session) => Ok(Some(session)),
        Outcome::Refused(refusal @ Refusal::Reused(_)) => {
            store::revoke(&app.db, &token.session_id, now).await?;
            note_reuse(&refusal, client);
            Err(refused(app, &refusal))
        }
        Outcome::Refused(_) => Ok(None),
    }
}

#[derive(Debug, Serialize)]
struct SessionBody {
    id: String,
    device: String,
    ip: Option<String>,
    created_at: String,
    last_used_at: String,
    expires_at: String,
    current: bool,
}

#[derive(Debug, Serialize)]
struct SessionsBody {
    sessions: Vec<SessionBody>,
}

/// GET /v1/auth/sessions
async fn list(State(app): State<App>, caller: Caller) -> Result<Json<SessionsBody>, ApiError> {
    let sessions = store::list_live(&app.db, &caller.user.id, app.clock.now()).await?;
    let sessions = sessions.into_iter().map(|session| SessionBody {
        current: session.id == caller.session.id,
        expires_at: rfc3339(session.refreshable_until()),
        created_at: rfc3339(session.created_at),
        last_used_at: rfc3339(session.last_used_at),
        id: session.id,
        device: session.device,
        ip: session.ip,
    });
    Ok(Json(SessionsBody { sessions: sessions.collect() }))
}

/// DELETE /v1/auth/sessions/{id}: 404 for a session that is not the caller's, as for one that is not.
async fn end(
    State(app): State<App>,
    caller: Caller,
    client: Client,
    id: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, ApiError> {
    let id = id.ok().and_then(|Path(id)| Uuid::try_parse(&id).ok()).ok_or_else(ApiError::not_found)?;
    let id = id.hyphenated().to_string();
    if !store::revoke_own(&app.db, &caller.user.id, &id, app.clock.now()).await? {
        return Err(ApiError::not_found());
    }
    let (user_id, session_id) = (&caller.user.id, id.as_str());
    tracing::info!(target: "audit", event = "session_ended", user_id, session_id, ip = client.ip(), "session ended");
    Ok(StatusCode::NO_CONTENT)
}
