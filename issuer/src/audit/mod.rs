//! What happened, to whom, by whom: one event for each change that matters, written in the transaction that makes the
//! change. A log line mirrors it. An event holds no secret. What the events prove is told by [`chain`].

pub mod chain;
pub mod export;
pub mod http;
mod metrics;
pub mod sealer;
pub mod store;
pub mod verify;

use std::net::IpAddr;

use serde::Serialize;
use utoipa::ToSchema;

use crate::accounts::UserId;
use crate::ambient::UnixTime;
use crate::services::ServiceName;
use crate::web::Client;

pub use metrics::Metrics;

/// One table of the kinds and their names, so that none is forgotten where all of them are listed.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident => $name:literal,)+) => {
        /// What happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind {
            $($(#[$doc])* $kind,)+
        }

        impl Kind {
            pub const ALL: &'static [Self] = &[$(Self::$kind,)+];

            /// As it is stored and shown; stable.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }
        }
    };
}

kinds! {
    Registered => "registered",
    Login => "login",
    LoginFailed => "login_failed",
    LoginBlocked => "login_blocked",
    Logout => "logout",
    SessionEnded => "session_ended",
    SessionNewDevice => "session_new_device",
    RefreshReused => "refresh_reused",
    PasswordChanged => "password_changed",
    RoleChanged => "role_changed",
    UserActivated => "user_activated",
    UserDeactivated => "user_deactivated",
    UserDeleted => "user_deleted",
    MfaEnabled => "mfa_enabled",
    MfaDisabled => "mfa_disabled",
    MfaFailed => "mfa_failed",
    BackupCodeUsed => "backup_code_used",
    AccountLocked => "account_locked",
    AccountUnlocked => "account_unlocked",
    /// So many at once that there is no event for each.
    UsersImported => "users_imported",
    ApiKeyCreated => "api_key_created",
    ApiKeyRevoked => "api_key_revoked",
    ServiceCreated => "service_created",
    ServiceRevoked => "service_revoked",
    ServiceTokenIssued => "service_token_issued",
    /// Wrong credentials under the name of a service.
    ServiceTokenRefused => "service_token_refused",
    /// More than a service may do in a minute; once a minute.
    ServiceLimited => "service_limited",
    EmailVerified => "email_verified",
    PasswordResetRequested => "password_reset_requested",
    PasswordReset => "password_reset",
    TradingAccountLinked => "trading_account_linked",
    TradingAccountVerified => "trading_account_verified",
    /// By the broker.
    TradingAccountRefused => "trading_account_refused",
    TradingAccountUnlinked => "trading_account_unlinked",
    /// Which there are, by a service.
    TradingAccountsRead => "trading_accounts_read",
    CredentialsRead => "credentials_read",
    CredentialsRotated => "credentials_rotated",
    CredentialsRotationDue => "credentials_rotation_due",
}

impl Kind {
    /// The kind that is stored as `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text)
    }

    /// Whether the caller got what was asked for.
    pub const fn outcome(self) -> &'static str {
        match self {
            Self::LoginFailed
            | Self::LoginBlocked
            | Self::MfaFailed
            | Self::RefreshReused
            | Self::ServiceTokenRefused
            | Self::ServiceLimited
            | Self::TradingAccountRefused => "failure",
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
    /// A service that showed its token.
    Service(ServiceName),
}

impl Actor {
    fn as_text(&self) -> Option<String> {
        match self {
            Self::Stranger => None,
            Self::User(id) => Some(id.to_string()),
            Self::Operator => Some("operator".to_owned()),
            Self::Issuer => Some("issuer".to_owned()),
            Self::Service(name) => Some(name.as_subject()),
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

    /// The issuer by itself, without a request.
    pub fn issuer() -> Self {
        Self { actor: Actor::Issuer, ..Self::command() }
    }

    /// The same request, and what the issuer does by itself because of it.
    #[must_use]
    pub fn by_issuer(&self) -> Self {
        Self { actor: Actor::Issuer, ..self.clone() }
    }

    /// The same request, once it has shown that it is this user's.
    #[must_use]
    pub fn by_user(&self, user: &UserId) -> Self {
        Self { actor: Actor::User(user.clone()), ..self.clone() }
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

/// An event as it was written.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Recorded {
    pub id: String,
    pub at: UnixTime,
    /// As [`Kind::as_str`] has it; another version of this program may know more.
    pub kind: String,
    pub outcome: String,
    pub actor: Option<String>,
    pub subject: Option<String>,
    pub ip: Option<String>,
    pub device: Option<String>,
    pub session_id: Option<String>,
    pub request_id: Option<String>,
}

/// An event as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub struct EventBody {
    id: String,
    /// RFC 3339.
    at: String,
    /// What happened, such as `login`.
    #[serde(rename = "type")]
    kind: String,
    /// `success` or `failure`.
    outcome: String,
    /// Who made it happen: a user's id, `service:NAME`, `operator`, or `issuer` by its own rules; null for someone whom we do
    /// not know.
    actor: Option<String>,
    /// Whose account it is about, or `service:` and the name of a service.
    subject: Option<String>,
    ip: Option<String>,
    /// What the client called itself.
    device: Option<String>,
    /// Of a session, an API key, a service token or a trading account.
    session_id: Option<String>,
    request_id: Option<String>,
}

impl From<Recorded> for EventBody {
    fn from(event: Recorded) -> Self {
        let Recorded { id, at, kind, outcome, actor, subject, ip, device, session_id, request_id } = event;
        let at = at.to_string();
        Self { id, at, kind, outcome, actor, subject, ip, device, session_id, request_id }
    }
}

impl EventBody {
    /// As its subject may see it: where another user was, an administrator for instance, is not the subject's to know.
    #[must_use]
    pub fn for_its_subject(self) -> Self {
        let another = self.actor.is_some() && self.actor != self.subject;
        if another { Self { ip: None, device: None, request_id: None, ..self } } else { self }
    }
}

/// A page of events, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Events)]
pub struct EventsBody {
    pub items: Vec<EventBody>,
    /// Where the next page begins; null after the last. A page may have fewer events than asked for, or none, and others
    /// may follow.
    pub next_cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_own_name() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.as_str()), Some(*kind));
        }
        assert_eq!(Kind::parse("logi"), None);
    }

    #[test]
    fn no_kind_is_left_out_of_the_list() {
        let listed: Vec<isize> = Kind::ALL.iter().map(|kind| *kind as isize).collect();
        let last = Kind::CredentialsRotationDue as isize;
        assert_eq!(listed, (0..=last).collect::<Vec<_>>());
    }

    #[test]
    fn only_ones_own_whereabouts_are_shown_and_those_of_strangers() {
        let event = |actor: Option<&str>| {
            let event = Recorded {
                id: "1".into(),
                at: UnixTime::from_seconds(1),
                kind: "login".into(),
                outcome: "success".into(),
                actor: actor.map(str::to_owned),
                subject: Some("ada".into()),
                ip: Some("192.0.2.1".into()),
                device: None,
                session_id: None,
                request_id: None,
            };
            EventBody::from(event).for_its_subject().ip
        };
        assert!(event(Some("ada")).is_some() && event(None).is_some());
        assert!(event(Some("root")).is_none() && event(Some("operator")).is_none());
    }
}
