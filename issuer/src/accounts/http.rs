//! The accounts' routes: register, and oneself.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRef, State};
use axum::response::{AppendHeaders, IntoResponse as _, Response};
use countersign_claims::Reject;
use http::header::SET_COOKIE;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::standing::{self, LastAdmin, Outcome};
use super::{Email, Name, NewUser, UserBody, UserId, parse_phone, store};
use crate::access;
use crate::audit::{self, Actor, Event, Kind, Origin};
use crate::config::Roles;
use crate::db::Db;
use crate::passwords::{Hasher, Password, Policy, StoredHash};
use crate::sessions::grant::{Delivery, Grants, TokenBody};
use crate::sessions::{Caller, Callers};
use crate::web::{Check, Client, JsonBody, Problem, Reason, TrustedProxies};

pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Db: FromRef<S>,
    Hasher: FromRef<S>,
    Policy: FromRef<S>,
    Grants: FromRef<S>,
    Callers: FromRef<S>,
    Arc<Roles>: FromRef<S>,
    TrustedProxies: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(register)).routes(routes!(me, change_me, delete_me))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = Register)]
struct RegisterBody {
    #[schema(required)]
    #[serde(default)]
    email: String,
    #[schema(required, value_type = String)]
    #[serde(default)]
    password: Password,
    #[schema(required)]
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
#[utoipa::path(post, path = "/v1/auth/register", tag = "accounts", request_body = RegisterBody, responses(
    (status = 201, body = TokenBody, description = "The account, and tokens for it"),
    (status = 409, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`email_taken`"),
))]
async fn register(
    State(db): State<Db>,
    State(hasher): State<Hasher>,
    State(policy): State<Policy>,
    State(grants): State<Grants>,
    client: Client,
    headers: HeaderMap,
    JsonBody(body): JsonBody<RegisterBody>,
) -> Result<Response, Problem> {
    let mut check = Check::default();
    let email = check.field("email", Email::parse(&body.email));
    let name = check.field("name", Name::parse(&body.name));
    let phone = check.field("phone", parse_phone(body.phone.as_deref().unwrap_or_default()));
    let long_enough = check.field("password", body.password.check_length(policy));
    let (Some(email), Some(name), Some(phone), Some(())) = (email, name, phone, long_enough) else {
        return Err(check.refusal());
    };
    // Only for what has passed so far: this is as costly as a login.
    let strength = hasher.check_strength(policy, body.password.clone(), email.clone(), name.clone()).await?;
    strength.map_err(|weak| Problem::invalid_field("password", weak))?;
    let password_hash = hasher.hash(body.password, grants.ids.entropy.bytes()).await?;
    let roles = vec![access::USER.to_owned()];
    let new = NewUser { id: UserId::new(grants.ids.uuid()), email, name, phone, password_hash, roles };
    let signer = grants.signer()?;
    let opening = grants.opening(new.id.clone(), &client, &headers, false);
    let registered = db.write(async move |tx| {
        let Some(user) = store::create(tx, &new).await? else { return Ok(None) };
        let session = opening.begin(tx, Kind::Registered).await?;
        Ok(Some((user, session)))
    });
    let (user, session) = registered.await?.ok_or_else(|| Problem::new(Reason::EmailTaken))?;
    let delivery = Delivery::of(&headers, body.refresh_token_in_body);
    Ok(grants.answer(&signer, StatusCode::CREATED, &user, &session, delivery, true)?)
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
}

/// Delete one's account, for good.
///
/// Every session ends. What happened to the account stays in the audit, under its id.
#[utoipa::path(delete, path = "/v1/users/me", tag = "accounts", request_body = DeletionBody,
    security(("bearer" = [])), responses(
    (status = 204, description = "Deleted; the cookie is cleared"),
    (status = 409, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`last_admin`"),
    (status = 422, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`invalid_fields`: not the password of this account"),
))]
async fn delete_me(
    State(db): State<Db>,
    State(hasher): State<Hasher>,
    State(grants): State<Grants>,
    caller: Caller,
    client: Client,
    JsonBody(body): JsonBody<DeletionBody>,
) -> Result<Response, Problem> {
    let Caller { user, session, .. } = caller.in_person()?;
    if body.password.is_empty() {
        return Err(Problem::invalid_field("password", "is required"));
    }
    let gone = || Problem::from(Reject::Revoked);
    let origin = Origin::request(Actor::User(user.id.clone()), &client);
    let found = store::find_with_credential(db.reads(), &user.id).await?;
    let (_, credential) = found.ok_or_else(gone)?;
    let stored = StoredHash { user_id: user.id.to_string(), phc: credential.password_hash };
    if !hasher.verify(body.password, Some(stored)).await?.matches {
        db.write(async move |tx| {
            let (kind, subject) = (Kind::LoginFailed, Some(&user.id));
            let event = Event { kind, subject, session_id: Some(session.id.as_str()), origin: &origin };
            audit::store::record(tx, event).await
        })
        .await?;
        return Err(Problem::invalid_field("password", "is not the password of this account"));
    }
    let (id, rules) = (user.id, grants.rules);
    let deleted = db.write(async move |tx| {
        // Ahead of the account's row, as whoever else may take an administrator away.
        store::hold_administrators(tx).await?;
        // Since the password was checked, it may have been changed, or every login ended.
        if !store::claim_login(tx, &id, credential.epoch).await? {
            return Ok(Outcome::Unknown);
        }
        standing::delete(tx, &id, LastAdmin::MustStay, &origin, rules).await
    });
    match deleted.await? {
        Outcome::Done(_) | Outcome::AlreadySo(_) => {
            let cookie = grants.cookie.clear();
            Ok((StatusCode::NO_CONTENT, AppendHeaders([(SET_COOKIE, cookie)])).into_response())
        }
        Outcome::Refused => Err(Problem::new(Reason::LastAdmin)),
        Outcome::Unknown => Err(gone()),
    }
}
