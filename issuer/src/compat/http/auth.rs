//! The group `auth`: log in, and a sign of life.

use axum::Json;
use axum::extract::{FromRef, State};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::Compat;
use crate::login::Entered;
use crate::passwords::Password;
use crate::web::{Check, Client, JsonOrEmpty, Problem, Reason, TrustedProxies};

pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Compat: FromRef<S>,
    TrustedProxies: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(login)).routes(routes!(health))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = AuthLogin)]
struct LoginBody {
    #[schema(required, example = "ada@example.com")]
    #[serde(default)]
    email: String,
    #[schema(required, value_type = String, example = "a calm orange lighthouse")]
    #[serde(default)]
    password: Password,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuthToken)]
struct TokenBody {
    access_token: String,
    /// `bearer`.
    #[schema(value_type = String)]
    token_type: &'static str,
}

/// Log in with e-mail and password, in the body and nowhere else.
#[utoipa::path(post, path = "/auth/login", operation_id = "auth_login", tag = "compatible", request_body = LoginBody, responses(
    (status = 200, body = TokenBody),
    (status = 401, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`invalid_credentials`: no such account, or not its password"),
    (status = 403, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "The account cannot log in here; `reason` says why"),
    (status = 429, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`rate_limited`: too many failures; `Retry-After` tells the seconds to wait"),
))]
async fn login(
    State(compat): State<Compat>,
    client: Client,
    // A query instead of a body is a body whose fields are missing.
    JsonOrEmpty(body): JsonOrEmpty<LoginBody>,
) -> Result<Json<TokenBody>, Problem> {
    let body = body.checked()?;
    let logins = &compat.auth;
    // They have no cookie, so none of their headers names a session.
    let entered = logins.at_once(&body.email, body.password, &client, &HeaderMap::new()).await;
    let Entered { signer, granted } = entered.map_err(|problem| {
        if problem.is(Reason::InvalidCredentials) { problem.saying("Invalid credentials") } else { problem }
    })?;
    let issued = logins.grants.issue(&signer, &granted.user, &granted.session)?;
    Ok(Json(TokenBody { access_token: issued.access.access_token, token_type: "bearer" }))
}

impl LoginBody {
    fn checked(self) -> Result<Self, Problem> {
        let mut check = Check::default();
        let email = check.required("email", !self.email.is_empty());
        let password = check.required("password", !self.password.is_empty());
        if email.and(password).is_some() { Ok(self) } else { Err(check.refusal()) }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuthHealth)]
struct HealthBody {
    /// `ok`.
    #[schema(value_type = String)]
    status: &'static str,
}

/// The process answers.
#[utoipa::path(get, path = "/health", tag = "compatible", responses((status = 200, body = HealthBody)))]
async fn health() -> Json<HealthBody> {
    Json(HealthBody { status: "ok" })
}
