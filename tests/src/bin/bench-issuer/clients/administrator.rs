//! The administrator: looks through the accounts, and changes the roles of some.

use anyhow::{Context, Result, ensure};
use countersign_tests::bench::wire;
use serde::Deserialize;

use super::token_of;
use crate::load::Client;
use crate::people::{self, People};

const USERS: &str = "/v1/admin/users";

/// Digits of an address that a hundred accounts share: two pages.
const BEGINNING: usize = 10;

/// Looks for accounts by the beginning of their address, and reads all pages of what is found.
#[derive(Debug)]
pub(crate) struct Listing {
    people: People,
    at: u64,
    token: String,
    request: Vec<u8>,
}

impl Listing {
    pub(crate) fn crowd(people: People, count: u64) -> Result<Vec<Self>> {
        let token = token_of(people::ADMINISTRATOR)?;
        let one = |at| {
            let mut listing = Self { people, at, token: token.clone(), request: Vec::new() };
            listing.ask(None);
            listing
        };
        Ok((0..count).map(one).collect())
    }

    fn ask(&mut self, cursor: Option<&str>) {
        let email = people::email(self.people.pick(self.at));
        let cursor = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let path = format!("{USERS}?search={}{cursor}", &email[..BEGINNING]);
        self.request = wire::get(&path, Some(&self.token));
    }
}

impl Client for Listing {
    fn request(&mut self) -> &[u8] {
        &self.request
    }

    fn answered(&mut self, body: &[u8]) -> Result<bool> {
        #[derive(Deserialize)]
        struct Page {
            items: Vec<serde::de::IgnoredAny>,
            next_cursor: Option<String>,
        }
        let Page { items, next_cursor } = serde_json::from_slice(body).context("no page")?;
        ensure!(!items.is_empty(), "nothing is found");
        if next_cursor.is_none() {
            self.at = self.at.wrapping_add(people::STRIDE);
        }
        self.ask(next_cursor.as_deref());
        Ok(true)
    }
}

/// Changes the roles of its own accounts in turn, to and fro: the smallest change that is written down. They must have
/// the role `user` alone when it begins.
#[derive(Debug)]
pub(crate) struct RoleChange {
    own: Vec<u64>,
    /// Changes so far.
    at: usize,
    token: String,
    request: Vec<u8>,
}

impl RoleChange {
    pub(crate) fn crowd(count: usize) -> Result<Vec<Self>> {
        let token = token_of(people::ADMINISTRATOR)?;
        let one = |place| {
            let own = people::APART.skip(place).step_by(count).collect();
            Self { own, at: 0, token: token.clone(), request: Vec::new() }
        };
        Ok((0..count).map(one).collect())
    }

    /// What it makes of them this time round.
    fn roles(&self) -> &'static str {
        if (self.at / self.own.len()).is_multiple_of(2) { r#"["user","trader"]"# } else { r#"["user"]"# }
    }
}

impl Client for RoleChange {
    fn request(&mut self) -> &[u8] {
        let path = format!("{USERS}/{}", people::user_id(self.own[self.at % self.own.len()]));
        let body = format!(r#"{{"roles":{}}}"#, self.roles());
        wire::write(&mut self.request, "PATCH", &path, &wire::authorization(&self.token), &body);
        &self.request
    }

    fn answered(&mut self, body: &[u8]) -> Result<bool> {
        #[derive(Deserialize)]
        struct User {
            roles: Vec<String>,
        }
        let User { roles } = serde_json::from_slice(body).context("no user")?;
        let wanted: Vec<String> = serde_json::from_str(self.roles())?;
        ensure!(roles == wanted, "the roles are {roles:?}");
        self.at += 1;
        Ok(true)
    }
}
