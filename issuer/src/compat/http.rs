//! The compatible routes, group by group.

mod api_auth;
mod auth;

pub use api_auth::{API_DOCS_PATH, API_OPENAPI_PATH, routes as api_auth_routes};
pub use auth::routes as auth_routes;
