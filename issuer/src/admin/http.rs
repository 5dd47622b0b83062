//! The administrators' routes: accounts, one by one and in pages, and what happened to them.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRef, FromRequestParts, Path, State};
use http::StatusCode;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Admin, events};
use crate::accounts::standing::{self, Change, LastAdmin, Outcome};
use crate::accounts::{Email, User, UserBody, UserId, store};
use crate::config::Roles;
use crate::db::Db;
use crate::limits::Limits;
use crate::mail::{self, Outbox};
use crate::mfa;
use crate::passwords::{NewPasswords, Password};
use crate::secrets::Ring;
use crate::sessions::Callers;
use crate::sessions::grant::Grants;
use crate::web::{Check, JsonBody, Page, Parameters, Problem, Reason, TrustedProxies};

pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Db: FromRef<S>,
    Ring: FromRef<S>,
    NewPasswords: FromRef<S>,
    Outbox: FromRef<S>,
    Grants: FromRef<S>,
    Limits: FromRef<S>,
    Callers: FromRef<S>,
    Arc<Roles>: FromRef<S>,
    TrustedProxies: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show, change, delete))
        .routes(routes!(set_password))
        .routes(routes!(end_sessions))
        .routes(routes!(unlock))
        .routes(routes!(reset_mfa))
        .routes(routes!(events::events))
}

/// What the cursors of this list are made for.
const LIST: &str = "cursor of accounts";

/// A page of accounts, in the order of their addresses.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Users)]
struct UsersBody {
    items: Vec<UserBody>,
    /// Where the next page begins; null after the last.
    next_cursor: Option<String>,
}

/// The accounts, or those whose address begins with what is searched for.
#[utoipa::path(get, path = "/v1/admin/users", operation_id = "list_users", tag = "admin", security(("bearer" = [])),
    params(
        ("search" = Option<String>, Query, description = "What the address begins with"),
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 if not given"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses((status = 200, body = UsersBody)),
)]
async fn list(
    State(db): State<Db>,
    State(ring): State<Ring>,
    State(roles): State<Arc<Roles>>,
    _admin: Admin,
    parameters: Parameters,
) -> Result<Json<UsersBody>, Problem> {
    let mut check = Check::default();
    let page = Page::read(&parameters, LIST, &ring, &mut check);
    let search = parameters.one("search").map_err(|error| error.to_string());
    let search = check.field("search", search.and_then(|text| beginning(text.unwrap_or_default())));
    let (Some(page), Some(search)) = (page, search) else { return Err(check.refusal()) };
    let found = store::page(db.reads(), &search, page.after.as_deref(), page.wanted()).await?;
    let (users, next_cursor) = page.cut(found, |user| &user.email, &ring);
    let items = users.into_iter().map(|user| UserBody::new(user, &roles)).collect();
    Ok(Json(UsersBody { items, next_cursor }))
}

/// What an address may begin with, as addresses are stored.
fn beginning(text: &str) -> Result<String, String> {
    let text = text.trim_matches(' ');
    let fits = text.len() <= Email::LONGEST && text.bytes().all(|b| b.is_ascii_graphic());
    if fits {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("must be the beginning of an e-mail address".to_owned())
    }
}

/// The account that the path names, if that can be one.
struct Account(UserId);

impl<S: Send + Sync> FromRequestParts<S> for Account {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, state).await;
        id.ok().and_then(|Path(id)| UserId::parse(&id).ok()).map(Self).ok_or_else(none)
    }
}

fn none() -> Problem {
    Problem::new(Reason::NotFound)
}

/// The account after a change.
fn changed(outcome: Outcome) -> Result<User, Problem> {
    match outcome {
        Outcome::Done(user) | Outcome::AlreadySo(user) => Ok(user),
        Outcome::Refused => Err(Problem::new(Reason::LastAdmin)),
        Outcome::Unknown => Err(none()),
    }
}

/// One account.
#[utoipa::path(get, path = "/v1/admin/users/{id}", tag = "admin", security(("bearer" = [])),
    params(("id" = String, Path, description = "The id of the account")),
    responses((status = 200, body = UserBody), (status = 404, description = "There is no such account")),
)]
async fn show(
    State(db): State<Db>,
    State(roles): State<Arc<Roles>>,
    _admin: Admin,
    Account(id): Account,
) -> Result<Json<UserBody>, Problem> {
    let user = store::find(db.reads(), &id).await?.ok_or_else(none)?;
    Ok(Json(UserBody::new(user, &roles)))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = Standing)]
struct StandingBody {
    /// Whether the account is open. To close it ends its sessions.
    #[serde(default)]
    is_active: Option<bool>,
    /// All roles that it shall have; others are taken away.
    #[serde(default)]
    roles: Option<Vec<String>>,
}

