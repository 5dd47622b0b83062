//! The sessions' routes: refresh, logout, and the list of where one is logged in.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRef, Path, State};
use axum::response::{AppendHeaders, IntoResponse, Response};
use countersign_claims::Reject;
use http::header::SET_COOKIE;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::grant::{Delivery, Grants, TokenBody};
use super::{
    Caller, Callers, Forged, Metrics, Outcome, RefreshToken, Refusal, Rules, SessionId, ending, store,
};
use crate::accounts::UserId;
use crate::ambient::Clock;
use crate::audit::{self, Kind, Origin};
use crate::db::{Db, Error, Tx};
use crate::web::{Client, JsonOrEmpty, Problem, Reason, TrustedProxies};

pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Db: FromRef<S>,
    Clock: FromRef<S>,
    Grants: FromRef<S>,
    Callers: FromRef<S>,
    TrustedProxies: FromRef<S>,
    Metrics: FromRef<S>,
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

/// Where a refresh token was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carrier {
    Body,
    Cookie,
}

/// The refresh token of the body or of the cookie, not two different ones; a cookie only from pages that may use it.
/// Whatever is wrong with the token, presenting it again does not help.
fn presented(
    grants: &Grants,
    headers: &HeaderMap,
    body: Option<String>,
) -> Result<(RefreshToken, Carrier), Problem> {
    let (text, carrier) = match (
        body,
        grants.cookie.get(headers).map_err(|reject| Problem::from(reject).as_invalid_grant())?,
    ) {
        (Some(body), Some(cookie)) if body != cookie => {
            return Err(Problem::from(Reject::AmbiguousCredentials).as_invalid_grant());
        }
        (Some(token), _) => (token, Carrier::Body),
        (None, Some(token)) => {
            grants.origins.check(headers)?;
            (token.to_owned(), Carrier::Cookie)
        }
        (None, None) => return Err(Problem::from(Reject::Missing).as_invalid_grant()),
    };
    match RefreshToken::verify(&text, &grants.cookie.ring) {
        Ok(token) => Ok((token, carrier)),
        Err(Forged) => Err(refused(grants, &Refusal::Unknown)),
    }
}

/// The refusal, and the cookie that led to it is taken back.
fn refused(grants: &Grants, refusal: &Refusal) -> Problem {
    let problem = match refusal {
        Refusal::Unknown => Problem::new(Reason::RefreshInvalid),
        Refusal::Expired => Problem::new(Reason::SessionExpired),
        Refusal::Revoked => Problem::new(Reason::SessionRevoked),
        Refusal::AccountInactive => Problem::new(Reason::AccountInactive),
        Refusal::Reused(_) => Problem::new(Reason::RefreshReused),
    };
    problem.as_invalid_grant().with_cookie(grants.cookie.clear())
}

/// Exchange the refresh token for a new access token and the next refresh token.
#[utoipa::path(post, path = "/v1/auth/refresh", tag = "sessions", request_body(content = Option<RefreshBody>), responses(
    (status = 200, body = TokenBody, description = "New tokens; the next refresh token as the last one came"),
    (status = 400, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "The refresh token is not good (RFC 6749 §5.2: `error` is `invalid_grant`); do not try again"),
))]
async fn refresh(
    State(db): State<Db>,
    State(grants): State<Grants>,
    State(metrics): State<Metrics>,
    client: Client,
    headers: HeaderMap,
    JsonOrEmpty(body): JsonOrEmpty<RefreshBody>,
) -> Result<Response, Problem> {
    let asked = body.refresh_token_in_body;
    let presented = presented(&grants, &headers, body.refresh_token);
    let (token, carrier) = presented.map_err(|problem| metrics.refused(problem))?;
    // User and key are looked up before the counter moves: what fails until then has changed nothing.
    let Some((session, user)) = store::find_with_user(db.reads(), &token.session_id).await? else {
        return Err(metrics.refused(refused(&grants, &Refusal::Unknown)));
    };
    let signer = grants.signer()?;
    let origin = Origin::request(audit::Actor::User(session.user_id), &client);
    let rules = grants.rules;
    let outcome = db.write(async move |tx| {
        let outcome = store::rotate_refresh(tx, &token, rules).await?;
        if let Outcome::Refused(Refusal::Reused(session)) = &outcome {
            ending::end_reused(tx, session, &origin, rules).await?;
        }
        Ok(outcome)
    });
    let outcome = outcome.await?;
    metrics.count(&outcome);
    let session = match outcome {
        Outcome::Rotated(session) | Outcome::Repeated(session) => session,
        Outcome::Refused(refusal) => return Err(refused(&grants, &refusal)),
    };
    let delivery = match carrier {
        Carrier::Body => Delivery::of(&headers, asked),
        Carrier::Cookie if asked => Delivery::BodyAndCookie,
        Carrier::Cookie => Delivery::Cookie,
    };
    Ok(grants.answer(&signer, StatusCode::OK, &user, &session, delivery, false)?)
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
    (status = 204, description = "Logged out, or was not logged in; the cookie is cleared"),
))]
async fn logout(
    State(db): State<Db>,
    State(grants): State<Grants>,
    caller: Result<Caller, Problem>,
    client: Client,
    headers: HeaderMap,
    JsonOrEmpty(body): JsonOrEmpty<LogoutBody>,
) -> Result<Response, Problem> {
    let rules = grants.rules;
    let everywhere = body.all_devices;
    match caller {
        Ok(Caller { user, session, .. }) => {
            let origin = Origin::request(audit::Actor::User(user.id.clone()), &client);
            db.write(async move |tx| log_out(tx, &user.id, &session.id, everywhere, &origin, rules).await)
                .await?;
        }
        Err(problem) if problem.is_unavailable() => return Err(problem),
        Err(_) => {
            if body.refresh_token.is_none() && grants.cookie.get(&headers) != Ok(None) {
                // A page that may not use the cookie may not log its owner out either.
                grants.origins.check(&headers)?;
            }
            if let Ok((token, _)) = presented(&grants, &headers, body.refresh_token) {
                db.write(async move |tx| log_out_with(tx, &token, everywhere, &client, rules).await).await?;
            }
        }
    }
    let cookie = grants.cookie.clear();
    Ok((StatusCode::NO_CONTENT, AppendHeaders([(SET_COOKIE, cookie)])).into_response())
}

