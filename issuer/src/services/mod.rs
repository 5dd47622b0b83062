//! Services of ours that call the internal listener: what they are called, what each may ask for, and the secret that it
//! shows. A service token opens `/v1/internal` and nothing else, and nothing else opens that.

mod caller;
pub mod standing;
pub mod store;

use std::fmt;

use crate::ambient::UnixTime;

pub use caller::{Service, Services, misplaced};

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
    /// # Errors
    /// [`InvalidServiceName`].
    pub fn parse(text: &str) -> Result<Self, InvalidServiceName> {
        let fits = (1..=48).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.".contains(&b));
        if fits { Ok(Self(text.to_owned())) } else { Err(InvalidServiceName) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As the audit names it; no account has such an id.
    pub fn as_subject(&self) -> String {
        format!("{AUDITED}{}", self.0)
    }
}

/// What the audit puts ahead of the names of services.
pub const AUDITED: &str = "service:";

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a service may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    RevocationsRead,
    ApiKeysExchange,
    TradingAccountsRead,
    CredentialsRead,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no scope {scope:?}; there are {}", Scope::ALL.map(Scope::as_str).join(", "))]
pub struct UnknownScope {
    scope: String,
}

impl Scope {
    pub const ALL: [Self; 4] =
        [Self::RevocationsRead, Self::ApiKeysExchange, Self::TradingAccountsRead, Self::CredentialsRead];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RevocationsRead => "revocations:read",
            Self::ApiKeysExchange => "api-keys:exchange",
            Self::TradingAccountsRead => "trading-accounts:read",
            Self::CredentialsRead => "credentials:read",
        }
    }

    /// # Errors
    /// [`UnknownScope`].
    pub fn parse(text: &str) -> Result<Self, UnknownScope> {
        let known = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        known.ok_or_else(|| UnknownScope { scope: text.to_owned() })
    }
}

/// One secret of a service, without the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceToken {
    pub id: String,
    pub name: ServiceName,
    /// As they are stored; another version of this program may know more of them.
    pub scopes: Vec<String>,
    pub created_at: UnixTime,
    /// To within [`USE_NOTED_EVERY`].
    pub last_used_at: Option<UnixTime>,
}

/// Seconds between two notes that a secret is in use.
pub const USE_NOTED_EVERY: i64 = 600;

impl ServiceToken {
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.iter().any(|own| own == scope.as_str())
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
    fn a_scope_has_one_name() {
        for scope in Scope::ALL {
            assert_eq!(Scope::parse(scope.as_str()), Ok(scope));
        }
        let unknown = Scope::parse("revocations:*").unwrap_err().to_string();
        assert_eq!(
            unknown,
            "there is no scope \"revocations:*\"; there are revocations:read, api-keys:exchange, \
             trading-accounts:read, credentials:read"
        );
    }

    #[test]
    fn a_use_is_noted_now_and_then() {
        let at = UnixTime::from_seconds;
        let token = |last_used_at| ServiceToken {
            id: String::new(),
            name: ServiceName::parse("edge").unwrap(),
            scopes: vec!["revocations:read".into(), "of a later version".into()],
            created_at: at(0),
            last_used_at,
        };
        assert!(token(None).is_use_news(at(0)) && token(Some(at(0))).is_use_news(at(600)));
        assert!(!token(Some(at(0))).is_use_news(at(599)));
        assert!(token(None).may(Scope::RevocationsRead) && !token(None).may(Scope::ApiKeysExchange));
    }
}
