//! What happened, to whom, by whom: one event for each change that matters, written in the transaction that makes the
//! change. A log line mirrors it. An event holds no secret.

pub mod store;

use std::net::IpAddr;

use crate::accounts::UserId;
use crate::web::Client;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Registered,
    Login,
    LoginFailed,
    LoginBlocked,
    Logout,
    SessionEnded,
    RefreshReused,
    RoleChanged,
    UserActivated,
    UserDeactivated,
    EmailVerified,
    PasswordChanged,
    PasswordResetRequested,
    PasswordReset,
}

impl Kind {
    /// As it is stored and shown; stable.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Login => "login",
            Self::LoginFailed => "login_failed",
            Self::LoginBlocked => "login_blocked",
            Self::Logout => "logout",
            Self::SessionEnded => "session_ended",
            Self::RefreshReused => "refresh_reused",
            Self::RoleChanged => "role_changed",
            Self::UserActivated => "user_activated",
            Self::UserDeactivated => "user_deactivated",
            Self::EmailVerified => "email_verified",
            Self::PasswordChanged => "password_changed",
            Self::PasswordResetRequested => "password_reset_requested",
            Self::PasswordReset => "password_reset",
        }
    }

    /// Whether the caller got what was asked for.
    pub const fn outcome(self) -> &'static str {
        match self {
            Self::LoginFailed | Self::LoginBlocked | Self::RefreshReused => "failure",
            _ => "success",
        }
    }
}

/// Who made it happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// Nobody whom we know.
    Stranger,
    User(UserId),
    /// Someone who may run commands on the issuer's machine.
    Operator,
    /// This issuer, by its own rules.
    Issuer,
}

impl Actor {
    fn as_str(&self) -> Option<&str> {
        match self {
            Self::Stranger => None,
            Self::User(id) => Some(id.as_str()),
            Self::Operator => Some("operator"),
            Self::Issuer => Some("issuer"),
        }
    }
}

/// Where a change came from.
#[derive(Debug, Clone)]
pub struct Origin {
    pub actor: Actor,
    ip: Option<IpAddr>,
    device: Option<String>,
    request_id: Option<String>,
}

impl Origin {
    pub fn request(actor: Actor, client: &Client) -> Self {
        let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        Self { actor, ip: client.ip, device: text(&client.device), request_id: text(&client.request_id) }
    }

    /// A command of the operator.
    pub fn command() -> Self {
        Self { actor: Actor::Operator, ip: None, device: None, request_id: None }
    }

    /// The same request, and what the issuer does by itself because of it.
    #[must_use]
    pub fn by_issuer(&self) -> Self {
        Self { actor: Actor::Issuer, ..self.clone() }
    }
}

/// An event about to be written.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    pub kind: Kind,
    /// Whose account it is about.
    pub subject: Option<&'a UserId>,
    pub session_id: Option<&'a str>,
    pub origin: &'a Origin,
}