/// Ends this session, or every session of its owner.
async fn log_out(
    tx: &mut Tx<'_>,
    owner: &UserId,
    session: &SessionId,
    everywhere: bool,
    origin: &Origin,
    rules: Rules,
) -> Result<(), Error> {
    if everywhere {
        ending::end_all(tx, owner, Kind::Logout, origin, rules).await
    } else {
        ending::end_one(tx, owner, session, Kind::Logout, origin, rules).await.map(drop)
    }
}

/// Ends what a refresh token may end. One that was rotated away ends its session, as any use of it does, but speaks for
/// nothing else.
async fn log_out_with(
    tx: &mut Tx<'_>,
    token: &RefreshToken,
    everywhere: bool,
    client: &Client,
    rules: Rules,
) -> Result<(), Error> {
    match store::judge_refresh(tx, token, rules).await? {
        Outcome::Rotated(session) | Outcome::Repeated(session) => {
            let origin = Origin::request(audit::Actor::User(session.user_id.clone()), client);
            log_out(tx, &session.user_id, &session.id, everywhere, &origin, rules).await
        }
        Outcome::Refused(Refusal::Reused(session)) => {
            let origin = Origin::request(audit::Actor::User(session.user_id.clone()), client);
            ending::end_reused(tx, &session, &origin, rules).await
        }
        Outcome::Refused(_) => Ok(()),
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Session)]
struct SessionBody {
    id: String,
    /// What the client calls itself.
    device: String,
    ip: Option<String>,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339.
    last_used_at: String,
    /// RFC 3339; a refresh moves it on.
    expires_at: String,
    /// Whether it is the caller's own.
    current: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Sessions)]
struct SessionsBody {
    sessions: Vec<SessionBody>,
}

/// Where one is logged in, newest first.
#[utoipa::path(get, path = "/v1/auth/sessions", tag = "sessions", security(("bearer" = [])), responses(
    (status = 200, body = SessionsBody),
))]
async fn list(
    State(db): State<Db>,
    State(clock): State<Clock>,
    caller: Caller,
) -> Result<Json<SessionsBody>, Problem> {
    let caller = caller.in_person()?;
    let sessions = store::list_live(db.reads(), &caller.user.id, clock.now()).await?;
    let sessions = sessions.into_iter().map(|session| SessionBody {
        current: session.id == caller.session.id,
        expires_at: session.refreshable_until().to_string(),
        created_at: session.created_at.to_string(),
        last_used_at: session.last_used_at.to_string(),
        id: session.id.to_string(),
        device: session.device,
        ip: session.ip,
    });
    Ok(Json(SessionsBody { sessions: sessions.collect() }))
}

/// End one of one's own sessions.
#[utoipa::path(delete, path = "/v1/auth/sessions/{id}", tag = "sessions", security(("bearer" = [])),
    params(("id" = String, Path, description = "As the list shows it")),
    responses((status = 204, description = "Ended"), (status = 404, description = "No live session of the caller's")),
)]
async fn end(
    State(db): State<Db>,
    State(grants): State<Grants>,
    caller: Caller,
    client: Client,
    id: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let user_id = caller.in_person()?.user.id;
    let none = || Problem::new(Reason::NotFound);
    let id = id.ok().and_then(|Path(id)| SessionId::parse(&id)).ok_or_else(none)?;
    let origin = Origin::request(audit::Actor::User(user_id.clone()), &client);
    let rules = grants.rules;
    let ended = db
        .write(async move |tx| ending::end_one(tx, &user_id, &id, Kind::SessionEnded, &origin, rules).await);
    if ended.await? { Ok(StatusCode::NO_CONTENT) } else { Err(none()) }
}
