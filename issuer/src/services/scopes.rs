//! What a secret of a service is good for: calls of the internal listener, and permissions at the edge.

use std::fmt;

/// A call of the internal listener, or several of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    RevocationsRead,
    ApiKeysExchange,
    TradingAccountsRead,
    CredentialsRead,
    AuthzCheck,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no scope {scope:?}; for /v1/internal there are {}, and for the edge the permissions of roles and services.scopes: {}",
    Scope::ALL.map(Scope::as_str).join(", "),
    .permissions.join(", ")
)]
pub struct UnknownScope {
    scope: String,
    permissions: Vec<String>,
}

impl Scope {
    pub const ALL: [Self; 5] = [
        Self::RevocationsRead,
        Self::ApiKeysExchange,
        Self::TradingAccountsRead,
        Self::CredentialsRead,
        Self::AuthzCheck,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RevocationsRead => "revocations:read",
            Self::ApiKeysExchange => "api-keys:exchange",
            Self::TradingAccountsRead => "trading-accounts:read",
            Self::CredentialsRead => "credentials:read",
            Self::AuthzCheck => "authz:check",
        }
    }

    fn is(text: &str) -> bool {
        Self::ALL.into_iter().any(|scope| scope.as_str() == text)
    }
}

/// All that one secret is good for. A name of [`Scope`] opens those calls and nothing else; any other is a permission, which
/// the service's tokens say at the edge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scopes(Vec<String>);

impl Scopes {
    /// Those that are asked for, each once; `permissions` are those that there are.
    ///
    /// # Errors
    /// [`UnknownScope`].
    pub fn read(asked: &[String], permissions: &[&str]) -> Result<Self, UnknownScope> {
        let mut scopes = Vec::new();
        for scope in asked {
            if !Scope::is(scope) && !permissions.contains(&scope.as_str()) {
                let permissions = permissions.iter().map(ToString::to_string).collect();
                return Err(UnknownScope { scope: scope.clone(), permissions });
            }
            if !scopes.contains(scope) {
                scopes.push(scope.clone());
            }
        }
        Ok(Self(scopes))
    }

    /// As they are stored; another version of this program may know more of them.
    pub(super) fn stored(text: &str) -> Self {
        Self(text.split_whitespace().map(str::to_owned).collect())
    }

    pub fn hold(&self, scope: Scope) -> bool {
        self.iter().any(|own| own == scope.as_str())
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// What tokens may say. The calls of the internal listener are not among them: those take no token.
    pub fn permissions(&self) -> Vec<&str> {
        self.iter().filter(|scope| !Scope::is(scope)).collect()
    }
}

impl From<&[Scope]> for Scopes {
    fn from(scopes: &[Scope]) -> Self {
        Self(scopes.iter().map(|scope| scope.as_str().to_owned()).collect())
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(asked: &[&str]) -> Result<Scopes, UnknownScope> {
        let asked: Vec<String> = asked.iter().map(ToString::to_string).collect();
        Scopes::read(&asked, &["alerts:write", "quotes:publish"])
    }

    #[test]
    fn a_scope_is_a_call_of_ours_or_a_permission_that_there_is() {
        let scopes = read(&["alerts:write", "authz:check", "alerts:write"]).unwrap();
        assert_eq!(scopes.to_string(), "alerts:write authz:check");
        assert_eq!(Scopes::stored(&scopes.to_string()), scopes);
        assert!(scopes.hold(Scope::AuthzCheck) && !scopes.hold(Scope::CredentialsRead));
        assert_eq!(
            read(&["revocations:*"]).unwrap_err().to_string(),
            "there is no scope \"revocations:*\"; for /v1/internal there are revocations:read, api-keys:exchange, \
             trading-accounts:read, credentials:read, authz:check, and for the edge the permissions of roles and \
             services.scopes: alerts:write, quotes:publish"
        );
    }

    #[test]
    fn what_opens_internal_calls_is_in_no_token() {
        let all = Scopes::from(&Scope::ALL[..]);
        assert_eq!(all.permissions(), [""; 0]);
        assert_eq!(read(&["credentials:read", "quotes:publish"]).unwrap().permissions(), ["quotes:publish"]);
    }
}
