//! The configurations that are compared: which filter, before which upstream.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use countersign_stack::tools;
use serde::Serialize;
use serde_json::{Value, json};

use crate::clients::{AUDIENCE, ISSUER, Issuer};

/// What stands between the listener and the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub(crate) enum Filter {
    /// Nothing.
    Bare,
    /// The least that a filter in the sandbox can be.
    Noop,
    /// Envoy's own filter with its token cache, and clients that come again.
    JwtAuthnCached,
    /// Envoy's own filter, which checks every signature.
    JwtAuthn,
    /// Ours, and clients that come again.
    OursWarm,
    /// Ours, and a token that it has not seen with every request.
    OursCold,
    /// Ours on the `proxy-wasm` crate, in the same two ways.
    SdkWarm,
    SdkCold,
    /// Another build of ours (`--against`), in the same two ways.
    AgainstWarm,
    AgainstCold,
}

/// Whether the tokens of a load were seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tokens {
    Known,
    New,
}

impl Filter {
    pub(crate) const STANDARD: [Self; 8] = [
        Self::Bare,
        Self::Noop,
        Self::JwtAuthnCached,
        Self::JwtAuthn,
        Self::OursWarm,
        Self::OursCold,
        Self::SdkWarm,
        Self::SdkCold,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Noop => "noop",
            Self::JwtAuthnCached => "jwt_authn_cached",
            Self::JwtAuthn => "jwt_authn",
            Self::OursWarm => "ours_warm",
            Self::OursCold => "ours_cold",
            Self::SdkWarm => "sdk_warm",
            Self::SdkCold => "sdk_cold",
            Self::AgainstWarm => "against_warm",
            Self::AgainstCold => "against_cold",
        }
    }

    /// Whether it must refuse a forged token.
    pub(crate) fn verifies(self) -> bool {
        !matches!(self, Self::Bare | Self::Noop)
    }

    /// Which tokens its load has.
    pub(crate) fn tokens(self) -> Tokens {
        match self {
            Self::JwtAuthn | Self::OursCold | Self::SdkCold | Self::AgainstCold => Tokens::New,
            _ => Tokens::Known,
        }
    }

    /// The counters of tokens answered from its cache, and of tokens that were not, if it has a cache.
    pub(crate) fn cache_counters(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Bare | Self::Noop | Self::JwtAuthn => None,
            Self::JwtAuthnCached => {
                Some(("http.edge.jwt_authn.jwt_cache_hit", "http.edge.jwt_authn.jwt_cache_miss"))
            }
            Self::OursWarm
            | Self::OursCold
            | Self::SdkWarm
            | Self::SdkCold
            | Self::AgainstWarm
            | Self::AgainstCold => Some((
                "wasmcustom.countersign_tokens.source.cache",
                "wasmcustom.countersign_tokens.source.signature",
            )),
        }
    }
}

/// Where Envoy's answers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Upstream {
    /// Envoy itself answers: all else that a request costs is as small as it can be.
    Direct,
    /// Another Envoy, over the network, at this port.
    Port(u16),
}

/// How much there is to decide with. The defaults are what the comparison uses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Rules of ours; the last one matches.
    pub(crate) rules: usize,
    pub(crate) cache_bytes: usize,
}

impl Default for Size {
    fn default() -> Self {
        // Room for the tokens of 20,000 clients.
        Self { rules: 5, cache_bytes: 16 << 20 }
    }
}

/// The modules under test.
#[derive(Debug, Clone)]
pub(crate) struct Modules {
    pub(crate) noop: PathBuf,
    pub(crate) ours: PathBuf,
    pub(crate) sdk: PathBuf,
    pub(crate) against: Option<PathBuf>,
}

/// Answers with the identity headers that it got, so that it can be checked that there are some.
pub(crate) fn upstream_config() -> Result<String> {
    let route = r#"direct_response: { status: 200, body: { inline_string: "ok" } }
response_headers_to_add:
  - { header: { key: x-seen-user-id, value: "%REQ(x-user-id)%" } }
  - { header: { key: x-seen-user-email, value: "%REQ(x-user-email)%" } }"#;
    envoy_config("", route, 1)
}

