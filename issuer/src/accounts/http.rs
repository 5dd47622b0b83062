//! The accounts' routes: register, and oneself.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRef, State};
use axum::response::{AppendHeaders, IntoResponse as _, Response};
use countersign_claims::Reject;
use http::header::SET_COOKIE;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::standing::{self, LastAdmin, Outcome};
use super::{Applicant, Name, Registered, Registration, Registrations, UserBody, parse_phone, store};
use crate::audit::{Actor, Origin};
use crate::config::Roles;
use crate::db::Db;
use crate::login::Logins;
use crate::mfa::Code;
use crate::passwords::Password;
use crate::sessions::grant::{Delivery, TokenBody};
use crate::sessions::{Caller, Callers};
use crate::web::{Check, Client, JsonBody, Problem, Reason, TrustedProxies};

pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Db: FromRef<S>,
    Registrations: FromRef<S>,
    Logins: FromRef<S>,
    Callers: FromRef<S>,
    Arc<Roles>: FromRef<S>,
    TrustedProxies: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(register)).routes(routes!(me, change_me, delete_me))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = Register)]
struct RegisterBody {
    #[schema(required, example = "grace@example.com")]
    #[serde(default)]
    email: String,
    #[schema(required, value_type = String, example = "a calm orange lighthouse")]
    #[serde(default)]
    password: Password,
    #[schema(required, example = "Grace")]
    #[serde(default)]
    name: String,
    /// Empty means not given.
    #[serde(default)]
    phone: Option<String>,
    /// Ask for the refresh token in the body, too, from a page in a browser.
    #[serde(default)]
    refresh_token_in_body: bool,
}

/// Make an account and log in.
///
/// Where addresses are verified first, the account is closed until its address is, and the answer is the same whether
/// there was an account with this address or not: what there is to say is in the message that is sent to it.
#[utoipa::path(post, path = "/v1/auth/register", tag = "accounts", request_body = RegisterBody, responses(
    (status = 201, body = TokenBody, description = "The account, and tokens for it"),
    (status = 202, body = PendingBody, description = "Verify the address first: a link was sent to it"),
    (status = 409, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`email_taken`"),
    (status = 429, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`rate_limited`: too many registrations from one network; `Retry-After` tells the seconds to wait"),
))]
async fn register(
    State(registrations): State<Registrations>,
    client: Client,
    headers: HeaderMap,
    JsonBody(body): JsonBody<RegisterBody>,
) -> Result<Response, Problem> {
    let RegisterBody { email, password, name, phone, refresh_token_in_body } = body;
    let applicant = Applicant { email, password, name, phone };
    match registrations.register(applicant, &client, &headers).await? {
        Registration::Done(registered) => {
            let Registered { signer, user, session } = *registered;
            let delivery = Delivery::of(&headers, refresh_token_in_body);
            let grants = &registrations.grants;
            Ok(grants.answer(&signer, StatusCode::CREATED, &user, &session, delivery, true)?)
        }
        Registration::Pending => {
            let body = PendingBody { status: "verification_required" };
            Ok((StatusCode::ACCEPTED, Json(body)).into_response())
        }
    }
}

/// The answer where addresses are verified first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Pending)]
struct PendingBody {
    /// `verification_required`.
    status: &'static str,
}

/// Oneself.
#[utoipa::path(get, path = "/v1/users/me", tag = "accounts", security(("bearer" = [])), responses(
    (status = 200, body = UserBody),
))]
async fn me(State(roles): State<Arc<Roles>>, caller: Caller) -> Json<UserBody> {
    Json(UserBody::new(caller.user, &roles))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = Profile)]
