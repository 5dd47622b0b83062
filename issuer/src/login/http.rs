//! The login's route.

use axum::extract::{FromRef, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Granted, Logins, Outcome, Wishes};
use crate::passwords::Password;
use crate::sessions::grant::{Delivery, TokenBody};
use crate::web::{Check, Client, JsonBody, Problem, TrustedProxies};

pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Logins: FromRef<S>,
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
     description = "`account_inactive`, told only to who knows the password"),
))]
async fn login(
    State(logins): State<Logins>,
    client: Client,
    headers: HeaderMap,
    JsonBody(body): JsonBody<LoginBody>,
) -> Result<Response, Problem> {
    let mut check = Check::default();
    let given = |present: bool| if present { Ok(()) } else { Err("is required") };
    let email = check.field("email", given(!body.email.is_empty()));
    let password = check.field("password", given(!body.password.is_empty()));
    let (Some(()), Some(())) = (email, password) else { return Err(check.refusal()) };
    let wishes =
        Wishes { persistent: body.persist_session, refresh_token_in_body: body.refresh_token_in_body };
    let proved = logins.prove(&body.email, body.password, &client).await?;
    let signer = logins.grants.signer()?;
    let Outcome::Granted(granted) = logins.enter(proved, wishes, &client, &headers).await?;
    let Granted { user, session } = *granted;
    let delivery = Delivery::of(&headers, wishes.refresh_token_in_body);
    Ok(logins.grants.answer(&signer, StatusCode::OK, &user, &session, delivery, true)?)
}