/// Envoy's configuration with this filter.
pub(crate) fn config(
    filter: Filter,
    upstream: Upstream,
    size: Size,
    issuer: &Issuer,
    modules: &Modules,
) -> Result<String> {
    let filter = match filter {
        Filter::Bare => String::new(),
        Filter::Noop => wasm(&modules.noop, "")?,
        Filter::JwtAuthnCached => jwt_authn(issuer, "jwt_cache_config: { jwt_cache_size: 65536 }")?,
        Filter::JwtAuthn => jwt_authn(issuer, "")?,
        Filter::OursWarm | Filter::OursCold => wasm(&modules.ours, &plugin(issuer, size)?)?,
        Filter::SdkWarm | Filter::SdkCold => wasm(&modules.sdk, &plugin(issuer, size)?)?,
        Filter::AgainstWarm | Filter::AgainstCold => {
            wasm(modules.against.as_deref().context("no module to compare with")?, &plugin(issuer, size)?)?
        }
    };
    match upstream {
        Upstream::Direct => {
            envoy_config(&filter, r#"direct_response: { status: 200, body: { inline_string: "ok" } }"#, 1)
        }
        Upstream::Port(port) => envoy_config(&filter, "route: { cluster: upstream }", port),
    }
}

fn jwt_authn(issuer: &Issuer, cache: &str) -> Result<String> {
    let jwks = serde_json::to_string(&issuer.jwks()?)?;
    Ok(fill(&template("jwt_authn.yaml")?, &[("$JWKS", &jwks), ("$CACHE", cache)]))
}

fn wasm(module: &Path, configuration: &str) -> Result<String> {
    let module = module.to_str().context("the module's path is not UTF-8")?;
    Ok(fill(&template("wasm.yaml")?, &[("$MODULE", module), ("$CONFIGURATION", configuration)]))
}

/// The configuration of our filter: public and protected prefixes as the stack has them, then more of the kind.
fn plugin(issuer: &Issuer, size: Size) -> Result<String> {
    let rule =
        |name: &str, matcher: Value, allow: &str| json!({"name": name, "match": matcher, "allow": allow});
    let mut rules = vec![
        rule("keys", json!({"prefix": "/.well-known/"}), "anyone"),
        rule("login", json!({"prefix": "/v1/auth/"}), "anyone"),
        rule("users", json!({"prefix": "/v1/users/"}), "authenticated"),
        rule("backend-health", json!({"path": "/api/health"}), "anyone"),
    ];
    for at in rules.len() + 1..size.rules {
        rules.push(rule(
            &format!("service-{at}"),
            json!({"prefix": format!("/service-{at}/")}),
            "authenticated",
        ));
    }
    rules.push(rule("backend", json!({"prefix": "/api/"}), "authenticated"));
    let plugin = json!({
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "keys": {"inline": issuer.jwks()?},
        // What the native filter is told to make headers of.
        "identity_headers": ["x-user-id", "x-user-email"],
        "cache": {"max_bytes": size.cache_bytes},
        "rules": rules,
    });
    Ok(plugin.to_string())
}

fn envoy_config(filter: &str, route: &str, upstream_port: u16) -> Result<String> {
    let port = upstream_port.to_string();
    let values = [("$FILTER", filter), ("$ROUTE", route), ("$UPSTREAM_PORT", port.as_str())];
    Ok(fill(&template("envoy.yaml")?, &values))
}

fn template(name: &str) -> Result<String> {
    let file = tools::workspace().join("tests/bench").join(name);
    fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
}

/// Sets the values; those of several lines are indented as far as the place where they go.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::new();
    for line in template.lines() {
        let indent = &line[..line.len() - line.trim_start().len()];
        let mut line = line.to_owned();
        for (name, value) in values {
            line = line.replace(name, &value.replace('\n', &format!("\n{indent}")));
        }
        filled.push_str(&line);
        filled.push('\n');
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_several_lines_keeps_the_indentation() {
        assert_eq!(
            fill("a:\n  $B\nc: $D\n", &[("$B", "x: 1\ny: 2"), ("$D", "3")]),
            "a:\n  x: 1\n  y: 2\nc: 3\n"
        );
    }

    #[test]
    fn the_rule_that_matches_comes_last() {
        for rules in [5, 50, 500] {
            let plugin = plugin(&Issuer::new(2), Size { rules, ..Size::default() }).unwrap();
            let plugin: Value = serde_json::from_str(&plugin).unwrap();
            let listed = plugin["rules"].as_array().unwrap();
            assert_eq!((listed.len(), &listed[rules - 1]["name"]), (rules, &json!("backend")));
        }
    }
}
