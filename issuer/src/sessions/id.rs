//! What names a session: in tokens, to verifiers, and to its owner.

use std::fmt;

use uuid::Uuid;

use crate::api_keys::ApiKeyId;

/// A UUIDv7, lower case and hyphenated.
#[derive(Debug, Clone, PartialEq, Eq, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub struct SessionId(String);

impl SessionId {
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

/// Tokens and verifiers know a key as they know a session.
impl From<ApiKeyId> for SessionId {
    fn from(id: ApiKeyId) -> Self {
        Self(id.as_str().to_owned())
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
