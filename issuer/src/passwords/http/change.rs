//! Changing one's own password, by who knows it.

use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::super::{NewPasswords, Password};
use crate::accounts::{self, Email};
use crate::audit::{self, Actor, Event, Kind, Origin};
use crate::login::Logins;
use crate::mail::{self, Outbox};
use crate::sessions::{Caller, ending};
use crate::verification::{self, Purpose};
use crate::web::{Check, Client, JsonBody, Problem, Reason};

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ChangePassword)]
pub(super) struct ChangeBody {
    #[schema(required, value_type = String)]
    #[serde(default)]
    current_password: Password,
    /// The new one.
    #[schema(required, value_type = String)]
    #[serde(default)]
    password: Password,
}

/// Change one's password. Every other session ends, every login under way, and a link that was sent to choose another.
#[utoipa::path(post, path = "/v1/auth/password/change", operation_id = "change_password", tag = "passwords",
    request_body = ChangeBody, security(("bearer" = [])), responses(
        (status = 204, description = "Changed; this session goes on"),
        (status = 403, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`wrong_password`: not the current one"),
        (status = 429, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`rate_limited`: too many failures; `Retry-After` tells the seconds to wait"),
    ),
)]
pub(super) async fn change(
    State(logins): State<Logins>,
    State(passwords): State<NewPasswords>,
    State(outbox): State<Outbox>,
    caller: Caller,
    client: Client,
    JsonBody(body): JsonBody<ChangeBody>,
) -> Result<StatusCode, Problem> {
    let Caller { user, session, .. } = caller.in_person()?;
    let mut check = Check::default();
    let given = check.required("current_password", !body.current_password.is_empty());
    let long_enough = check.field("password", passwords.check_length(&body.password));
    let (Some(()), Some(())) = (given, long_enough) else { return Err(check.refusal()) };
    // 403, not 401: a client that logs in anew on every 401 must not try this twice.
    let wrong = || Problem::new(Reason::WrongPassword);
    let actor = Actor::User(user.id.clone());
    let origin = Origin::request(actor.clone(), &client);
    let confirmed = logins.confirm(&user, body.current_password, &client, actor).await?;
    let credential = confirmed.ok_or_else(wrong)?;
    let hash = passwords.hash_for(&user, body.password).await?;
    let email = Email::parse(&user.email).map_err(|error| Problem::internal(&error))?;
    let notice = outbox.notice(mail::Kind::PasswordChanged, email);
    let rules = logins.grants.rules;
    let changed = logins.db.write(async move |tx| {
        if !accounts::store::change_password(tx, &user.id, &credential, &hash).await? {
            return Ok(false);
        }
        let (subject, session_id) = (Some(&user.id), Some(session.id.as_str()));
        let event = Event { kind: Kind::PasswordChanged, subject, session_id, origin: &origin };
        audit::store::record(tx, event).await?;
        verification::store::withdraw(tx, Purpose::ResetPassword, &user.email).await?;
        ending::end_others(tx, &user.id, &session.id, Kind::SessionEnded, &origin, rules).await?;
        if let Some(notice) = &notice {
            mail::store::post(tx, notice).await?;
        }
        Ok(true)
    });
    // Of several changes at once, only the first knew the current password.
    if changed.await? { Ok(StatusCode::NO_CONTENT) } else { Err(wrong()) }
}
