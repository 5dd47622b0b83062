//! What services ask about users, of whom they have no token.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRef, State};
use axum::response::{IntoResponse as _, Response};
use http::header::CACHE_CONTROL;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::{DECISION_LIFETIME, Decision, MOST_CHECKS};
use crate::accounts::{self, User, UserId};
use crate::config::Roles;
use crate::db::{Db, Error};
use crate::services::{Scope, Service, Services};
use crate::sessions::grant::Grants;
use crate::web::{JsonBody, Problem};

/// For the internal listener.
pub fn internal_routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Db: FromRef<S>,
    Grants: FromRef<S>,
    Arc<Roles>: FromRef<S>,
    Services: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(check_users))
}

/// One question, or several in `checks`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = QuestionAboutUsers)]
struct QuestionBody {
    /// Whom it is about.
    user_id: Option<String>,
    /// Without one, nothing is allowed.
    #[schema(example = "alerts:read")]
    #[serde(default)]
    permission: String,
    /// Not looked at: a permission holds for every resource.
    #[serde(default, rename = "resource")]
    #[schema(value_type = serde_json::Value)]
    _resource: IgnoredAny,
    /// Up to 100 questions, instead of the one.
    checks: Option<Vec<CheckBody>>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = QuestionAboutUser)]
struct CheckBody {
    /// Whom it is about.
    #[schema(value_type = String)]
    user_id: Option<String>,
    /// Without one, nothing is allowed.
    #[serde(default)]
    permission: String,
    /// Not looked at.
    #[serde(default, rename = "resource")]
    #[schema(value_type = serde_json::Value)]
    _resource: IgnoredAny,
}

/// To one question its answer, to several `results` in their order.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = DecisionsAboutUsers)]
enum AnswerBody {
    One(OneBody),
    Several(SeveralBody),
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DecisionAboutUser)]
struct OneBody {
    allowed: bool,
    /// `granted`, `not_granted`, `unknown_permission`, `unknown_user` or `user_inactive`.
    reason: &'static str,
    /// Seconds for which the answer may be kept.
    expires_in: i64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SeveralDecisionsAboutUsers)]
struct SeveralBody {
    results: Vec<ResultBody>,
    /// Seconds for which the answers may be kept.
    expires_in: i64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ResultAboutUser)]
struct ResultBody {
    allowed: bool,
    /// As of one question.
    reason: &'static str,
}

struct Question {
    user_id: String,
    permission: String,
}

impl QuestionBody {
    /// The questions, and whether it is one by itself.
    fn read(self) -> Result<(bool, Vec<Question>), Problem> {
        let Self { user_id, permission, checks, .. } = self;
        match (user_id, checks) {
            (Some(user_id), None) => Ok((true, vec![Question { user_id, permission }])),
            (None, Some(checks)) if (1..=MOST_CHECKS).contains(&checks.len()) => {
                let questions = checks.into_iter().enumerate().map(|(at, check)| {
                    let CheckBody { user_id, permission, .. } = check;
                    let missing = || Problem::invalid_field(format!("checks[{at}].user_id"), "is required");
                    Ok(Question { user_id: user_id.ok_or_else(missing)?, permission })
                });
                Ok((false, questions.collect::<Result<_, Problem>>()?))
            }
            (None, None) => Err(Problem::invalid_field("user_id", "is required")),
            (None, Some(_)) => {
                Err(Problem::invalid_field("checks", format_args!("must have 1 to {MOST_CHECKS}")))
            }
            (Some(_), Some(_)) => Err(Problem::invalid_field("checks", "cannot stand beside user_id")),
        }
    }
}

/// Whether users may do what needs a permission. Scope `authz:check`.
///
/// Allowed is what the roles grant that the account has now, whether or not its owner is logged in. The answer may be kept for
/// `expires_in` seconds, as `Cache-Control` says, and no longer.
#[utoipa::path(post, path = "/v1/internal/authz/check", tag = "access", security(("service_token" = [])),
    request_body = QuestionBody,
    responses(
        (status = 200, body = AnswerBody, description = "Also for users and permissions that there are not: `allowed` is false"),
        (status = 401, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`service_token_missing`, `service_token_invalid`, `credential_misplaced`"),
        (status = 403, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`service_scope_missing`"),
        (status = 422, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`invalid_fields`: no question, or too many"),
        (status = 429, body = inline(crate::web::ProblemBody<'_>), content_type = "application/problem+json",
         description = "`rate_limited`: too many calls of this service in a minute; `Retry-After` tells the seconds to wait"),
    ),
)]
async fn check_users(
    State(db): State<Db>,
    State(grants): State<Grants>,
    State(roles): State<Arc<Roles>>,
    service: Service,
    JsonBody(question): JsonBody<QuestionBody>,
) -> Result<Response, Problem> {
    service.with_scope(Scope::AuthzCheck)?;
    let (is_one, questions) = question.read()?;
    let decisions = decide(&db, &roles, grants.rules.verified_only, &questions).await?;
    let result = |decision: Decision| (decision == Decision::Granted, decision.reason());
    let results: Vec<_> = decisions.into_iter().map(result).collect();
    let expires_in = DECISION_LIFETIME;
    let answer = match results.first() {
        Some(&(allowed, reason)) if is_one => AnswerBody::One(OneBody { allowed, reason, expires_in }),
        _ => {
            let results = results.into_iter().map(|(allowed, reason)| ResultBody { allowed, reason });
            AnswerBody::Several(SeveralBody { results: results.collect(), expires_in })
        }
    };
    let cache = format!("private, max-age={expires_in}");
    Ok(([(CACHE_CONTROL, cache)], Json(answer)).into_response())
}

/// The decisions, in the order of the questions. Each user is looked up once.
async fn decide(
    db: &Db,
    roles: &Roles,
    verified_only: bool,
    questions: &[Question],
) -> Result<Vec<Decision>, Error> {
    let mut users: BTreeMap<&str, Option<User>> = BTreeMap::new();
    for Question { user_id, .. } in questions {
        if !users.contains_key(user_id.as_str()) {
            let found = match UserId::parse(user_id) {
                Ok(id) => accounts::store::find(db.reads(), &id).await?,
                Err(_) => None,
            };
            users.insert(user_id, found);
        }
    }
    let decision = |asked: &Question| match users.get(asked.user_id.as_str()).and_then(Option::as_ref) {
        None => Decision::UnknownUser,
        Some(user) if !user.is_active || (verified_only && !user.email_verified) => Decision::UserInactive,
        Some(user) => roles.decide(&user.roles, &asked.permission),
    };
    Ok(questions.iter().map(decision).collect())
}