/// Open or close an account, replace its roles, or both at once.
#[utoipa::path(patch, path = "/v1/admin/users/{id}", tag = "admin", request_body = StandingBody,
    security(("bearer" = [])), params(("id" = String, Path, description = "The id of the account")),
    responses(
        (status = 200, body = UserBody),
        (status = 404, description = "There is no such account"),
        (status = 409, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`last_admin`"),
    ),
)]
async fn change(
    State(db): State<Db>,
    State(roles): State<Arc<Roles>>,
    State(grants): State<Grants>,
    Admin { origin }: Admin,
    Account(id): Account,
    JsonBody(body): JsonBody<StandingBody>,
) -> Result<Json<UserBody>, Problem> {
    let mut check = Check::default();
    let wanted = match body.roles.as_deref() {
        None => Ok(None),
        Some([]) => Err("must have at least one role".to_owned()),
        Some(wanted) => roles.check(wanted).map(Some).map_err(|error| error.to_string()),
    };
    let Some(wanted) = check.field("roles", wanted) else { return Err(check.refusal()) };
    let rules = grants.rules;
    let wanted = Change { active: body.is_active, roles: wanted };
    let outcome = db
        .write(async move |tx| standing::change(tx, &id, &wanted, LastAdmin::MustStay, &origin, rules).await);
    Ok(Json(UserBody::new(changed(outcome.await?)?, &roles)))
}

/// Delete an account, for good.
///
/// Every session ends. What happened to the account stays in the audit, under its id.
#[utoipa::path(delete, path = "/v1/admin/users/{id}", tag = "admin", security(("bearer" = [])),
    params(("id" = String, Path, description = "The id of the account")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, description = "There is no such account"),
        (status = 409, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`last_admin`"),
    ),
)]
async fn delete(
    State(db): State<Db>,
    State(grants): State<Grants>,
    Admin { origin }: Admin,
    Account(id): Account,
) -> Result<StatusCode, Problem> {
    let rules = grants.rules;
    let outcome =
        db.write(async move |tx| standing::delete(tx, &id, LastAdmin::MustStay, &origin, rules).await);
    changed(outcome.await?).map(|_| StatusCode::NO_CONTENT)
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = NewPassword)]
struct PasswordBody {
    #[schema(required, value_type = String)]
    #[serde(default)]
    password: Password,
}

/// Give an account a new password. Its sessions end.
#[utoipa::path(post, path = "/v1/admin/users/{id}/password", tag = "admin", request_body = PasswordBody,
    security(("bearer" = [])), params(("id" = String, Path, description = "The id of the account")),
    responses((status = 204, description = "Set"), (status = 404, description = "There is no such account")),
)]
async fn set_password(
    State(db): State<Db>,
    State(passwords): State<NewPasswords>,
    State(grants): State<Grants>,
    State(outbox): State<Outbox>,
    Admin { origin }: Admin,
    Account(id): Account,
    JsonBody(body): JsonBody<PasswordBody>,
) -> Result<StatusCode, Problem> {
    let user = store::find(db.reads(), &id).await?.ok_or_else(none)?;
    let long_enough = passwords.check_length(&body.password);
    long_enough.map_err(|weak| Problem::invalid_field("password", weak))?;
    let password_hash = passwords.hash_for(&user, body.password).await?;
    let email = Email::parse(&user.email).map_err(|error| Problem::internal(&error))?;
    let (notice, rules) = (outbox.notice(mail::Kind::PasswordChanged, email), grants.rules);
    let set = db.write(async move |tx| {
        standing::set_password(tx, &id, &password_hash, notice.as_ref(), &origin, rules).await
    });
    set.await?.map(|_| StatusCode::NO_CONTENT).ok_or_else(none)
}

/// End every session of an account, and every login under way.
#[utoipa::path(delete, path = "/v1/admin/users/{id}/sessions", tag = "admin", security(("bearer" = [])),
    params(("id" = String, Path, description = "The id of the account")),
    responses((status = 204, description = "Ended"), (status = 404, description = "There is no such account")),
)]
async fn end_sessions(
    State(db): State<Db>,
    State(grants): State<Grants>,
    Admin { origin }: Admin,
    Account(id): Account,
) -> Result<StatusCode, Problem> {
    let rules = grants.rules;
    let ended = db.write(async move |tx| standing::end_sessions(tx, &id, &origin, rules).await);
    ended.await?.map(|_| StatusCode::NO_CONTENT).ok_or_else(none)
}

/// Forget the failures of an account, which may log in again at once.
#[utoipa::path(post, path = "/v1/admin/users/{id}/unlock", tag = "admin", security(("bearer" = [])),
    params(("id" = String, Path, description = "The id of the account")),
    responses((status = 204, description = "Not locked"), (status = 404, description = "There is no such account")),
)]
async fn unlock(
    State(db): State<Db>,
    State(limits): State<Limits>,
    Admin { origin }: Admin,
    Account(id): Account,
) -> Result<StatusCode, Problem> {
    let user = store::find(db.reads(), &id).await?.ok_or_else(none)?;
    db.write(async move |tx| limits.unlock(tx, &user, &origin).await).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take the second factor away from someone who has lost it. Every session ends.
#[utoipa::path(delete, path = "/v1/admin/users/{id}/mfa", tag = "admin", security(("bearer" = [])),
    params(("id" = String, Path, description = "The id of the account")),
    responses(
        (status = 204, description = "The password is enough from now on"),
        (status = 404, description = "There is no such account"),
    ),
)]
async fn reset_mfa(
    State(db): State<Db>,
    State(grants): State<Grants>,
    Admin { origin }: Admin,
    Account(id): Account,
) -> Result<StatusCode, Problem> {
    let user = store::find(db.reads(), &id).await?.ok_or_else(none)?;
    let rules = grants.rules;
    db.write(async move |tx| mfa::reset(tx, &user.id, &origin, rules).await).await?;
    Ok(StatusCode::NO_CONTENT)
}
