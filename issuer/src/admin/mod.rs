//! What administrators may do to the accounts of others, and see. Whoever calls must have the role `admin` now, and must
//! have logged in: no program with a key administers.

mod events;
pub mod http;

use ::http::request::Parts;
use axum::extract::{FromRef, FromRequestParts};

use crate::access::ADMIN;
use crate::audit::{Actor, Origin};
use crate::sessions::{Caller, Callers};
use crate::web::{Client, Problem, TrustedProxies};

/// An administrator who calls.
#[derive(Debug)]
pub struct Admin {
    /// Where a change comes from that they make.
    pub origin: Origin,
}

impl<S> FromRequestParts<S> for Admin
where
    S: Send + Sync,
    Callers: FromRef<S>,
    TrustedProxies: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let id = caller.in_person()?.with_role(ADMIN)?.user.id;
        let Ok(client) = Client::from_request_parts(parts, state).await;
        Ok(Self { origin: Origin::request(Actor::User(id), &client) })
    }
}
