//! What is done with a link that came by mail: verifying an address, and choosing a new password.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::super::super::Compat;
use super::sessions::MessageBody;
use crate::passwords::Password;
use crate::web::{Client, JsonBody, Problem};

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ApiAuthVerifyEmail)]
pub(super) struct VerifyBody {
    #[schema(required)]
    #[serde(default)]
    token: String,
}

/// Show that one reads what is sent to one's address.
#[utoipa::path(post, path = "/api/auth/email/verify", operation_id = "api_auth_verify_email", tag = "compatible",
    request_body = VerifyBody,
    responses(
        (status = 200, body = MessageBody),
        (status = 400, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`email_token_invalid`: never given out, used, replaced by a newer one, or too old"),
    ),
)]
pub(super) async fn verify_email(
    State(compat): State<Compat>,
    client: Client,
    JsonBody(body): JsonBody<VerifyBody>,
) -> Result<Json<MessageBody>, Problem> {
    compat.api_auth.resets.verification.verify(&body.token, &client).await?;
    Ok(Json(MessageBody { message: "Email verified" }))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ApiAuthForgotPassword)]
pub(super) struct ForgotBody {
    #[schema(required, example = "ada@example.com")]
    #[serde(default)]
    email: String,
}

/// Have a link sent that lets one choose a new password.
///
/// The answer is the same whether there is an account or not.
#[utoipa::path(post, path = "/api/auth/password/reset/request", operation_id = "api_auth_forgot_password",
    tag = "compatible", request_body = ForgotBody,
    responses(
        (status = 202, body = MessageBody, description = "Sent, if there is an account"),
        (status = 429, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`rate_limited`: three an hour for an address, or too many from one network"),
        (status = 501, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`mail_off`"),
    ),
)]
pub(super) async fn forgot_password(
    State(compat): State<Compat>,
    client: Client,
    JsonBody(body): JsonBody<ForgotBody>,
) -> Result<(StatusCode, Json<MessageBody>), Problem> {
    compat.api_auth.resets.forgot(&body.email, &client).await?;
    let message = "If there is an account with this address, a link was sent to it";
    Ok((StatusCode::ACCEPTED, Json(MessageBody { message })))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ApiAuthResetPassword)]
pub(super) struct ResetBody {
    #[schema(required)]
    #[serde(default)]
    token: String,
    /// The new one.
    #[schema(value_type = Option<String>)]
    #[serde(default)]
    password: Option<Password>,
    /// The same under another name; one of the two is required.
    #[schema(value_type = Option<String>)]
    #[serde(default)]
    new_password: Option<Password>,
}

/// Choose a new password with what was sent to one's address. Every session ends.
#[utoipa::path(post, path = "/api/auth/password/reset/confirm", operation_id = "api_auth_reset_password",
    tag = "compatible", request_body = ResetBody,
    responses(
        (status = 200, body = MessageBody),
        (status = 400, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`email_token_invalid`: never given out, used, replaced by a newer one, or too old"),
    ),
)]
pub(super) async fn reset_password(
    State(compat): State<Compat>,
    client: Client,
    JsonBody(body): JsonBody<ResetBody>,
) -> Result<Json<MessageBody>, Problem> {
    let ResetBody { token, password, new_password } = body;
    if password.is_some() && new_password.is_some() {
        return Err(Problem::invalid_field(
            "new_password",
            "is given as password, too; one of them is enough",
        ));
    }
    let password = password.or(new_password).unwrap_or_default();
    compat.api_auth.resets.reset(&token, password, &client).await?;
    Ok(Json(MessageBody { message: "Password reset" }))
}
