//! A forgotten password: the link that is asked for, the page behind it, and what that posts.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::super::{Password, Resets};
use crate::verification::Purpose;
use crate::web::{Client, Field, HtmlPage, JsonBody, Problem, Reason, Submission};

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ForgotPassword)]
pub(super) struct ForgotBody {
    #[schema(required, example = "ada@example.com")]
    #[serde(default)]
    email: String,
}

/// Have a link sent that lets one choose a new password.
///
/// The answer is the same whether there is an account or not.
#[utoipa::path(post, path = "/v1/auth/password/forgot", operation_id = "forgot_password", tag = "passwords",
    request_body = ForgotBody, responses(
    (status = 202, description = "Sent, if there is an account"),
    (status = 429, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`rate_limited`: three an hour for an address, or too many from one network"),
    (status = 501, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`mail_off`"),
))]
pub(super) async fn forgot(
    State(resets): State<Resets>,
    client: Client,
    JsonBody(body): JsonBody<ForgotBody>,
) -> Result<StatusCode, Problem> {
    resets.forgot(&body.email, &client).await?;
    Ok(StatusCode::ACCEPTED)
}

/// What a link carries.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Link {
    #[serde(default)]
    token: String,
}

const TITLE: &str = "Choose a new password";
const PATH: &str = "/v1/auth/password/reset";

fn asking(token: &str) -> HtmlPage {
    let fields = [
        Field::Hidden { name: "token", value: token.to_owned() },
        Field::NewPassword { name: "password", label: "New password" },
        Field::NewPassword { name: "password_again", label: "Once more" },
    ];
    HtmlPage::new(TITLE, "Every device is logged out when you do.").with_form(PATH, "Choose", fields)
}

/// The page behind the link of a message. Opening it changes nothing: mail programs open links by themselves.
#[utoipa::path(get, path = "/v1/auth/password/reset", operation_id = "reset_password_page", tag = "passwords",
    params(Link), responses(
    (status = 200, body = String, content_type = "text/html", description = "A form that posts token and password"),
    (status = 400, body = String, content_type = "text/html", description = "The token is not good"),
))]
pub(super) async fn reset_page(
    State(resets): State<Resets>,
    link: Result<Query<Link>, QueryRejection>,
) -> Response {
    let Link { token } = link.map(|Query(link)| link).unwrap_or_default();
    match resets.verification.look(Purpose::ResetPassword, &token).await {
        Ok(Some(_)) => asking(&token).into_response(),
        Ok(None) => asking("").refused(&Problem::new(Reason::EmailTokenInvalid)).into_response(),
        Err(error) => asking(&token).refused(&error.into()).into_response(),
    }
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ResetPassword)]
pub(super) struct ResetBody {
    #[schema(required)]
    #[serde(default)]
    token: String,
    /// The new one.
    #[schema(required, value_type = String)]
    #[serde(default)]
    password: Password,
    /// If it is there, it has to be the same.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    password_again: Option<Password>,
}

/// Choose a new password with what was sent to one's address. Every session ends, and the address is verified by it.
#[utoipa::path(post, path = "/v1/auth/password/reset", operation_id = "reset_password", tag = "passwords",
    request_body(content((ResetBody = "application/json"), (ResetBody = "application/x-www-form-urlencoded"))),
    responses(
        (status = 204, description = "It is the password now"),
        (status = 200, body = String, content_type = "text/html", description = "The same, for who sent a form"),
        (status = 400, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`email_token_invalid`: never given out, used, replaced by a newer one, or too old"),
    ),
)]
pub(super) async fn reset(
    State(resets): State<Resets>,
    client: Client,
    Submission { body, is_form }: Submission<ResetBody>,
) -> Response {
    let ResetBody { token, password, password_again } = body;
    let same = password_again.is_none_or(|again| again.expose() == password.expose());
    let outcome = if same {
        resets.reset(&token, password, &client).await
    } else {
        Err(Problem::invalid_field("password_again", "must be the same as the password"))
    };
    let done = HtmlPage::new(TITLE, "Done: log in with your new password. You can close this page.");
    HtmlPage::answer(is_form, outcome, done, asking(&token))
}
