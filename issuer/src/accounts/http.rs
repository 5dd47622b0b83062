//! The accounts' routes: register, and oneself.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRef, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Email, Name, NewUser, UserBody, UserId, parse_phone, store};
use crate::access;
use crate::audit::{self, Actor, Event, Kind, Origin};
use crate::config::Roles;
use crate::db::Db;
use crate::mail;
use crate::passwords::{NewPasswords, Password};
use crate::sessions::grant::{Delivery, Grants, TokenBody};
use crate::sessions::{Caller, Callers};
use crate::verification::{self, Purpose, Request, Verification};
use crate::web::{Check, Client, JsonBody, Problem, Reason, TrustedProxies};

pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Db: FromRef<S>,
    NewPasswords: FromRef<S>,
    Grants: FromRef<S>,
    Callers: FromRef<S>,
    Arc<Roles>: FromRef<S>,
    Verification: FromRef<S>,
    TrustedProxies: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(register)).routes(routes!(me, change_me))
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
///
/// Where addresses are verified first, the account is closed until its address is, and the answer is the same whether
/// there was an account with this address or not: what there is to say is in the message that is sent to it.
#[utoipa::path(post, path = "/v1/auth/register", tag = "accounts", request_body = RegisterBody, responses(
    (status = 201, body = TokenBody, description = "The account, and tokens for it"),
    (status = 202, body = PendingBody, description = "Verify the address first: a link was sent to it"),
    (status = 409, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`email_taken`"),
))]
async fn register(
    State(db): State<Db>,
    State(passwords): State<NewPasswords>,
    State(grants): State<Grants>,
    State(verification): State<Verification>,
    client: Client,
    headers: HeaderMap,
    JsonBody(body): JsonBody<RegisterBody>,
) -> Result<Response, Problem> {
    let mut check = Check::default();
    let email = check.field("email", Email::parse(&body.email));
    let name = check.field("name", Name::parse(&body.name));
    let phone = check.field("phone", parse_phone(body.phone.as_deref().unwrap_or_default()));
    let long_enough = check.field("password", passwords.check_length(&body.password));
    let (Some(email), Some(name), Some(phone), Some(())) = (email, name, phone, long_enough) else {
        return Err(check.refusal());
    };
    // Only for what has passed so far: this is as costly as a login.
    let password_hash = passwords.hash(body.password, email.clone(), name.clone()).await?;
    let roles = vec![access::USER.to_owned()];
    let id = UserId::new(grants.ids.uuid());
    let new = NewUser { id, email, email_verified: false, name, phone, password_hash, roles };
    if grants.rules.verified_only {
        return pending(&db, &verification, &client, new).await;
    }
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

/// The answer where addresses are verified first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Pending)]
struct PendingBody {
    /// `verification_required`.
    status: &'static str,
}

/// Makes an account that is closed until its address is verified. Who has one already is told so by mail; a stranger
/// sees no difference, neither in the answer nor in what is done for it.
async fn pending(
    db: &Db,
    verification: &Verification,
    client: &Client,
    new: NewUser,
) -> Result<Response, Problem> {
    let email = new.email.clone();
    let welcome = verification.challenge(Purpose::VerifyEmail, mail::Kind::VerifyEmail, &email)?;
    let known = verification.challenge(Purpose::ResetPassword, mail::Kind::AlreadyRegistered, &email)?;
    let origin = Origin::request(Actor::Stranger, client);
    let written = db.write(async move |tx| {
        let over = verification::store::count(tx, &email, Request::Register).await?;
        let made = store::create(tx, &new).await?.is_some();
        let account = store::find_for_login(tx.connection(), &email).await?;
        if !made && over.is_some() {
            return Ok(());
        }
        let (kind, challenge) =
            if made { (Kind::Registered, &welcome) } else { (Kind::PasswordResetRequested, &known) };
        let subject = account.as_ref().map(|(user, _)| &user.id);
        audit::store::record(tx, Event { kind, subject, session_id: None, origin: &origin }).await?;
        challenge.issue(tx).await
    });
    written.await?;
    let body = PendingBody { status: "verification_required" };
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
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
