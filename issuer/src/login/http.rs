//! The login's route.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use http::StatusCode;
use serde::Deserialize;

use super::{Attempt, attempt};
use crate::app::App;
use crate::http::{ApiError, Check, Client, JsonBody};
use crate::passwords::Password;
use crate::sessions::grant;

pub fn routes() -> Router<App> {
    Router::new().route("/v1/auth/login", post(login))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LoginBody {
    email: String,
    password: Password,
    persist_session: bool,
}

/// POST /v1/auth/login
async fn login(
    State(app): State<App>,
    client: Client,
    JsonBody(body): JsonBody<LoginBody>,
) -> Result<Response, ApiError> {
    let mut check = Check::default();
    let given = |present: bool| if present { Ok(()) } else { Err("is required") };
    let email = check.field("email", given(!body.email.is_empty()));
    let password = check.field("password", given(!body.password.is_empty()));
    let (Some(()), Some(())) = (email, password) else { return Err(check.refusal()) };
    match attempt(&app, &body.email, body.password).await? {
        Attempt::Proved(user) => {
            tracing::info!(target: "audit", event = "login", user_id = user.id, ip = client.ip(), "logged in");
            grant::open(&app, StatusCode::OK, user, client, body.persist_session).await
        }
        Attempt::Inactive(user) => {
            let user_id = user.id;
            tracing::warn!(target: "audit", event = "login_inactive", user_id, ip = client.ip(), "login refused");
            Err(ApiError::new(StatusCode::FORBIDDEN, "account_inactive", "This account is not active"))
        }
        Attempt::Wrong => {
            tracing::warn!(target: "audit", event = "login_failed", ip = client.ip(), "login failed");
            Err(ApiError::unauthorized("invalid_credentials", "Invalid email or password"))
        }
    }
}
