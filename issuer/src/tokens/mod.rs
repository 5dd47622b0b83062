//! Access tokens and the keys that sign them. What a token says is decided here; what a token is, and how one is
//! checked, is in `countersign-claims`, which the edge shares.

pub mod http;
mod keys;
mod largest;
pub mod reload;
pub mod schedule;

use countersign_claims::{AccessClaims, Audience, Reject, mint};

use crate::accounts::User;
use crate::app::App;
use crate::config::Settings;
use crate::http::ApiError;
use crate::sessions::Session;

pub use keys::{KeySet, LiveKeys, View};
pub use largest::oversize;

/// The client of people who log in themselves (RFC 9068 §2.2).
const FIRST_PARTY: &str = "first-party";

/// Signs an access token for a session of `user`.
///
/// # Errors
/// 503 if no key signs now.
pub fn issue(app: &App, user: &User, session: &Session) -> Result<String, ApiError> {
    let now = app.clock.now();
    let view = app.keys.at(now);
    let (kid, key) = view.signing().ok_or(Reject::Unavailable)?;
    mint(kid, &claims(&app.settings, user, session, app.new_id(), now), key).map_err(|error| {
        tracing::error!(event = "mint_failed", kid, error = %error, "cannot sign");
        Reject::Unavailable.into()
    })
}

fn claims(settings: &Settings, user: &User, session: &Session, jti: String, now: i64) -> AccessClaims {
    let Settings { tokens, roles, .. } = settings;
    AccessClaims {
        iss: tokens.issuer.clone(),
        aud: Audience::One(tokens.audience.clone()),
        sub: user.id.clone(),
        exp: now.saturating_add(tokens.access_lifetime),
        nbf: None,
        iat: Some(now),
        jti: Some(jti),
        client_id: Some(FIRST_PARTY.to_owned()),
        session_id: Some(session.id.clone()),
        email: Some(user.email.clone()),
        name: Some(user.name.clone()),
        roles: user.roles.clone(),
        scope: Some(roles.permissions(&user.roles).join(" ")),
        amr: session.amr.clone(),
        auth_time: Some(session.created_at),
    }
}
