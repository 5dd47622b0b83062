//! The accounts' routes: register, and oneself.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRef, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Applicant, Name, Registered, Registrations, UserBody, parse_phone, store};
use crate::config::Roles;
use crate::db::Db;
use crate::passwords::Password;
use crate::sessions::grant::{Delivery, TokenBody};
use crate::sessions::{Caller, Callers};
use crate::web::{Check, Client, JsonBody, Problem, Reason, TrustedProxies};

pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Db: FromRef<S>,
    Registrations: FromRef<S>,
    Callers: FromRef<S>,
    Arc<Roles>: FromRef<S>,
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
#[utoipa::path(post, path = "/v1/auth/register", tag = "accounts", request_body = RegisterBody, responses(
    (status = 201, body = TokenBody, description = "The account, and tokens for it"),
    (status = 409, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`email_taken`"),
))]
async fn register(
    State(registrations): State<Registrations>,
    client: Client,
    headers: HeaderMap,
    JsonBody(body): JsonBody<RegisterBody>,
) -> Result<Response, Problem> {
    let RegisterBody { email, password, name, phone, refresh_token_in_body } = body;
    let applicant = Applicant { email, password, name, phone };
    let Registered { signer, user, session } = registrations.register(applicant, &client, &headers).await?;
    let delivery = Delivery::of(&headers, refresh_token_in_body);
    Ok(registrations.grants.answer(&signer, StatusCode::CREATED, &user, &session, delivery, true)?)
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
