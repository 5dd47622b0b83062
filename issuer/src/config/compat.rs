//! Routes under the names that existing clients call: which groups of them there are, how long their tokens live, and
//! whether there is anything else.

use super::Settings;
use super::reader::Reader;
use super::sections::span;

/// The groups of compatible routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compat {
    /// `/token`.
    pub token: Group,
    /// `/auth/login` and `/health`.
    pub auth: Group,
    /// `/api/auth/…`.
    pub api_auth: Group,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    pub enabled: bool,
    /// In seconds. Longer than that of others, because most of these clients cannot refresh.
    pub access_lifetime: i64,
}

/// The names of the groups, as they are configured.
const GROUPS: [&str; 3] = ["token", "auth", "api_auth"];

pub(super) fn compat(reader: &mut Reader) -> Compat {
    let mut section = reader.section("compat");
    let mut group = |name, lifetime, default| Group {
        enabled: section.or(name, false),
        access_lifetime: span(&mut section, lifetime, default, ("10s", "24h")),
    };
    let compat = Compat {
        token: group("token", "token_access_lifetime", "30m"),
        auth: group("auth", "auth_access_lifetime", "60m"),
        api_auth: group("api_auth", "api_auth_access_lifetime", "30m"),
    };
    section.finish();
    compat
}

/// What the public listener is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serve {
    /// Groups of compatible routes, if nothing else is to be served but the keys and the probes.
    pub only: Vec<String>,
}

pub(super) fn serve(reader: &mut Reader) -> Serve {
    let mut section = reader.section("serve");
    let only: Vec<String> = section.or("only", Vec::new());
    if let Some(odd) = only.iter().find(|name| !GROUPS.contains(&name.as_str())) {
        section.error("only", format!("{odd:?} is no group of routes; expected {}", GROUPS.join(", ")));
    }
    section.finish();
    Serve { only }
}

/// Which routes the public listener has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// All that is in no group.
    pub api: bool,
    pub token: bool,
    pub auth: bool,
    pub api_auth: bool,
}

impl Served {
    /// Everything there is.
    pub const ALL: Self = Self { api: true, token: true, auth: true, api_auth: true };
}

impl Settings {
    /// The routes to serve: what `serve.only` names is served, whatever its own switch says, and nothing else.
    pub fn served(&self) -> Served {
        let Compat { token, auth, api_auth } = self.compat;
        let only = &self.serve.only;
        let on = |name: &str, group: Group| {
            if only.is_empty() { group.enabled } else { only.iter().any(|named| named == name) }
        };
        let [first, second, third] = GROUPS;
        Served {
            api: only.is_empty(),
            token: on(first, token),
            auth: on(second, auth),
            api_auth: on(third, api_auth),
        }
    }

    /// The longest lifetime that tokens have under this configuration, in seconds.
    pub fn longest_lifetime(&self) -> i64 {
        let (Served { token, auth, api_auth, .. }, compat) = (self.served(), self.compat);
        let groups = [(token, compat.token), (auth, compat.auth), (api_auth, compat.api_auth)];
        let lifetimes = groups.into_iter().filter(|(on, _)| *on).map(|(_, group)| group.access_lifetime);
        lifetimes.fold(self.tokens.access_lifetime.max(self.services.token_lifetime), i64::max)
    }

    /// How long after its last signature a key must stay published.
    pub fn overlap(&self) -> i64 {
        self.longest_lifetime() + self.tokens.clock_skew
    }
}
