//! Services of ours: what they are called, what each may do, and the secrets that they show. A secret opens `/v1/internal`,
//! as far as its scopes go, and nothing else opens that. For calls through the edge it is exchanged for short-lived tokens,
//! which are a service's and never a person's. The rules; no I/O.

mod caller;
mod issuing;
mod metrics;
mod scopes;
pub mod standing;
pub mod store;

use std::fmt;

use crate::ambient::UnixTime;

pub use caller::{Service, Services, misplaced};
pub use issuing::{Asked, Issuing, Refusal};
pub use metrics::Metrics;
pub use scopes::{Scope, Scopes, UnknownScope};

/// What our secrets begin with.
pub const PREFIX: &str = "cs_service_";

/// Live secrets of one service, at most: a few while one is replaced.
pub const MOST_SECRETS: i64 = 10;

/// What a service is called: `edge`, `ticker-2`.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub struct ServiceName(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to 48 of a-z, 0-9, '_', '-' and '.'")]
pub struct InvalidServiceName;

impl ServiceName {
    /// In bytes.
    const LONGEST: usize = 48;

    /// # Errors
    /// [`InvalidServiceName`].
    pub fn parse(text: &str) -> Result<Self, InvalidServiceName> {
        let fits = (1..=Self::LONGEST).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.".contains(&b));
        if fits { Ok(Self(text.to_owned())) } else { Err(InvalidServiceName) }
    }

    /// One that is as long as a name may be.
    pub fn longest() -> Self {
        Self("x".repeat(Self::LONGEST))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As the audit and tokens name it; no account has such an id.
    pub fn as_subject(&self) -> String {
        format!("{AUDITED}{}", self.0)
    }
}

/// What the audit and tokens put ahead of the names of services.
pub const AUDITED: &str = countersign_claims::SERVICE;

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One secret of a service, without the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceToken {
    pub id: String,
    pub name: ServiceName,
    pub scopes: Scopes,
    pub created_at: UnixTime,
    /// To within [`USE_NOTED_EVERY`].
    pub last_used_at: Option<UnixTime>,
}

/// Seconds between two notes that a secret is in use.
pub const USE_NOTED_EVERY: i64 = 600;

impl ServiceToken {
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.hold(scope)
    }

    /// Whether it is to be noted that it was used now.
    pub fn is_use_news(&self, now: UnixTime) -> bool {
        self.last_used_at.is_none_or(|noted| now.since(noted) >= USE_NOTED_EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::UserId;

    #[test]
    fn a_name_is_short_and_plain_and_no_account_is_called_so_in_the_audit() {
        for good in ["edge", "ticker-2", "a.b_c", &"x".repeat(48)] {
            let name = ServiceName::parse(good).unwrap();
            assert!(UserId::parse(&name.as_subject()).is_err(), "{good}");
        }
        for bad in ["", "Edge", "a b", "ä", "a:b", &"x".repeat(49)] {
            assert_eq!(ServiceName::parse(bad), Err(InvalidServiceName), "{bad}");
        }
    }

    #[test]
    fn a_use_is_noted_now_and_then() {
        let at = UnixTime::from_seconds;
        let token = |last_used_at| ServiceToken {
            id: String::new(),
            name: ServiceName::parse("edge").unwrap(),
            scopes: Scopes::stored("revocations:read of-a-later-version"),
            created_at: at(0),
            last_used_at,
        };
        assert!(token(None).is_use_news(at(0)) && token(Some(at(0))).is_use_news(at(600)));
        assert!(!token(Some(at(0))).is_use_news(at(599)));
        assert!(token(None).may(Scope::RevocationsRead) && !token(None).may(Scope::ApiKeysExchange));
    }
}
