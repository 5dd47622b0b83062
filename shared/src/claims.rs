//! The claims of an access token (RFC 9068 §2.2, with the roles, session and permissions of this platform).
//!
//! A token is for a user or for a service. A service has got its own with its own credentials (RFC 6749 §4.4): its `sub` is
//! `service:` and its name, which no user id begins with, its `client_id` is the name, and nothing in it speaks of a person
//! (no session, address, name, role or login). What is half of each is no token.

use serde::{Deserialize, Serialize};

use crate::strict_json::not_null;

/// What an access token says. Times are whole seconds since the Unix epoch.
///
/// A claim is there with a value or it is not there: `null`, which some would take for one and some for the other,
/// is refused like any other wrong type, in every claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessClaims {
    /// Issuer (RFC 7519 §4.1.1).
    pub iss: String,
    /// The services the token is meant for (RFC 7519 §4.1.3).
    pub aud: Audience,
    /// The user id, or [`SERVICE`] and the name of a service.
    pub sub: String,
    /// The first second in which the token is no longer valid.
    pub exp: i64,
    /// The first second in which the token is valid.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// When the token was issued.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub iat: Option<i64>,
    /// Token id.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// `first-party`, or the service that the token was issued to (RFC 8693 §4.3).
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The login session: the handle by which a token is revoked.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Of a service: which of its secrets it has got the token with, the handle by which the token is revoked.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub credential_id: Option<String>,
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default)]
    pub roles: Vec<String>,
    /// The permissions that the roles grant, or those of the service, space-separated (RFC 8693 §4.2).
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// How the user authenticated (RFC 8176): `pwd`, `otp`, `api_key`.
    #[serde(default)]
    pub amr: Vec<String>,
    /// When the user authenticated.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<i64>,
}

/// What `sub` begins with in the token of a service.
pub const SERVICE: &str = "service:";

impl AccessClaims {
    /// The name of the service that the token is for; `None` for a user's.
    pub fn service(&self) -> Option<&str> {
        self.sub.strip_prefix(SERVICE)
    }

    /// What the token is revoked by: a session or an API key, or a secret of a service.
    pub fn revoked_by(&self) -> Option<&str> {
        self.session_id.as_deref().or(self.credential_id.as_deref())
    }

    /// Whether it is the token of a user or of a service, and not half of each.
    pub(crate) fn is_of_one_kind(&self) -> bool {
        let Some(name) = self.service() else { return !self.sub.is_empty() && self.credential_id.is_none() };
        let of_a_person = self.session_id.is_some()
            || self.email.is_some()
            || self.name.is_some()
            || self.auth_time.is_some()
            || !self.roles.is_empty()
            || !self.amr.is_empty();
        !name.is_empty()
            && self.client_id.as_deref() == Some(name)
            && self.credential_id.as_deref().is_some_and(|id| !id.is_empty())
            && !of_a_person
    }

    /// The permissions in `scope`, in the order in which they were granted.
    pub fn permissions(&self) -> impl Iterator<Item = &str> {
        self.scope.as_deref().unwrap_or_default().split_ascii_whitespace()
    }

    pub fn has_permission(&self, permission: &str) -> bool {
        self.permissions().any(|granted| granted == permission)
    }

    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|held| held == role)
    }
}

/// The `aud` claim: one string, or an array of them (RFC 7519 §4.1.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    pub fn contains(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Many(many) => many.iter().any(|entry| entry == audience),
        }
    }
}
