//! The login's routes: the password, and the code if one is needed.

use axum::Json;
use axum::extract::{FromRef, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::waiting::LIFETIME;
use super::{Granted, Logins, Outcome, SessionToken, Wishes};
use crate::mfa::Code;
use crate::passwords::Password;
use crate::sessions::grant::{Delivery, TokenBody};
use crate::web::{Check, Client, JsonBody, Problem, TrustedProxies};

pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Logins: FromRef<S>,
    TrustedProxies: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(login)).routes(routes!(verify))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = Login)]
struct LoginBody {
    #[schema(required, example = "ada@example.com")]
    #[serde(default)]
    email: String,
    #[schema(required, value_type = String, example = "a calm orange lighthouse")]
    #[serde(default)]
    password: Password,
    /// Let the refresh cookie outlive the browser's session.
    #[serde(default)]
    persist_session: bool,
    /// Ask for the refresh token in the body, too, from a page in a browser.
    #[serde(default)]
    refresh_token_in_body: bool,
}

/// The password is right, and a code is needed as well.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MfaRequired)]
struct MfaRequiredBody {
    /// `mfa_required`.
    status: &'static str,
    /// For `/v1/auth/mfa/verify`, with the code.
    session_token: String,
    /// Seconds.
    expires_in: i64,
}

#[derive(ToSchema)]
#[schema(as = LoginAnswer)]
#[serde(untagged)]
#[allow(dead_code, reason = "only for the documentation")]
enum LoginAnswer {
    Tokens(Box<TokenBody>),
    MfaRequired(MfaRequiredBody),
}

/// Log in with e-mail and password.
///
/// With a second factor, the answer is a `session_token` that waits for the code.
#[utoipa::path(post, path = "/v1/auth/login", tag = "login", request_body = LoginBody, responses(
    (status = 200, body = LoginAnswer),
    (status = 401, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`invalid_credentials`: no such account, or not its password"),
    (status = 403, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`account_inactive` `email_not_verified`, told only to who knows the password"),
    (status = 429, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`rate_limited`: too many failures; `Retry-After` tells the seconds to wait"),
))]
async fn login(
    State(logins): State<Logins>,
    client: Client,
    headers: HeaderMap,
    JsonBody(body): JsonBody<LoginBody>,
) -> Result<Response, Problem> {
    let mut check = Check::default();
    let email = check.required("email", !body.email.is_empty());
    let password = check.required("password", !body.password.is_empty());
    let (Some(()), Some(())) = (email, password) else { return Err(check.refusal()) };
    let wishes =
        Wishes { persistent: body.persist_session, refresh_token_in_body: body.refresh_token_in_body };
    let proved = logins.prove(&body.email, body.password, &client).await?;
    let signer = logins.grants.signer()?;
    match logins.enter(proved, wishes, &client, &headers).await? {
        Outcome::Granted(granted) => {
            let Granted { user, session } = *granted;
            let delivery = Delivery::of(&headers, wishes.refresh_token_in_body);
            Ok(logins.grants.answer(&signer, StatusCode::OK, &user, &session, delivery, true)?)
        }
        Outcome::MfaRequired(token) => {
            let session_token = token.as_str().to_owned();
            let body = MfaRequiredBody { status: "mfa_required", session_token, expires_in: LIFETIME };
            Ok(Json(body).into_response())
        }
    }
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = MfaVerify)]
struct VerifyBody {
    #[schema(required)]
    #[serde(default)]
    session_token: String,
    /// Of the authenticator app, or a backup code.
    #[schema(required)]
    #[serde(default)]
    code: String,
}

/// Finish a login with a code of the authenticator app or a backup code.
///
/// A login waits for five minutes and five codes; malformed ones do not count.
#[utoipa::path(post, path = "/v1/auth/mfa/verify", tag = "login", request_body = VerifyBody, responses(
    (status = 200, body = TokenBody),
    (status = 401, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`login_expired`: the login waits no longer; log in again"),
    (status = 403, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`wrong_code`: wrong, or used before"),
    (status = 429, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`rate_limited`: too many failures; `Retry-After` tells the seconds to wait"),
))]
async fn verify(
    State(logins): State<Logins>,
    client: Client,
    headers: HeaderMap,
    JsonBody(body): JsonBody<VerifyBody>,
) -> Result<Response, Problem> {
    let mut check = Check::default();
    let token = check.required("session_token", !body.session_token.is_empty());
    let code = check.field("code", Code::parse(&body.code));
    let (Some(()), Some(code)) = (token, code) else { return Err(check.refusal()) };
    let signer = logins.grants.signer()?;
    let token = SessionToken::sent(body.session_token);
    let (Granted { user, session }, wishes) = logins.finish(&token, code, &client, &headers).await?;
    let delivery = Delivery::of(&headers, wishes.refresh_token_in_body);
    Ok(logins.grants.answer(&signer, StatusCode::OK, &user, &session, delivery, true)?)
}
