//! What an access token says, and signing it.

use std::sync::Arc;

use countersign_claims::{AccessClaims, Audience, Reject, mint};
use uuid::Uuid;

use super::{LiveKeys, View};
use crate::accounts::User;
use crate::ambient::{Ids, UnixTime};
use crate::config::{Roles, Settings, Tokens};
use crate::services::ServiceName;

/// The client of people who log in themselves (RFC 9068 §2.2).
pub const FIRST_PARTY: &str = "first-party";

/// Whom a token is for.
#[derive(Debug, Clone, Copy)]
pub struct Bearer<'a> {
    pub user: &'a User,
    pub session_id: &'a str,
    /// RFC 8176.
    pub amr: &'a [String],
    pub authenticated_at: UnixTime,
    /// How long the token lives, in seconds.
    pub lifetime: i64,
    /// No token of the session outlives it.
    pub ends_at: UnixTime,
    /// Of what the user's roles grant, only these, and no role, which may stand for more. `None`: all of it.
    pub scopes: Option<&'a [String]>,
}

/// A service that a token is for (RFC 9068 §2.2).
#[derive(Debug, Clone, Copy)]
pub struct ServiceBearer<'a> {
    pub name: &'a ServiceName,
    /// The secret that the token is issued for, by which it is revoked.
    pub credential_id: &'a str,
    pub permissions: &'a [&'a str],
    /// How long the token lives, in seconds.
    pub lifetime: i64,
}

/// A signed token.
#[derive(Debug)]
pub struct Minted {
    pub access_token: String,
    /// Seconds.
    pub expires_in: i64,
    /// As the token says it.
    pub scope: String,
}

/// Makes access tokens; cheap to clone.
#[derive(Debug, Clone)]
pub struct Minter {
    rules: Arc<Rules>,
    keys: Arc<LiveKeys>,
    ids: Ids,
}

/// What tokens say under a configuration.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    tokens: Tokens,
    roles: Roles,
}

impl Rules {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { tokens: settings.tokens.clone(), roles: settings.roles.clone() }
    }

    pub(super) fn claims(&self, bearer: Bearer<'_>, id: Uuid, now: UnixTime) -> AccessClaims {
        let Bearer { user, session_id, amr, authenticated_at, lifetime, ends_at, scopes } = bearer;
        let mut granted = self.roles.permissions(&user.roles);
        granted.retain(|permission| scopes.is_none_or(|scopes| scopes.iter().any(|one| one == permission)));
        let exp = now.plus(lifetime).min(ends_at);
        AccessClaims {
            iss: self.tokens.issuer.clone(),
            aud: Audience::One(self.tokens.audience.clone()),
            sub: user.id.to_string(),
            exp: exp.seconds(),
            nbf: None,
            iat: Some(now.seconds()),
            jti: Some(id.to_string()),
            client_id: Some(FIRST_PARTY.to_owned()),
            session_id: Some(session_id.to_owned()),
            credential_id: None,
            email: Some(user.email.clone()),
            name: Some(user.name.clone()),
            roles: if scopes.is_none() { user.roles.clone() } else { Vec::new() },
            scope: Some(granted.join(" ")),
            amr: amr.to_vec(),
            auth_time: Some(authenticated_at.seconds()),
        }
    }

    pub(super) fn service_claims(&self, bearer: ServiceBearer<'_>, id: Uuid, now: UnixTime) -> AccessClaims {
        let ServiceBearer { name, credential_id, permissions, lifetime } = bearer;
        AccessClaims {
            iss: self.tokens.issuer.clone(),
            aud: Audience::One(self.tokens.audience.clone()),
            sub: name.as_subject(),
            exp: now.plus(lifetime).seconds(),
            nbf: None,
            iat: Some(now.seconds()),
            jti: Some(id.to_string()),
            client_id: Some(name.to_string()),
            session_id: None,
            credential_id: Some(credential_id.to_owned()),
            email: None,
            name: None,
            roles: Vec::new(),
            scope: Some(permissions.join(" ")),
            amr: Vec::new(),
            auth_time: None,
        }
    }
}

impl Minter {
    pub fn new(settings: &Settings, keys: Arc<LiveKeys>, ids: Ids) -> Self {
        Self { rules: Arc::new(Rules::new(settings)), keys, ids }
    }

    /// The key that signs now. Whoever changes something for a token asks for it first: without a key, nothing changes.
    ///
    /// # Errors
    /// [`Reject::Unavailable`] if no key signs now.
    pub fn signer(&self) -> Result<Signer<'_>, Reject> {
        let view = self.keys.at(self.ids.clock.now().seconds());
        if view.signing().is_none() {
            tracing::error!(event = "no_signing_key", "no key signs now");
            return Err(Reject::Unavailable);
        }
        Ok(Signer { minter: self, view })
    }
}

/// A key that signs.
#[derive(Debug)]
pub struct Signer<'m> {
    minter: &'m Minter,
    view: Arc<View>,
}

impl Signer<'_> {
    /// # Errors
    /// [`Reject::Unavailable`] if it cannot be signed, which the log explains.
    pub fn sign(&self, bearer: Bearer<'_>) -> Result<Minted, Reject> {
        self.seal(|rules, id, now| rules.claims(bearer, id, now))
    }

    /// # Errors
    /// As [`sign`](Self::sign).
    pub fn sign_for_service(&self, bearer: ServiceBearer<'_>) -> Result<Minted, Reject> {
        self.seal(|rules, id, now| rules.service_claims(bearer, id, now))
    }

    fn seal(&self, claims: impl FnOnce(&Rules, Uuid, UnixTime) -> AccessClaims) -> Result<Minted, Reject> {
        let Minter { rules, ids, .. } = self.minter;
        let (kid, key) = self.view.signing().ok_or(Reject::Unavailable)?;
        let now = ids.clock.now();
        let claims = claims(rules, ids.uuid(), now);
        let expires_in = UnixTime::from_seconds(claims.exp).since(now);
        match mint(kid, &claims, key, rules.tokens.alg) {
            Ok(access_token) => {
                Ok(Minted { access_token, expires_in, scope: claims.scope.unwrap_or_default() })
            }
            Err(error) => {
                tracing::error!(event = "mint_failed", kid, error = %error, "cannot sign");
                Err(Reject::Unavailable)
            }
        }
    }
}
