//! What a caller who proved who they are is given: a session, an access token for it, and the refresh token in
//! body and cookie. The one place that answers with tokens.

use axum::Json;
use axum::response::{AppendHeaders, IntoResponse, Response};
use http::StatusCode;
use http::header::SET_COOKIE;
use serde::Serialize;

use super::{Lifetimes, RefreshToken, Session, store};
use crate::accounts::{User, UserBody};
use crate::app::App;
use crate::http::{ApiError, Client, refresh_cookie};
use crate::tokens;

/// The answer to register, login and refresh (RFC 6749 §5.1, and the user).
#[derive(Debug, Serialize)]
struct TokenBody {
    access_token: String,
    token_type: &'static str,
    /// Seconds.
    expires_in: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<UserBody>,
}

/// How the refresh token reaches the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    BodyAndCookie,
    /// The client keeps it in the cookie, out of the reach of scripts; the body must not hand it to them.
    Cookie,
}

/// Begins a session for a user who has just proved who they are, and answers with its tokens.
///
/// # Errors
/// 503 if no key signs now; those of the database.
pub async fn open(
    app: &App,
    status: StatusCode,
    user: User,
    client: Client,
    persistent: bool,
) -> Result<Response, ApiError> {
    let now = app.clock.now();
    let lifetimes = Lifetimes::from(&app.settings.sessions);
    let session = Session {
        id: app.new_id(),
        user_id: user.id.clone(),
        counter: 0,
        created_at: now,
        last_used_at: now,
        rotated_at: None,
        idle_expires_at: now.saturating_add(lifetimes.idle.min(lifetimes.total)),
        expires_at: now.saturating_add(lifetimes.total),
        revoked_at: None,
        persistent,
        amr: vec!["pwd".into()],
        device: client.device,
        ip: client.ip.map(|ip| ip.to_string()),
    };
    // Signed before it is stored: without a key there is no login, and no row either.
    let access_token = tokens::issue(app, &user, &session)?;
    store::create(&app.db, &session).await?;
    let body = Some(UserBody::new(user, &app.settings.roles));
    Ok(answer(app, status, &session, access_token, Delivery::BodyAndCookie, body))
}

/// Answers with new tokens for a session that goes on.
///
/// # Errors
/// 503 if no key signs now.
pub fn renew(app: &App, user: &User, session: &Session, delivery: Delivery) -> Result<Response, ApiError> {
    let access_token = tokens::issue(app, user, session)?;
    Ok(answer(app, StatusCode::OK, session, access_token, delivery, None))
}

fn answer(
    app: &App,
    status: StatusCode,
    session: &Session,
    access_token: String,
    delivery: Delivery,
    user: Option<UserBody>,
) -> Response {
    let token = RefreshToken { session_id: session.id.clone(), counter: session.counter };
    let token = token.sign(&app.settings.secrets.current);
    let max_age = session.persistent.then(|| session.refreshable_until().saturating_sub(app.clock.now()));
    let cookie = refresh_cookie::set(&token, max_age, app.settings.cookies.secure);
    let body = TokenBody {
        access_token,
        token_type: "bearer",
        expires_in: app.settings.tokens.access_lifetime,
        refresh_token: (delivery == Delivery::BodyAndCookie).then_some(token),
        user,
    };
    (status, AppendHeaders([(SET_COOKIE, cookie)]), Json(body)).into_response()
}
