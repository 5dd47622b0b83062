//! The passwords' routes, and how the errors of hashing are told.

use axum::extract::FromRef;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{HashError, NewPasswords, change, reset};
use crate::ambient::Clock;
use crate::db::Db;
use crate::mail::Outbox;
use crate::sessions::Callers;
use crate::sessions::grant::Grants;
use crate::verification::Verification;
use crate::web::{Problem, Reason, TrustedProxies};

pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Db: FromRef<S>,
    Clock: FromRef<S>,
    NewPasswords: FromRef<S>,
    Grants: FromRef<S>,
    Callers: FromRef<S>,
    Outbox: FromRef<S>,
    Verification: FromRef<S>,
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
