//! What is told about a token (RFC 7662 §2.2).

use countersign_claims::{AccessClaims, Audience};
use serde::Serialize;
use utoipa::ToSchema;

use crate::accounts::User;
use crate::sessions::{Caller, Session, Subject};
use crate::tokens::FIRST_PARTY;

/// The answer: without `active`, nothing else is told.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Introspection {
    active: bool,
    /// `Bearer` for an access token, `refresh_token` for what is no access token and must not be taken for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    token_type: Option<&'static str>,
    /// Of an access token.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    /// The e-mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    /// The user id, or `service:` and the name of a service.
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    aud: Option<Audience>,
    /// Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    /// Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
}

impl Introspection {
    /// For what is no token of ours, is no longer good, or is not the caller's to know about.
    pub fn inactive() -> Self {
        Self::default()
    }

    pub(super) fn access(claims: AccessClaims) -> Self {
        Self {
            active: true,
            token_type: Some("Bearer"),
            scope: claims.scope,
            client_id: claims.client_id,
            username: claims.email,
            sub: Some(claims.sub),
            iss: Some(claims.iss),
            aud: Some(claims.aud),
            exp: Some(claims.exp),
            iat: claims.iat,
            jti: claims.jti,
            session_id: claims.session_id,
        }
    }

    pub(super) fn refresh(user: User, session: &Session) -> Self {
        Self {
            active: true,
            token_type: Some("refresh_token"),
            client_id: Some(FIRST_PARTY.to_owned()),
            username: Some(user.email),
            sub: Some(user.id.to_string()),
            exp: Some(session.refreshable_until().seconds()),
            iat: Some(session.rotated_at.unwrap_or(session.created_at).seconds()),
            session_id: Some(session.id.to_string()),
            ..Self::default()
        }
    }
}

/// Whether this caller may know about the tokens of `owner`.
pub(super) fn may_know(caller: &Caller, owner: &User) -> bool {
    caller.user.id == owner.id || administers(caller)
}

/// Whether this caller may know about the tokens of everyone.
pub(super) fn administers(caller: &Caller) -> bool {
    // A key of an administrator's may have been made for something else.
    caller.user.is_admin() && matches!(caller.subject(), Subject::User(_))
}
