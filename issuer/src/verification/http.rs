//! The routes of verifying an address: the page behind the link, what it posts, and another link.

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRef, Query, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Purpose, Verification};
use crate::login::Logins;
use crate::passwords::Password;
use crate::web::{Client, Field, HtmlPage, JsonBody, Problem, Reason, Submission, TrustedProxies};

pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Verification: FromRef<S>,
    Logins: FromRef<S>,
    TrustedProxies: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(verify_page, verify_email)).routes(routes!(resend))
}

/// What a link carries.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Link {
    #[serde(default)]
    token: String,
}

const TITLE: &str = "Confirm your e-mail address";
const PATH: &str = "/v1/auth/email/verify";

fn asking(token: &str) -> HtmlPage {
    let fields = [
        Field::Hidden { name: "token", value: token.to_owned() },
        Field::Password { name: "password", label: "Your password" },
    ];
    HtmlPage::new(
        TITLE,
        "Type the password that you chose when you registered. If you did not register, close this page: the account stays \
         closed. If you have forgotten the password, ask for a new one; choosing it confirms your address, too.",
    )
    .with_form(PATH, "Confirm", fields)
}

/// The page behind the link of a message. Opening it changes nothing: mail programs open links by themselves.
#[utoipa::path(get, path = "/v1/auth/email/verify", tag = "verification", params(Link), responses(
    (status = 200, body = String, content_type = "text/html", description = "A form that posts the token"),
    (status = 400, body = String, content_type = "text/html", description = "The token is not good"),
))]
async fn verify_page(
    State(verification): State<Verification>,
    link: Result<Query<Link>, QueryRejection>,
) -> Response {
    let Link { token } = link.map(|Query(link)| link).unwrap_or_default();
    match verification.look(Purpose::VerifyEmail, &token).await {
        Ok(Some(_)) => asking(&token).into_response(),
        Ok(None) => asking("").refused(&Problem::new(Reason::EmailTokenInvalid)).into_response(),
        Err(error) => asking(&token).refused(&error.into()).into_response(),
    }
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = VerifyEmail)]
struct VerifyBody {
    #[schema(required)]
    #[serde(default)]
    token: String,
    /// If it is there, it has to be that of the account. Our own page asks for it.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    password: Option<Password>,
}

/// Show that one reads what is sent to one's address.
///
/// Ask for the password of the account as well, and send it along: otherwise a careless click opens an account that a
/// stranger has made with someone's address and with a password of his own.
#[utoipa::path(post, path = "/v1/auth/email/verify", tag = "verification",
    request_body(content((VerifyBody = "application/json"), (VerifyBody = "application/x-www-form-urlencoded"))),
    responses(
        (status = 204, description = "Verified"),
        (status = 200, body = String, content_type = "text/html", description = "The same, for who sent a form"),
        (status = 400, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`email_token_invalid`: never given out, used, replaced by a newer one, or too old"),
        (status = 429, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`rate_limited`: too many wrong passwords; `Retry-After` tells the seconds to wait"),
    ),
)]
async fn verify_email(
    State(verification): State<Verification>,
    State(logins): State<Logins>,
    client: Client,
    Submission { body, is_form }: Submission<VerifyBody>,
) -> Response {
    let VerifyBody { token, password } = body;
    let outcome = match password.or_else(|| is_form.then(Password::default)) {
        Some(password) => verification.verify_with(&logins, &token, password, &client).await,
        None => verification.verify(&token, &client).await,
    };
    let done = HtmlPage::new(
        TITLE,
        "Thank you: your address is confirmed. You can log in now, and close this page.",
    );
    HtmlPage::answer(is_form, outcome, done, asking(&token))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ResendEmail)]
struct ResendBody {
    #[schema(required, example = "ada@example.com")]
    #[serde(default)]
    email: String,
}

/// Have another link sent.
///
/// The answer is the same whether there is an account or not, and whether it is verified already.
#[utoipa::path(post, path = "/v1/auth/email/resend", tag = "verification", request_body = ResendBody, responses(
    (status = 202, description = "Sent, if there is an account whose address is not verified"),
    (status = 429, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`rate_limited`: three an hour for an address, or too many from one network"),
    (status = 501, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`mail_off`"),
))]
async fn resend(
    State(verification): State<Verification>,
    client: Client,
    JsonBody(body): JsonBody<ResendBody>,
) -> Result<StatusCode, Problem> {
    verification.resend(&body.email, &client).await?;
    Ok(StatusCode::ACCEPTED)
}
