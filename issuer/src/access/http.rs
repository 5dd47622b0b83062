//! The routes by which others ask what a caller, or a user, may do.

mod internal;

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRef, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Decision;
use crate::config::Roles;
use crate::sessions::{Caller, Callers};
use crate::web::JsonBody;

pub use internal::internal_routes;

pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Callers: FromRef<S>,
    Arc<Roles>: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(check))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = Question)]
struct QuestionBody {
    /// Without one, nothing is allowed.
    #[schema(example = "alerts:read")]
    #[serde(default)]
    permission: String,
    /// Not looked at: a permission holds for every resource.
    #[serde(default, rename = "resource")]
    #[schema(value_type = serde_json::Value)]
    _resource: serde::de::IgnoredAny,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Decision)]
struct DecisionBody {
    allowed: bool,
    /// `granted`, `not_granted` or `unknown_permission`.
    reason: &'static str,
}

/// Whether the caller may do what needs a permission.
///
/// Allowed is what the token was issued for and the caller's roles still grant.
#[utoipa::path(post, path = "/v1/authz/check", tag = "access", request_body = QuestionBody,
    security(("bearer" = [])), responses((status = 200, body = DecisionBody)),
)]
async fn check(
    State(roles): State<Arc<Roles>>,
    caller: Caller,
    JsonBody(question): JsonBody<QuestionBody>,
) -> Json<DecisionBody> {
    let decision = match roles.decide(&caller.user.roles, &question.permission) {
        Decision::Granted if !caller.was_granted(&question.permission) => Decision::NotGranted,
        decision => decision,
    };
    Json(DecisionBody { allowed: decision == Decision::Granted, reason: decision.reason() })
}
