//! API keys: what programs of a user show instead of a password. A key may never do more than its owner; what it is worth
//! at the moment is said by a short-lived token, for which the edge exchanges it.
//!
//! A key without scopes may do all that its owner may, and its tokens carry the owner's roles. A key with scopes carries no
//! roles: a rule that asks for a role would give it more than its scopes say.

pub mod ending;
mod exchange;
pub mod http;
pub mod import;
mod metrics;
pub mod store;
mod sweep;

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::accounts::{Name, User, UserId};
use crate::ambient::UnixTime;
use crate::config::Roles;
use crate::secrets::MachineSecret;

pub use exchange::{ApiKeys, Refusal};
pub use metrics::Metrics;
pub use sweep::sweep;

/// What our keys begin with.
pub const PREFIX: &str = "cs_key_";

/// Keys that one user may have.
pub const MOST_KEYS: i64 = 50;

/// Seconds that a token lives for which a key was exchanged: the edge keeps it for less.
const LIFETIME: i64 = 300;

/// How someone authenticated who has shown a key.
pub const AMR: &str = "api_key";

/// Names a key: to its owner, and as `session_id` in tokens and in the feed.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub struct ApiKeyId(String);

impl ApiKeyId {
    pub fn new(id: Uuid) -> Self {
        Self(id.hyphenated().to_string())
    }

    /// Reads a UUID in any of its spellings; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(Self::new)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ApiKeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is stored of a key: the name of a hash, and the hash.
#[derive(Debug, Clone, PartialEq, Eq, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub struct KeyHash(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no hash that keys can be found by: SHA-256 or SHA-512 in hexadecimal, such as sha256:9f86d081…")]
pub struct UnknownHash;

impl KeyHash {
    pub fn sha256(key: &MachineSecret) -> Self {
        Self(format!("sha256:{}", key.sha256()))
    }

    fn sha512(key: &MachineSecret) -> Self {
        Self(format!("sha512:{}", key.sha512()))
    }

    /// As another system has stored it, with the name of the hash ahead or by its length alone.
    ///
    /// # Errors
    /// [`UnknownHash`].
    pub fn parse(text: &str) -> Result<Self, UnknownHash> {
        let (name, hex) = match text.split_once([':', '$']) {
            Some((name, hex)) => (Some(name.to_ascii_lowercase().replace('-', "")), hex),
            None => (None, text),
        };
        let of_length = match hex.len() {
            64 => "sha256",
            128 => "sha512",
            _ => return Err(UnknownHash),
        };
        let fits = name.is_none_or(|name| name == of_length) && hex.bytes().all(|b| b.is_ascii_hexdigit());
        if fits { Ok(Self(format!("{of_length}:{}", hex.to_ascii_lowercase()))) } else { Err(UnknownHash) }
    }
}

/// A key, without what it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub owner: UserId,
    pub name: String,
    /// How it begins.
    pub hint: String,
    /// `None`: all that its owner may do.
    pub scopes: Option<Vec<String>>,
    pub created_at: UnixTime,
    pub expires_at: Option<UnixTime>,
    /// To within [`USE_NOTED_EVERY`].
    pub last_used_at: Option<UnixTime>,
}

/// Seconds between two notes that a key is in use.
pub const USE_NOTED_EVERY: i64 = 600;

impl ApiKey {
    pub fn has_expired(&self, now: UnixTime) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// Whether it is to be noted that it was used now.
    fn is_use_news(&self, now: UnixTime) -> bool {
        self.last_used_at.is_none_or(|noted| now.since(noted) >= USE_NOTED_EVERY)
    }
}

/// A key as its owner is shown it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub struct ApiKeyBody {
    id: String,
    name: String,
    /// How the key begins; empty for one of another system that did not say.
    prefix: String,
    /// Null: all that its owner may do.
    scopes: Option<Vec<String>>,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339.
    expires_at: Option<String>,
    /// RFC 3339, to within some minutes.
    last_used_at: Option<String>,
}

impl From<ApiKey> for ApiKeyBody {
    fn from(key: ApiKey) -> Self {
        let ApiKey { id, owner: _, name, hint, scopes, created_at, expires_at, last_used_at } = key;
        Self {
            id: id.to_string(),
            name,
            prefix: hint,
            scopes,
            created_at: created_at.to_string(),
            expires_at: expires_at.map(|at| at.to_string()),
            last_used_at: last_used_at.map(|at| at.to_string()),
        }
    }
}

