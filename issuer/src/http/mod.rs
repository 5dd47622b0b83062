//! The HTTP wall: the router, and what every room's routes share - problems, bodies, callers, cookies. No room's
//! rule lives here, and no error text from inside reaches a client.

mod caller;
mod client;
mod health;
mod json;
mod layers;
pub(crate) mod origin;
mod problem;
pub(crate) mod refresh_cookie;
mod serve;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use http::{Method, StatusCode, Uri};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub use caller::Caller;
pub use client::Client;
pub use json::{JsonBody, JsonOrEmpty};
pub use layers::install_panic_hook;
pub use problem::{ApiError, Check};
pub use serve::{Limits, ListenError, bind, serve};

use crate::app::App;
use crate::{accounts, login, sessions, tokens};

/// Bodies above this are refused with 413.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The whole service, as the network and the tests call it.
pub fn router(app: App) -> Router {
    let routes = Router::new()
        .merge(accounts::http::routes())
        .merge(login::http::routes())
        .merge(sessions::http::routes())
        .merge(tokens::http::routes())
        .merge(health::routes())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES));
    layers::around(routes, &app).with_state(app)
}

async fn not_found(_: Uri) -> ApiError {
    ApiError::not_found()
}

async fn method_not_allowed(method: Method) -> ApiError {
    let detail = if method.as_str().len() <= 16 {
        format!("{method} is not possible here")
    } else {
        "This method is not possible here".to_owned()
    };
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

/// Unix seconds as RFC 3339 UTC; times beyond the year 9999 read as the epoch.
pub fn rfc3339(unix: i64) -> String {
    OffsetDateTime::from_unix_timestamp(unix)
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())
}
