//! The configuration document: its shape, and the rules that are not about `rules`.

use std::time::Duration;

use countersign_claims::{JwkSet, Keyring};
use serde::Deserialize;
use serde_json::Value;

use super::rules::{self, RuleDocument};
use super::{Config, InvalidConfig, KeySources, RemoteKeys, duration};
use crate::policy::Policy;
use crate::sync::Pace;

/// A number of bytes that a worker can spare for remembering tokens, at most.
const MOST_CACHE_BYTES: usize = 1 << 30;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    issuer: String,
    audiences: Vec<String>,
    #[serde(default = "default_clock_skew")]
    clock_skew: String,
    keys: KeysDocument,
    #[serde(default)]
    cache: CacheDocument,
    #[serde(default = "default_forward_authorization")]
    forward_authorization: bool,
    rules: Vec<RuleDocument>,
    revocations: Option<Value>,
    api_keys: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysDocument {
    inline: Option<JwkSet>,
    remote: Option<RemoteDocument>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoteDocument {
    cluster: String,
    path: String,
    #[serde(default = "default_refresh")]
    refresh: String,
    #[serde(default = "default_timeout")]
    timeout: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CacheDocument {
    max_bytes: usize,
}

impl Default for CacheDocument {
    fn default() -> Self {
        Self { max_bytes: 8 << 20 }
    }
}

fn default_clock_skew() -> String {
    "30s".into()
}

fn default_refresh() -> String {
    "60s".into()
}

fn default_timeout() -> String {
    "5s".into()
}

fn default_forward_authorization() -> bool {
    true
}

impl Document {
    pub(super) fn parse(json: &[u8]) -> Result<Self, InvalidConfig> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let document: Self = serde_path_to_error::deserialize(&mut deserializer)
            .map_err(|error| InvalidConfig::at(error.path().to_string(), error.into_inner().to_string()))?;
        deserializer.end().map_err(|error| InvalidConfig::at(".", error.to_string()))?;
        Ok(document)
    }

    pub(super) fn validate(self) -> Result<Config, InvalidConfig> {
        for (path, value) in [("revocations", &self.revocations), ("api_keys", &self.api_keys)] {
            if value.is_some() {
                return Err(InvalidConfig::at(path, "is not available in this version"));
            }
        }
        plain_text("issuer", &self.issuer)?;
        if self.audiences.is_empty() {
            return Err(InvalidConfig::at("audiences", "must name at least one audience"));
        }
        for (at, audience) in self.audiences.iter().enumerate() {
            plain_text(&format!("audiences[{at}]"), audience)?;
        }
        let skew = duration::parse("clock_skew", &self.clock_skew, Duration::ZERO, Duration::from_secs(600))?;
        if skew.subsec_millis() != 0 {
            return Err(InvalidConfig::at("clock_skew", "must be whole seconds: token times are"));
        }
        if self.cache.max_bytes > MOST_CACHE_BYTES {
            return Err(InvalidConfig::at("cache.max_bytes", format!("must be at most {MOST_CACHE_BYTES}")));
        }
        Ok(Config {
            issuer: self.issuer,
            audiences: self.audiences,
            clock_skew: i64::try_from(skew.as_secs()).unwrap_or_default(),
            keys: self.keys.validate()?,
            cache_bytes: self.cache.max_bytes,
            forward_authorization: self.forward_authorization,
            policy: Policy::new(rules::validate(self.rules)?),
        })
    }
}

impl KeysDocument {
    fn validate(self) -> Result<KeySources, InvalidConfig> {
        let inline = Keyring::from_jwk_set(&self.inline.unwrap_or_default())
            .map_err(|error| InvalidConfig::at("keys.inline", error.to_string()))?;
        if inline.is_empty() && self.remote.is_none() {
            return Err(InvalidConfig::at("keys", "has neither an inline Ed25519 key nor a remote set"));
        }
        Ok(KeySources { inline, remote: self.remote.map(RemoteDocument::validate).transpose()? })
    }
}

impl RemoteDocument {
    fn validate(self) -> Result<RemoteKeys, InvalidConfig> {
        plain_text("keys.remote.cluster", &self.cluster)?;
        plain_text("keys.remote.path", &self.path)?;
        if !self.path.starts_with('/') {
            return Err(InvalidConfig::at("keys.remote.path", "must start with \"/\""));
        }
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let refresh =
            duration::parse("keys.remote.refresh", &self.refresh, second, Duration::from_secs(86_400))?;
        let timeout =
            duration::parse("keys.remote.timeout", &self.timeout, Duration::from_millis(10), minute)?;
        Ok(RemoteKeys { cluster: self.cluster, path: self.path, pace: Pace { refresh, timeout } })
    }
}

/// Names that end up in headers, challenges and logs: printable ASCII without spaces and quotes.
pub(super) fn plain_text(path: &str, text: &str) -> Result<(), InvalidConfig> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\'));
    plain.then_some(()).ok_or_else(|| {
        InvalidConfig::at(
            path,
            "must be printable ASCII without spaces, quotes and backslashes, and not empty",
        )
    })
}
