//! What existing clients call, under the names and in the shapes that they know: the rules of the other rooms, and none
//! of its own. A group that is not switched on has no routes.
//!
//! - `auth`: `/auth/login` and `/health`, an access token and nothing else.
//! - `api_auth`: `/api/auth/…`, with sessions and a cookie of its own.
//!
//! The third group, `token`, is the token endpoint of [`oauth`](crate::oauth).

pub mod http;

use crate::accounts::Registrations;
use crate::config::Settings;
use crate::login::Logins;
use crate::passwords::Resets;
use crate::sessions::grant::Grants;
use crate::sessions::{Callers, RefreshCookie, Sessions};

/// What the compatible calls are answered with; cheap to clone.
#[derive(Debug, Clone)]
pub struct Compat {
    /// Of the group `auth`.
    auth: Logins,
    api_auth: ApiAuth,
}

/// The rooms behind `/api/auth`, with its cookie and its lifetimes.
#[derive(Debug, Clone)]
struct ApiAuth {
    logins: Logins,
    registrations: Registrations,
    resets: Resets,
    sessions: Sessions,
    callers: Callers,
}

impl Compat {
    pub fn new(
        settings: &Settings,
        logins: &Logins,
        registrations: &Registrations,
        resets: &Resets,
        sessions: &Sessions,
        callers: &Callers,
    ) -> Self {
        let groups = settings.compat;
        let with = |grants| Logins { grants, ..logins.clone() };
        let grants = Grants {
            access_lifetime: groups.api_auth.access_lifetime,
            cookie: RefreshCookie { path: "/api/auth", ..logins.grants.cookie.clone() },
            ..logins.grants.clone()
        };
        Self {
            auth: with(logins.grants.without_refresh(groups.auth.access_lifetime)),
            api_auth: ApiAuth {
                registrations: Registrations { grants: grants.clone(), ..registrations.clone() },
                resets: resets.clone(),
                sessions: Sessions { grants: grants.clone(), ..sessions.clone() },
                logins: with(grants),
                callers: callers.clone(),
            },
        }
    }
}
