//! The passwords' routes, and how the errors of hashing are told.

mod change;
mod reset;

use axum::extract::FromRef;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{HashError, NewPasswords, Resets};
use crate::login::Logins;
use crate::mail::Outbox;
use crate::sessions::Callers;
use crate::web::{Problem, Reason, TrustedProxies};

pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Logins: FromRef<S>,
    NewPasswords: FromRef<S>,
    Resets: FromRef<S>,
    Callers: FromRef<S>,
    Outbox: FromRef<S>,
    TrustedProxies: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(change::change))
        .routes(routes!(reset::forgot))
        .routes(routes!(reset::reset_page, reset::reset))
}

impl From<HashError> for Problem {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy => Self::because(Reason::Busy, "Too many logins at the moment; try again"),
            error => Self::internal(&error),
        }
    }
}