struct ProfileBody {
    #[serde(default)]
    name: Option<String>,
    /// Absent keeps the number; null or empty takes it away.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    phone: Option<Option<String>>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Change one's name or telephone number.
#[utoipa::path(patch, path = "/v1/users/me", tag = "accounts", request_body = ProfileBody,
    security(("bearer" = [])), responses((status = 200, body = UserBody)),
)]
async fn change_me(
    State(db): State<Db>,
    State(roles): State<Arc<Roles>>,
    caller: Caller,
    JsonBody(body): JsonBody<ProfileBody>,
) -> Result<Json<UserBody>, Problem> {
    let id = caller.in_person()?.user.id;
    let mut check = Check::default();
    let name = check.field("name", body.name.as_deref().map(Name::parse).transpose());
    let phone = body.phone.map(|phone| parse_phone(phone.as_deref().unwrap_or_default())).transpose();
    let phone = check.field("phone", phone);
    let (Some(name), Some(phone)) = (name, phone) else { return Err(check.refusal()) };
    let changed =
        db.write(async move |tx| store::update_profile(tx, &id, name.as_ref(), phone.as_ref()).await);
    let user = changed.await?.ok_or_else(|| Problem::new(Reason::NotFound))?;
    Ok(Json(UserBody::new(user, &roles)))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = Deletion)]
struct DeletionBody {
    #[schema(required, value_type = String)]
    #[serde(default)]
    password: Password,
    /// Of the authenticator app, or a backup code: needed by who has a second factor.
    #[serde(default)]
    code: Option<String>,
}

/// Delete one's account, for good.
///
/// Every session ends. What happened to the account stays in the audit, under its id.
#[utoipa::path(delete, path = "/v1/users/me", tag = "accounts", request_body = DeletionBody,
    security(("bearer" = [])), responses(
    (status = 204, description = "Deleted; the cookie is cleared"),
    (status = 403, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`wrong_code`"),
    (status = 409, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`last_admin`"),
    (status = 422, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`invalid_fields`: not the password of this account"),
    (status = 429, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`rate_limited`: too many failures; `Retry-After` tells the seconds to wait"),
))]
async fn delete_me(
    State(logins): State<Logins>,
    caller: Caller,
    client: Client,
    JsonBody(body): JsonBody<DeletionBody>,
) -> Result<Response, Problem> {
    let user = caller.in_person()?.user;
    if body.password.is_empty() {
        return Err(Problem::invalid_field("password", "is required"));
    }
    let code = match (user.mfa_enabled, body.code.as_deref()) {
        (false, _) => None,
        (true, None | Some("")) => return Err(Problem::invalid_field("code", "is required")),
        (true, Some(code)) => Some(Code::parse(code)?),
    };
    let actor = Actor::User(user.id.clone());
    let origin = Origin::request(actor.clone(), &client);
    let Some(credential) = logins.confirm(&user, body.password, &client, actor).await? else {
        return Err(Problem::invalid_field("password", "is not the password of this account"));
    };
    let counted = logins.limits.code(&user.id, client.ip);
    let Logins { db, grants, mfa, .. } = logins;
    let (id, rules) = (user.id, grants.rules);
    let deleted = db.write(async move |tx| {
        // Ahead of the account's row, as whoever else may take an administrator away.
        store::hold_administrators(tx).await?;
        // Since the password was checked, it may have been changed, or every login ended.
        if !store::claim_login(tx, &id, credential.epoch).await? {
            return Ok(Ok(Outcome::Unknown));
        }
        if let Some(code) = &code
            && let Err(refusal) = mfa.check(tx, &id, code, &counted, &origin).await?
        {
            return Ok(Err(refusal));
        }
        standing::delete(tx, &id, LastAdmin::MustStay, &origin, rules).await.map(Ok)
    });
    match deleted.await?? {
        Outcome::Done(_) | Outcome::AlreadySo(_) => {
            let cookie = grants.cookie.clear();
            Ok((StatusCode::NO_CONTENT, AppendHeaders([(SET_COOKIE, cookie)])).into_response())
        }
        Outcome::Refused => Err(Problem::new(Reason::LastAdmin)),
        Outcome::Unknown => Err(Reject::Revoked.into()),
    }
}
