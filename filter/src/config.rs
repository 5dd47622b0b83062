//! The plugin's configuration, in two stages: the document as it is written (`json`), then a value that is sound.
//!
//! Nothing is guessed: an unknown field, a missing one and a value out of bounds are errors that name their path.

use std::fmt;
use std::time::Duration;

use countersign_claims::Keyring;

use crate::policy::Policy;
use crate::principal::{ClaimHeader, IdentityHeader};
use crate::sync::Pace;
use crate::verdict::Told;

mod access;
mod duration;
mod headers;
mod json;
mod read;
mod rules;

/// A configuration that can be served with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Value of `iss`.
    pub issuer: String,
    /// One of these must be in `aud`.
    pub audiences: Vec<String>,
    /// Seconds granted on both ends of a token's life.
    pub clock_skew: i64,
    pub keys: KeySources,
    pub cache_bytes: usize,
    /// Whether upstreams get the `Authorization` header where a rule looked at credentials.
    pub forward_authorization: bool,
    /// Which identity headers upstreams get; every one is removed from what clients send.
    pub identity_headers: Vec<IdentityHeader>,
    /// More of what a token says, in headers of the operator's choice; these too are removed from what clients send.
    pub claim_headers: Vec<ClaimHeader>,
    /// What access logs and filters behind this one are told.
    pub filter_state: Vec<Told>,
    pub policy: Policy,
}

/// Where keys come from; at least one source is there.
#[derive(Debug, Clone, PartialEq)]
pub struct KeySources {
    pub inline: Keyring,
    pub remote: Option<RemoteKeys>,
}

/// A JWK Set that an Envoy cluster serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteKeys {
    pub cluster: String,
    /// Sent as `:authority`, for servers that have several sites.
    pub authority: String,
    pub path: String,
    pub pace: Pace,
    /// How long ago the set may have been fetched and still be trusted; `None` for as long as there is no other.
    pub max_age: Option<Duration>,
}

/// Why a configuration is refused: where, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidConfig {
    /// Such as `rules[2].match.path`; `.` for the document itself.
    pub path: String,
    pub reason: String,
}

impl InvalidConfig {
    #[cold]
    #[inline(never)]
    fn at(path: &str, reason: &str) -> Self {
        Self { path: path.to_owned(), reason: reason.to_owned() }
    }
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

impl std::error::Error for InvalidConfig {}

impl Config {
    /// Reads the JSON that Envoy hands to the plugin.
    ///
    /// # Errors
    /// The first thing that is wrong, with its path.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidConfig> {
        let unknown = || InvalidConfig::at(".", "cannot be used");
        Self::check(json).map_err(|findings| findings.into_iter().next().unwrap_or_else(unknown))
    }

    /// As [`parse`](Self::parse), for somebody who mends it.
    ///
    /// # Errors
    /// What is wrong, in the order of reading: at most one thing of each rule and of each other field of the document.
    pub fn check(json: &[u8]) -> Result<Self, Vec<InvalidConfig>> {
        let mut findings = Findings::default();
        match read::config(json, &mut findings) {
            Some(config) if findings.0.is_empty() => Ok(config),
            _ => Err(findings.0),
        }
    }
}

/// What is wrong with a document, as far as it has been read.
#[derive(Debug, Default)]
struct Findings(Vec<InvalidConfig>);

impl Findings {
    /// What was read, or nothing and a finding more.
    fn keep<T>(&mut self, read: Result<T, InvalidConfig>) -> Option<T> {
        read.map_err(|finding| self.0.push(finding)).ok()
    }
}

#[cfg(test)]
mod tests;
