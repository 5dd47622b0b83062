//! Getting in: register and login; and the list of who has an account.

use axum::Json;
use axum::extract::State;
use axum::response::{AppendHeaders, IntoResponse, Response};
use http::HeaderMap;
use http::header::SET_COOKIE;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::super::Compat;
use super::UserBody;
use crate::access::ADMIN;
use crate::accounts::{Applicant, Registered, Registration, User, store};
use crate::login::Entered;
use crate::passwords::Password;
use crate::sessions::grant::{Grants, Issued};
use crate::sessions::{Caller, Session};
use crate::tokens::Signer;
use crate::web::{Check, Client, JsonBody, Page, Parameters, Problem, Reason};

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ApiAuthRegister)]
pub(super) struct RegisterBody {
    #[schema(required, example = "grace@example.com")]
    #[serde(default)]
    email: String,
    #[schema(required, value_type = String, example = "a calm orange lighthouse")]
    #[serde(default)]
    password: Password,
    /// Without one, what the address has before its `@`.
    #[serde(default)]
    name: Option<String>,
    /// Ask for the refresh token, which is in the cookie, in the body, too.
    #[serde(default)]
    refresh_token_in_body: bool,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ApiAuthLogin)]
pub(super) struct LoginBody {
    #[schema(required, example = "ada@example.com")]
    #[serde(default)]
    email: String,
    #[schema(required, value_type = String, example = "a calm orange lighthouse")]
    #[serde(default)]
    password: Password,
    /// Ask for the refresh token, which is in the cookie, in the body, too.
    #[serde(default)]
    refresh_token_in_body: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiAuthTokens)]
pub(super) struct TokenBody {
    access_token: String,
    /// `bearer`.
    #[schema(value_type = String)]
    token_type: &'static str,
    /// Only where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    user: UserBody,
}

/// Make an account and log in.
#[utoipa::path(post, path = "/api/auth/register", operation_id = "api_auth_register", tag = "compatible",
    request_body = RegisterBody,
    responses(
        (status = 200, body = TokenBody),
        (status = 403, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`email_not_verified`: verify the address first; a link was sent to it"),
        (status = 409, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`email_taken`"),
        (status = 429, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`rate_limited`: too many registrations from one network"),
    ),
)]
pub(super) async fn register(
    State(compat): State<Compat>,
    client: Client,
    headers: HeaderMap,
    JsonBody(body): JsonBody<RegisterBody>,
) -> Result<Response, Problem> {
    let RegisterBody { email, password, name, refresh_token_in_body } = body;
    let name = name.filter(|name| !name.trim().is_empty()).unwrap_or_else(|| local_part(&email));
    let registrations = &compat.api_auth.registrations;
    let applicant = Applicant { email, password, name, phone: None };
    match registrations.register(applicant, &client, &headers).await? {
        Registration::Done(registered) => {
            let Registered { signer, user, session } = *registered;
            answer(&registrations.grants, &signer, user, &session, refresh_token_in_body)
        }
        // There is no token yet, and these clients know no other answer.
        Registration::Pending => Err(Problem::new(Reason::EmailNotVerified)),
    }
}

/// The same as `/api/auth/register`.
#[utoipa::path(post, path = "/api/auth/email/register", operation_id = "api_auth_register_by_email",
    tag = "compatible", request_body = RegisterBody,
    responses(
        (status = 200, body = TokenBody),
        (status = 403, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`email_not_verified`: verify the address first; a link was sent to it"),
        (status = 409, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`email_taken`"),
        (status = 429, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`rate_limited`: too many registrations from one network"),
    ),
)]
pub(super) async fn register_by_email(
    compat: State<Compat>,
    client: Client,
    headers: HeaderMap,
    body: JsonBody<RegisterBody>,
) -> Result<Response, Problem> {
    register(compat, client, headers, body).await
}

/// What an address has before its `@`. Empty for what is no address, which is then refused for both.
fn local_part(email: &str) -> String {
    email.split_once('@').map_or("", |(local, _)| local.trim()).to_owned()
}

/// Log in with e-mail and password.
#[utoipa::path(post, path = "/api/auth/login", operation_id = "api_auth_login", tag = "compatible",
    request_body = LoginBody,
    responses(
        (status = 200, body = TokenBody),
        (status = 401, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`invalid_credentials`: no such account, or not its password"),
        (status = 403, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "The account cannot log in here; `reason` says why"),
        (status = 429, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`rate_limited`: too many failures; `Retry-After` tells the seconds to wait"),
    ),
)]
pub(super) async fn login(
    State(compat): State<Compat>,
    client: Client,
    headers: HeaderMap,
    JsonBody(body): JsonBody<LoginBody>,
) -> Result<Response, Problem> {
    let mut check = Check::default();
    let email = check.required("email", !body.email.is_empty());
    let password = check.required("password", !body.password.is_empty());
    let (Some(()), Some(())) = (email, password) else { return Err(check.refusal()) };
    let logins = &compat.api_auth.logins;
    let Entered { signer, granted } = logins.at_once(&body.email, body.password, &client, &headers).await?;
    answer(&logins.grants, &signer, granted.user, &granted.session, body.refresh_token_in_body)
}

fn answer(
    grants: &Grants,
    signer: &Signer<'_>,
    user: User,
    session: &Session,
    in_body: bool,
) -> Result<Response, Problem> {
    let Issued { access, refresh_token, cookie } = grants.issue(signer, &user, session)?;
    let body = TokenBody {
        access_token: access.access_token,
        token_type: "bearer",
        refresh_token: in_body.then_some(refresh_token),
        user: user.into(),
    };
    Ok((AppendHeaders([(SET_COOKIE, cookie)]), Json(body)).into_response())
}

/// A page of accounts, in the order of their addresses.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiAuthUsers)]
pub(super) struct UsersBody {
    items: Vec<UserBody>,
    /// Where the next page begins; null after the last.
    next_cursor: Option<String>,
}

/// What the cursors of the list are made for.
const LIST: &str = "cursor of accounts for existing clients";

/// The accounts, for administrators.
#[utoipa::path(get, path = "/api/auth/admin/users", operation_id = "api_auth_users", tag = "compatible",
    security(("bearer" = [])),
    params(
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 if not given"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, body = UsersBody),
        (status = 403, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`permission_denied`: not an administrator"),
    ),
)]
pub(super) async fn list(
    State(compat): State<Compat>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Json<UsersBody>, Problem> {
    caller.in_person()?.with_role(ADMIN)?;
    let (mut check, sessions) = (Check::default(), &compat.api_auth.sessions);
    let ring = &sessions.grants.cookie.ring;
    let Some(page) = Page::read(&parameters, LIST, ring, &mut check) else { return Err(check.refusal()) };
    let found = store::page(sessions.db.reads(), "", page.after.as_deref(), page.wanted()).await?;
    let (users, next_cursor) = page.cut(found, |user| &user.email, ring);
    let items = users.into_iter().map(UserBody::from).collect();
    Ok(Json(UsersBody { items, next_cursor }))
}
