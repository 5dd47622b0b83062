//! What this issuer is to clients that know OAuth and nothing of us: a token endpoint (RFC 6749), introspection (RFC
//! 7662), revocation (RFC 7009) and metadata (RFC 8414), over the same logins and sessions. The rules; no I/O.
//!
//! Who may ask: people call as public clients of the first party, and services show credentials of their own, for which
//! they get tokens and nothing else. Whoever introspects proves who they are with an access token, learns about their own
//! tokens, and an administrator about all, those of services included (RFC 7662 §2.1). Whoever revokes brings the token that
//! is to end, which is proof enough: with it they could do worse (RFC 7009 §2.1 and §5).

pub mod http;
mod introspection;
mod metadata;

use crate::config::Settings;
use crate::login::Logins;
use crate::services::Issuing;
use crate::sessions::{Callers, Sessions};

pub use introspection::Introspection;
pub use metadata::Metadata;

/// What OAuth's calls are answered with; cheap to clone.
#[derive(Debug, Clone)]
pub struct OAuth {
    /// With the lifetime that tokens of the password form have.
    logins: Logins,
    sessions: Sessions,
    callers: Callers,
    issuing: Issuing,
    metadata: Metadata,
}

impl OAuth {
    pub fn new(
        settings: &Settings,
        logins: &Logins,
        sessions: &Sessions,
        callers: &Callers,
        issuing: Issuing,
    ) -> Self {
        Self {
            logins: Logins {
                grants: logins.grants.without_refresh(settings.compat.token.access_lifetime),
                ..logins.clone()
            },
            sessions: sessions.clone(),
            callers: callers.clone(),
            issuing,
            metadata: Metadata::new(settings),
        }
    }
}