/// A key to be made.
#[derive(Debug, Clone)]
pub struct NewKey {
    pub id: ApiKeyId,
    pub owner: UserId,
    pub name: Name,
    pub hint: String,
    pub hash: KeyHash,
    pub scopes: Option<Vec<String>>,
    pub created_at: UnixTime,
    pub expires_at: Option<UnixTime>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidScopes {
    #[error("must name at least one permission; leave it out for all that its owner may do")]
    None,
    #[error("may only have permissions of the owner: {0}")]
    NotGranted(String),
}

/// The scopes without repetition, if all of them are the owner's to give.
///
/// # Errors
/// [`InvalidScopes`].
pub fn check_scopes(scopes: &[String], owner: &User, roles: &Roles) -> Result<Vec<String>, InvalidScopes> {
    let granted = roles.permissions(&owner.roles);
    if scopes.is_empty() {
        return Err(InvalidScopes::None);
    }
    let mut checked: Vec<String> = Vec::new();
    for scope in scopes {
        if !granted.contains(&scope.as_str()) {
            return Err(InvalidScopes::NotGranted(granted.join(", ")));
        }
        if !checked.contains(scope) {
            checked.push(scope.clone());
        }
    }
    Ok(checked)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a date and time to come with an offset, such as 2027-11-20T00:00:00Z")]
pub struct InvalidExpiry;

/// When a key is to end.
///
/// # Errors
/// [`InvalidExpiry`].
pub fn check_expiry(text: &str, now: UnixTime) -> Result<UnixTime, InvalidExpiry> {
    UnixTime::from_rfc3339(text).filter(|at| *at > now).ok_or(InvalidExpiry)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ambient::Entropy;

    const NOW: UnixTime = UnixTime::from_seconds(1_795_176_000);

    fn owner() -> User {
        User {
            id: UserId::new(Uuid::nil()),
            email: "ada@example.com".into(),
            email_verified: true,
            username: None,
            name: "Ada".into(),
            phone: None,
            roles: vec!["user".into()],
            is_active: true,
            mfa_enabled: false,
            created_at: NOW,
            updated_at: NOW,
        }
    }

    #[test]
    fn nobody_gives_a_key_more_than_they_have() {
        let table = |name: &str, permissions: &[&str]| {
            (name.to_owned(), permissions.iter().map(|p| (*p).to_owned()).collect())
        };
        let roles = Roles(BTreeMap::from([table("user", &["a:read", "b:read"]), table("admin", &["c:all"])]));
        let check = |scopes: &[&str]| {
            let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
            check_scopes(&scopes, &owner(), &roles)
        };
        assert_eq!(check(&["b:read", "a:read", "b:read"]).unwrap(), ["b:read", "a:read"]);
        assert_eq!(check(&[]), Err(InvalidScopes::None));
        for beyond in ["c:all", "*", "a:*", "a:read b:read", "", "A:READ"] {
            let refused = InvalidScopes::NotGranted("a:read, b:read".into());
            assert_eq!(check(&["a:read", beyond]), Err(refused), "{beyond}");
        }
    }

    #[test]
    fn a_key_ends_in_the_future() {
        assert_eq!(check_expiry("2026-11-20T13:00:01+01:00", NOW), Ok(NOW.plus(1)));
        for bad in
            ["2026-11-20T12:00:00Z", "2020-01-01T00:00:00Z", "2027-01-01", "tomorrow", "", "1900000000"]
        {
            assert_eq!(check_expiry(bad, NOW), Err(InvalidExpiry), "{bad}");
        }
    }

    #[test]
    fn a_hash_of_another_system_is_found_by_its_key() {
        let key = MachineSecret::read(PREFIX, b"sk_live_0123456789abcdef").unwrap();
        let (short, long) = (key.sha256(), key.sha512());
        for text in
            [short.clone(), short.to_uppercase(), format!("sha256:{short}"), format!("SHA-256${short}")]
        {
            assert_eq!(KeyHash::parse(&text), Ok(KeyHash::sha256(&key)), "{text}");
        }
        for text in [long.clone(), format!("sha512:{long}")] {
            assert_eq!(KeyHash::parse(&text), Ok(KeyHash::sha512(&key)), "{text}");
        }
        let bcrypt = "$2b$12$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
        for bad in
            ["", &short[..63], &format!("sha512:{short}"), &format!("md5:{short}"), bcrypt, &"g".repeat(64)]
        {
            assert_eq!(KeyHash::parse(bad), Err(UnknownHash), "{bad}");
        }
        let ours = MachineSecret::draw(PREFIX, &Entropy::seeded(1));
        assert_eq!(KeyHash::parse(&ours.sha256()), Ok(KeyHash::sha256(&ours)));
    }
}
