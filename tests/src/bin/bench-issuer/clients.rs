//! Those who call: people who log in, refresh, ask for themselves; verifiers that fetch the keys; an administrator; and who
//! has failed too often.

mod administrator;
mod second_step;
mod trading;
mod turned_away;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use countersign_claims::{AccessClaims, Alg, Audience, SigningKey, mint};
use countersign_tests::bench::wire;
use serde::Deserialize;

use crate::load::Client;
use crate::people::{self, People};

pub(crate) use administrator::{Listing, RoleChange};
pub(crate) use second_step::{Owner, SecondStep, enrol};
pub(crate) use trading::{EACH, link, readings};
pub(crate) use turned_away::{TurnedAway, lock};

const JWKS: &str = "/.well-known/jwks.json";
const LOGIN: &str = "/v1/auth/login";
pub(crate) const ME: &str = "/v1/users/me";
pub(crate) const EVENTS: &str = "/v1/audit";
const REFRESH: &str = "/v1/auth/refresh";

/// Longer than any run.
const LIFETIME_SECONDS: i64 = 24 * 60 * 60;

/// Logs in as one person after another.
#[derive(Debug)]
pub(crate) struct Login {
    people: People,
    /// The person who is next, by a walk that every connection begins elsewhere.
    at: u64,
    request: Vec<u8>,
    /// What the last one got.
    pub(crate) refresh_token: Option<String>,
}

impl Login {
    pub(crate) fn crowd(people: People, count: u64) -> impl Iterator<Item = Self> {
        (0..count).map(move |at| Self { people, at, request: Vec::new(), refresh_token: None })
    }
}

impl Client for Login {
    fn request(&mut self) -> &[u8] {
        self.at = self.at.wrapping_add(people::STRIDE);
        wire::post(&mut self.request, LOGIN, &credentials(&people::email(self.people.pick(self.at))));
        &self.request
    }

    fn answered(&mut self, body: &[u8]) -> Result<bool> {
        self.refresh_token = Some(refresh_token(body)?);
        Ok(true)
    }
}

/// The body of a login.
fn credentials(email: &str) -> String {
    format!(r#"{{"email":"{email}","password":"{}"}}"#, people::PASSWORD)
}

/// Refreshes one session again and again, each time with the token that it was given last.
#[derive(Debug)]
pub(crate) struct Refresh {
    request: Vec<u8>,
}

impl Refresh {
    pub(crate) fn with(refresh_token: &str) -> Self {
        let mut refresh = Self { request: Vec::new() };
        refresh.next(refresh_token);
        refresh
    }

    fn next(&mut self, refresh_token: &str) {
        wire::post(&mut self.request, REFRESH, &format!(r#"{{"refresh_token":"{refresh_token}"}}"#));
    }
}

impl Client for Refresh {
    fn request(&mut self) -> &[u8] {
        &self.request
    }

    fn answered(&mut self, body: &[u8]) -> Result<bool> {
        let token = refresh_token(body)?;
        self.next(&token);
        Ok(true)
    }
}

fn refresh_token(body: &[u8]) -> Result<String> {
    #[derive(Deserialize)]
    struct Body<'a> {
        refresh_token: &'a str,
    }
    let Body { refresh_token } = serde_json::from_slice(body).context("no refresh token in the answer")?;
    Ok(refresh_token.to_owned())
}

/// Sends ready-made requests in turn.
#[derive(Debug)]
pub(crate) struct Ready {
    requests: Arc<[Vec<u8>]>,
    at: usize,
}

impl Ready {
    pub(crate) fn jwks() -> Arc<[Vec<u8>]> {
        Arc::new([wire::get(JWKS, None)])
    }

    /// `GET path` with `count` tokens, spread over all people.
    pub(crate) fn of(path: &str, people: People, count: u64) -> Result<Arc<[Vec<u8>]>> {
        (0..count)
            .map(|at| Ok(wire::get(path, Some(&token_of(people.pick(at.wrapping_mul(people::STRIDE)))?))))
            .collect()
    }

    /// Clients who begin at different places.
    pub(crate) fn crowd(requests: Arc<[Vec<u8>]>, count: usize) -> impl Iterator<Item = Self> {
        (0..count).map(move |at| Self { at: at * requests.len() / count, requests: Arc::clone(&requests) })
    }
}

impl Client for Ready {
    fn request(&mut self) -> &[u8] {
        self.at = (self.at + 1) % self.requests.len();
        &self.requests[self.at]
    }
}

/// An access token as the issuer makes it, for the session that everyone has.
fn token_of(number: u64) -> Result<String> {
    let key = SigningKey::from_bytes(&people::KEY_SEED);
    Ok(mint(people::KID, &claims(number, unix_now()?), &key, Alg::EdDsa)?)
}

fn claims(number: u64, now: i64) -> AccessClaims {
    AccessClaims {
        iss: "user_service".into(),
        aud: Audience::One("trading_platform".into()),
        sub: people::user_id(number),
        exp: now + LIFETIME_SECONDS,
        nbf: None,
        iat: Some(now),
        jti: Some(format!("bench-{number:012x}")),
        client_id: Some("first-party".into()),
        session_id: Some(people::session_id(number)),
        credential_id: None,
        email: Some(people::email(number)),
        name: Some("Bench".into()),
        roles: vec!["user".into()],
        scope: Some("positions:read quotes:read alerts:read alerts:write".into()),
        amr: vec!["pwd".into()],
        auth_time: Some(now),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that asks what time it is: the issuer will, too"
)]
fn unix_now() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?)
}
