//! A new password for someone who has forgotten theirs, and reads what is sent to their address.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{NewPasswords, Password};
use crate::accounts::{self, Email};
use crate::ambient::Clock;
use crate::audit::{self, Actor, Event, Kind, Origin};
use crate::db::{Db, Error, Tx};
use crate::mail::{self, Letter, Outbox};
use crate::sessions::grant::Grants;
use crate::sessions::{Rules, ending};
use crate::verification::{self, Purpose, Request, Token, Verification};
use crate::web::{Check, Client, Field, JsonBody, Page, Problem, Reason, Submission};

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ForgotPassword)]
pub(super) struct ForgotBody {
    #[schema(required)]
    #[serde(default)]
    email: String,
}

/// Have a link sent that lets one choose a new password.
///
/// The answer is the same whether there is an account or not.
#[utoipa::path(post, path = "/v1/auth/password/forgot", tag = "passwords", request_body = ForgotBody, responses(
    (status = 202, description = "Sent, if there is an account"),
    (status = 429, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`rate_limited`: three an hour for an address"),
    (status = 501, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
     description = "`mail_off`"),
))]
pub(super) async fn forgot(
    State(db): State<Db>,
    State(verification): State<Verification>,
    client: Client,
    JsonBody(body): JsonBody<ForgotBody>,
) -> Result<StatusCode, Problem> {
    let email = Email::parse(&body.email).map_err(|error| Problem::invalid_field("email", error))?;
    let challenge = verification.challenge(Purpose::ResetPassword, mail::Kind::ResetPassword, &email)?;
    let origin = Origin::request(Actor::Stranger, &client);
    // The same is written for every address. Whether the message concerns anybody is found out when it is sent.
    let wait = db.write(async move |tx| {
        let wait = verification::store::count(tx, &email, Request::Forgot).await?;
        if wait.is_none() {
            let account = accounts::store::find_for_login(tx.connection(), &email).await?;
            let subject = account.as_ref().map(|(user, _)| &user.id);
            let kind = Kind::PasswordResetRequested;
            audit::store::record(tx, Event { kind, subject, session_id: None, origin: &origin }).await?;
            challenge.issue(tx).await?;
        }
        Ok(wait)
    });
    match wait.await? {
        None => Ok(StatusCode::ACCEPTED),
        Some(seconds) => Err(Problem::new(Reason::RateLimited).retry_after(seconds)),
    }
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

fn asking(token: &str) -> Page {
    let fields = [
        Field::Hidden { name: "token", value: token.to_owned() },
        Field::NewPassword { name: "password", label: "New password" },
        Field::NewPassword { name: "password_again", label: "Once more" },
    ];
    Page::new(TITLE, "Every device is logged out when you do.").with_form(PATH, "Choose", fields)
}

/// The page behind the link of a message. Opening it changes nothing: mail programs open links by themselves.
#[utoipa::path(get, path = "/v1/auth/password/reset", tag = "passwords", params(Link), responses(
    (status = 200, body = String, content_type = "text/html", description = "A form that posts token and password"),
    (status = 400, body = String, content_type = "text/html", description = "The token is not good"),
))]
pub(super) async fn reset_page(
    State(db): State<Db>,
    State(clock): State<Clock>,
    link: Result<Query<Link>, QueryRejection>,
) -> Response {
    let Link { token: text } = link.map(|Query(link)| link).unwrap_or_default();
    let found = match Token::parse(&text) {
        Some(token) => {
            verification::store::find(db.reads(), Purpose::ResetPassword, &token, clock.now()).await
        }
        None => Ok(None),
    };
    match found {
        Ok(Some(_)) => asking(&text).into_response(),
        Ok(None) => asking("").refused(&Problem::new(Reason::EmailTokenInvalid)).into_response(),
        Err(error) => asking(&text).refused(&error.into()).into_response(),
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
#[utoipa::path(post, path = "/v1/auth/password/reset", tag = "passwords",
    request_body(content((ResetBody = "application/json"), (ResetBody = "application/x-www-form-urlencoded"))),
    responses(
        (status = 204, description = "It is the password now; a page (200) for who sent a form"),
        (status = 400, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`email_token_invalid`: never given out, used, replaced by a newer one, or too old"),
    ),
)]
pub(super) async fn reset(
    State(db): State<Db>,
    State(passwords): State<NewPasswords>,
    State(grants): State<Grants>,
    State(outbox): State<Outbox>,
    client: Client,
    Submission { body, is_form }: Submission<ResetBody>,
) -> Response {
    let again = asking(&body.token);
    let outcome = async {
        let invalid = || Problem::new(Reason::EmailTokenInvalid);
        let token = Token::parse(&body.token).ok_or_else(invalid)?;
        // It is not taken back yet: a password that is not good enough must not cost the link.
        let now = grants.ids.clock.now();
        let sent_to = verification::store::find(db.reads(), Purpose::ResetPassword, &token, now).await?;
        let email = sent_to.ok_or_else(invalid)?;
        let account = accounts::store::find_for_login(db.reads(), &email).await?;
        let (user, _) = account.ok_or_else(invalid)?;
        let mut check = Check::default();
        let long_enough = check.field("password", passwords.check_length(&body.password));
        let repeated = check.field("password_again", repeated(&body));
        let (Some(()), Some(())) = (long_enough, repeated) else { return Err(check.refusal()) };
        let hash = passwords.hash_for(&user, body.password).await?;
        let origin = Origin::request(Actor::User(user.id), &client);
        let notice = outbox.notice(mail::Kind::PasswordChanged, email);
        let reset = Reset { token, hash, origin, notice, rules: grants.rules };
        let done = db.write(async move |tx| reset.take(tx).await).await?;
        if done { Ok(()) } else { Err(invalid()) }
    };
    let done = Page::new(TITLE, "Done: log in with your new password. You can close this page.");
    Page::answer(is_form, outcome.await, done, again)
}

/// What was typed twice must be the same.
fn repeated(body: &ResetBody) -> Result<(), &'static str> {
    let same = body.password_again.as_ref().is_none_or(|again| again.expose() == body.password.expose());
    if same { Ok(()) } else { Err("must be the same as the password") }
}

/// A new password about to be put in the place of a forgotten one.
struct Reset {
    token: Token,
    hash: String,
    origin: Origin,
    notice: Option<Letter>,
    rules: Rules,
}

impl Reset {
    /// Takes the token back, and does what it is for; false if another has brought it.
    async fn take(&self, tx: &mut Tx<'_>) -> Result<bool, Error> {
        let Self { token, hash, origin, notice, rules } = self;
        let email = verification::store::redeem(tx, Purpose::ResetPassword, token).await?;
        let Some(email) = email else { return Ok(false) };
        let Some(user) = accounts::store::reset_password(tx, &email, hash).await? else { return Ok(false) };
        let event = |kind| Event { kind, subject: Some(&user.id), session_id: None, origin };
        audit::store::record(tx, event(Kind::PasswordReset)).await?;
        if accounts::store::verify_email(tx, &email).await?.is_some() {
            audit::store::record(tx, event(Kind::EmailVerified)).await?;
        }
        ending::end_all(tx, &user.id, Kind::SessionEnded, origin, *rules).await?;
        if let Some(notice) = notice {
            mail::store::post(tx, notice).await?;
        }
        Ok(true)
    }
}
