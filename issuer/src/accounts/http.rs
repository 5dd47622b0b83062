//! The accounts' routes: register, and oneself.

use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::{Deserialize, Deserializer};

use super::{Email, Name, NewUser, UserBody, parse_phone, store};
use crate::access;
use crate::app::App;
use crate::http::{ApiError, Caller, Check, Client, JsonBody};
use crate::passwords::{Password, Policy};
use crate::sessions::grant;

pub fn routes() -> Router<App> {
    Router::new().route("/v1/auth/register", post(register)).route("/v1/users/me", get(me).patch(change_me))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RegisterBody {
    email: String,
    password: Password,
    name: String,
    phone: Option<String>,
}

/// POST /v1/auth/register
async fn register(
    State(app): State<App>,
    client: Client,
    JsonBody(body): JsonBody<RegisterBody>,
) -> Result<Response, ApiError> {
    let mut check = Check::default();
    let email = check.field("email", Email::parse(&body.email));
    let name = check.field("name", Name::parse(&body.name));
    let phone = check.field("phone", body.phone.as_deref().map(parse_phone).transpose());
    let long_enough = check.field("password", body.password.check_length(Policy::default()));
    let (Some(email), Some(name), Some(phone), Some(())) = (email, name, phone, long_enough) else {
        return Err(check.refusal());
    };
    // Only for what has passed so far: this is as costly as a login.
    let (password, policy) = (body.password.clone(), Policy::default());
    let strength = app.hasher.check_strength(policy, password, email.clone(), name.clone()).await?;
    strength.map_err(|weak| ApiError::invalid_field("password", weak))?;
    let password_hash = app.hasher.hash(body.password, app.entropy.bytes()).await?;
    let roles = vec![access::USER.to_owned()];
    let new = NewUser { id: app.new_id(), email, name, phone, password_hash, roles };
    let user = store::create(&app.db, new, app.clock.now()).await?;
    let Some(user) = user else {
        let detail = "An account with this e-mail address exists";
        return Err(ApiError::new(StatusCode::CONFLICT, "email_taken", detail));
    };
    tracing::info!(target: "audit", event = "registered", user_id = user.id, ip = client.ip(), "registered");
    grant::open(&app, StatusCode::CREATED, user, client, false).await
}

/// GET /v1/users/me
async fn me(State(app): State<App>, caller: Caller) -> Json<UserBody> {
    Json(UserBody::new(caller.user, &app.settings.roles))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ProfileBody {
    name: Option<String>,
    /// Absent keeps the number, null takes it away.
    #[serde(deserialize_with = "present")]
    phone: Option<Option<String>>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// PATCH /v1/users/me
async fn change_me(
    State(app): State<App>,
    caller: Caller,
    JsonBody(body): JsonBody<ProfileBody>,
) -> Result<Json<UserBody>, ApiError> {
    let mut check = Check::default();
    let name = check.field("name", body.name.as_deref().map(Name::parse).transpose());
    let phone = body.phone.map(|phone| phone.as_deref().map(parse_phone).transpose()).transpose();
    let phone = check.field("phone", phone);
    let (Some(name), Some(phone)) = (name, phone) else { return Err(check.refusal()) };
    let user = store::update_profile(&app.db, &caller.user.id, name, phone, app.clock.now()).await?;
    let user = user.ok_or_else(ApiError::not_found)?;
    Ok(Json(UserBody::new(user, &app.settings.roles)))
}
