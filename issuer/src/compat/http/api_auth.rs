//! The group `api_auth`: accounts and sessions below `/api/auth`.

mod accounts;
mod checks;
mod mailed;
mod sessions;

use axum::extract::FromRef;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::Compat;
use crate::accounts::User;
use crate::sessions::Callers;
use crate::web::TrustedProxies;

/// Where this group describes itself.
pub const API_OPENAPI_PATH: &str = "/api/auth/openapi.json";
pub const API_DOCS_PATH: &str = "/api/auth/docs";

pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Compat: FromRef<S>,
    Callers: FromRef<S>,
    TrustedProxies: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(accounts::register))
        .routes(routes!(accounts::register_by_email))
        .routes(routes!(accounts::login))
        .routes(routes!(accounts::list))
        .routes(routes!(mailed::verify_email))
        .routes(routes!(mailed::forgot_password))
        .routes(routes!(mailed::reset_password))
        .routes(routes!(sessions::refresh))
        .routes(routes!(sessions::logout))
        .routes(routes!(sessions::logout_all))
        .routes(routes!(sessions::list))
        .routes(routes!(sessions::end))
        .routes(routes!(checks::me))
        .routes(routes!(checks::verify))
        .routes(routes!(checks::public))
        .routes(routes!(checks::protected))
}

/// A user as these clients know them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiAuthUser)]
struct UserBody {
    id: String,
    email: String,
    name: String,
    is_active: bool,
    is_admin: bool,
    /// RFC 3339.
    created_at: String,
}

impl From<User> for UserBody {
    fn from(user: User) -> Self {
        Self {
            id: user.id.to_string(),
            is_admin: user.is_admin(),
            email: user.email,
            name: user.name,
            is_active: user.is_active,
            created_at: user.created_at.to_string(),
        }
    }
}
