//! The login's route.

use axum::extract::{FromRef, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::metrics::Word;
use super::{Attempt, Metrics, attempt};
use crate::accounts::{self, UserId};
use crate::audit::{self, Event, Kind, Origin};
use crate::db::Db;
use crate::passwords::{Hasher, Password};
use crate::sessions::grant::{Delivery, Grants, TokenBody};
use crate::web::{Check, Client, JsonBody, Problem, Reason, TrustedProxies};

pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Db: FromRef<S>,
    Hasher: FromRef<S>,
    Grants: FromRef<S>,
    Metrics: FromRef<S>,
    TrustedProxies: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(login))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = Login)]
struct LoginBody {
    #[schema(required)]
    #[serde(default)]
    email: String,
    #[schema(required, value_type = String)]
    #[serde(default)]
    password: Password,
    /// Let the refresh cookie outlive the browser's session.
    #[serde(default)]
    persist_session: bool,
    /// Ask for the refresh token in the body, too, from a page in a browser.
    #[serde(default)]
    refresh_token_in_body: bool,
}

/// Log in with e-mail and password.
#[utoipa::path(post, path = "/v1/auth/login", tag = "login", request_body = LoginBody, responses(
    (status = 200, body = TokenBody),
    (status = 401, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`invalid_credentials`: no such account, or not its password"),
    (status = 403, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`account_inactive` `email_not_verified`, told only to who knows the password"),
))]
async fn login(
    State(db): State<Db>,
    State(hasher): State<Hasher>,
    State(grants): State<Grants>,
    State(metrics): State<Metrics>,
    client: Client,
    headers: HeaderMap,
    JsonBody(body): JsonBody<LoginBody>,
) -> Result<Response, Problem> {
    let mut check = Check::default();
    let given = |present: bool| if present { Ok(()) } else { Err("is required") };
    let email = check.field("email", given(!body.email.is_empty()));
    let password = check.field("password", given(!body.password.is_empty()));
    let (Some(()), Some(())) = (email, password) else { return Err(check.refusal()) };
    let verified_only = grants.rules.verified_only;
    match attempt(&db, &hasher, &grants.ids.entropy, &body.email, body.password, verified_only).await? {
        Attempt::Proved(user, credential) => {
            let signer = grants.signer()?;
            let opening = grants.opening(user.id.clone(), &client, &headers, body.persist_session);
            let (id, epoch) = (user.id.clone(), credential.epoch);
            let granted = db.write(async move |tx| {
                if !accounts::store::claim_login(tx, &id, epoch).await? {
                    return Ok(None);
                }
                opening.begin(tx, Kind::Login).await.map(Some)
            });
            let Some(session) = granted.await? else {
                // Since the password was checked, the account was closed or all its logins were ended.
                return refuse(&db, &metrics, Word::wrong, Some(user.id), &client).await;
            };
            metrics.count(Word::granted);
            let delivery = Delivery::of(&headers, body.refresh_token_in_body);
            Ok(grants.answer(&signer, StatusCode::OK, &user, &session, delivery, true)?)
        }
        Attempt::Inactive(user) => refuse(&db, &metrics, Word::inactive, Some(user.id), &client).await,
        Attempt::Unverified(user) => refuse(&db, &metrics, Word::unverified, Some(user.id), &client).await,
        Attempt::Wrong(user) => refuse(&db, &metrics, Word::wrong, user.map(|user| user.id), &client).await,
    }
}

/// The refusal, once its event is written.
async fn refuse(
    db: &Db,
    metrics: &Metrics,
    word: Word,
    subject: Option<UserId>,
    client: &Client,
) -> Result<Response, Problem> {
    let (kind, reason) = match word {
        Word::inactive => (Kind::LoginBlocked, Reason::AccountInactive),
        Word::unverified => (Kind::LoginBlocked, Reason::EmailNotVerified),
        Word::wrong | Word::granted => (Kind::LoginFailed, Reason::InvalidCredentials),
    };
    let origin = Origin::request(audit::Actor::Stranger, client);
    db.write(async move |tx| {
        let event = Event { kind, subject: subject.as_ref(), session_id: None, origin: &origin };
        audit::store::record(tx, event).await
    })
    .await?;
    metrics.count(word);
    Err(Problem::new(reason))
}
