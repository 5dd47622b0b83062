//! The plugin configuration, read from JSON.

mod readme;
mod refusals;
mod rules;

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::policy::{Access, Callers, Demands, HostMatch, Mode, Names, PathMatch};
use crate::principal::Claim;

fn minimal() -> Value {
    json!({
        "issuer": "user_service",
        "audiences": ["trading_platform"],
        "keys": {"remote": {"cluster": "issuer", "path": "/.well-known/jwks.json"}},
        "rules": [{"name": "api", "match": {"prefix": "/api/"}, "allow": "authenticated"}],
    })
}

fn parse(document: &Value) -> Result<Config, String> {
    Config::parse(document.to_string().as_bytes()).map_err(|error| error.to_string())
}

/// The minimal document with the value at a JSON pointer set.
fn with(pointer: &str, value: Value) -> Value {
    let mut document = minimal();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    document.pointer_mut(parent).unwrap()[field] = value;
    document
}

#[test]
fn leaves_out_mean_safe_defaults() {
    let config = parse(&minimal()).unwrap();
    assert_eq!(config.clock_skew, 30);
    assert_eq!(config.cache_bytes, 8 << 20);
    assert!(config.forward_authorization);
    let remote = config.keys.remote.unwrap();
    assert_eq!(remote.authority, "issuer", "the cluster's name");
    assert_eq!((remote.pace.refresh, remote.pace.timeout), (Duration::from_secs(60), Duration::from_secs(5)));
    let rule = &config.policy.rules()[0];
    assert!(rule.accepted.bearer && rule.accepted.query.is_empty() && !rule.accepted.subprotocol);
    assert_eq!((rule.mode, rule.forward_token), (Mode::Enforce, false));
    assert!(rule.matcher.methods.is_empty() && rule.matcher.hosts.is_empty() && !rule.matcher.websocket);
    assert!(config.claim_headers.is_empty() && remote.max_age.is_none());
    assert_eq!(config.filter_state, [Told::Rule, Told::Reason]);
}

#[test]
fn reads_every_field() {
    let config = parse(&json!({
        "issuer": "i", "audiences": ["a", "b"], "clock_skew": "0s",
        "keys": {
            "inline": {"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k",
                                 "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]},
            "remote": {"cluster": "c", "authority": "keys.example:8443", "path": "/jwks", "refresh": "5m", "timeout": "200ms",
                       "max_age": "10m"},
        },
        "cache": {"max_bytes": 0},
        "forward_authorization": false,
        "identity_headers": ["x-user-id"],
        "claim_headers": [{"name": "X-Tenant-Name", "claim": "name"}],
        "filter_state": ["reason", "subject"],
        "rules": [
            {"name": "login", "match": {"path": "/v1/auth/login", "host": "Login.example", "methods": ["POST"]},
             "allow": "anyone"},
            {"name": "quotes", "match": {"prefix": "/ws/", "upgrade": "websocket"},
             "credentials": ["bearer", "query:token", "subprotocol"], "allow": "authenticated", "forward_token": true,
             "mode": "observe"},
            {"name": "alert", "match": {"path": "/alerts/{id}", "host": ["a.example", "*.b.example"]},
             "allow": {"permission": {"any": ["alerts:read", "alerts:write"]}, "role": {"all": ["user", "trader"]}}},
            {"name": "alerts", "match": {"prefix": "/alerts"}, "allow": {"permission": ["alerts:read", "alerts:write"]}},
            {"name": "admin", "match": {"prefix": "/admin"}, "allow": {"role": "admin", "amr": ["otp", "hwk"], "max_age": "15m"},
             "mode": "enforce"},
        ],
    }))
    .unwrap();
    assert_eq!(config.keys.inline.kids().collect::<Vec<_>>(), ["k"]);
    assert_eq!((config.clock_skew, config.cache_bytes, config.forward_authorization), (0, 0, false));
    let [login, quotes, alert, alerts, admin] = config.policy.rules() else { panic!("five rules") };
    assert_eq!(config.policy.rules().iter().map(|rule| rule.position).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!(login.matcher.path, PathMatch::Exact("/v1/auth/login".into()));
    assert_eq!(login.matcher.hosts, [HostMatch::Exact("login.example".into())]);
    assert_eq!(login.access, Access::Anyone);
    let remote = config.keys.remote.unwrap();
    assert_eq!((&*remote.authority, remote.max_age), ("keys.example:8443", Some(Duration::from_secs(600))));
    assert_eq!(config.filter_state, [Told::Reason, Told::Subject]);
    let [header] = &config.claim_headers[..] else { panic!("one header") };
    assert_eq!((&*header.name, header.claim), ("x-tenant-name", Claim::Name));
    assert!(quotes.forward_token && !alerts.forward_token);
    assert!(quotes.accepted.subprotocol && quotes.matcher.websocket && quotes.mode == Mode::Observe);
    assert_eq!(config.policy.query_names(), ["token".into()]);
    assert_eq!(alert.matcher.path, PathMatch::exact("/alerts/{id}"));
    assert_eq!(
        alert.matcher.hosts.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["a.example", "*.b.example"]
    );
    let both: Vec<Box<str>> = vec!["alerts:read".into(), "alerts:write".into()];
    let one = Demands {
        permissions: Some(Names::Any(both.clone())),
        roles: Some(Names::All(vec!["user".into(), "trader".into()])),
        ..Demands::default()
    };
    assert_eq!(alert.access, Access::Caller(one));
    let permissions = Some(Names::All(both));
    assert_eq!(alerts.access, Access::Caller(Demands { permissions, ..Demands::default() }));
    let step_up = Demands {
        roles: Some(Names::Any(vec!["admin".into()])),
        methods: vec!["otp".into(), "hwk".into()],
        max_age: Some(900),
        ..Demands::default()
    };
    assert_eq!(admin.access, Access::Caller(step_up));
}

#[test]
fn reads_what_is_asked_of_the_issuer_itself() {
    let mut document =
        with("/revocations", json!({"cluster": "internal", "path": "/v1/internal/revocations"}));
    document["api_keys"] =
        json!({"cluster": "internal", "authority": "keys.example", "path": "/exchange", "cache": "30s"});
    document["rules"][0]["credentials"] = json!(["bearer", "api_key"]);
    let config = parse(&document).unwrap();
    let feed = config.revocations.as_ref().unwrap();
    assert_eq!((feed.max_staleness, feed.when_stale), (Duration::from_secs(300), WhenStale::Allow));
    assert_eq!(feed.service.authority, "internal", "the cluster's name");
    let keys = config.api_keys.as_ref().unwrap();
    assert_eq!(
        (keys.cache, keys.timeout, &*keys.service.authority),
        (30, Duration::from_secs(2), "keys.example")
    );
    let [rule] = config.policy.rules() else { panic!("one rule") };
    assert!(rule.accepted.api_key && !rule.unknown_api_key_passes);
    for (word, passes) in [("pass", Ok(true)), ("refuse", Ok(false)), ("ask", Err(()))] {
        document["rules"][0]["unknown_api_key"] = json!(word);
        let parsed = parse(&document).map(|config| config.policy.rules()[0].unknown_api_key_passes);
        assert_eq!(parsed.map_err(|_| ()), passes, "{word}");
    }
    assert_eq!(config.needs_service_token(), Some("revocations"));
    assert_eq!(parse(&minimal()).unwrap().needs_service_token(), None);
}

#[test]
fn origins_are_as_browsers_write_them() {
    let with = |origins: Value| {
        let mut document = with("/rules/0/match", json!({"prefix": "/ws/", "upgrade": "websocket"}));
        document["rules"][0]["origins"] = origins;
        parse(&document).map(|config| config.policy.rules()[0].origins.clone())
    };
    let good = json!(["https://app.example.com", "http://localhost:3000", "http://[::1]:8080"]);
    assert_eq!(with(good).unwrap().unwrap().len(), 3);
    for bad in [
        "app.example.com",
        "https://",
        "https://App.example.com",
        "https://a.example/",
        "*",
        "null",
        "https://a:",
    ] {
        assert!(with(json!([bad])).unwrap_err().starts_with("rules[0].origins[0]: "), "{bad}");
    }
    assert!(with(json!([])).unwrap_err().starts_with("rules[0].origins: "));
}

#[test]
fn the_largest_cache_is_256_mib() {
    assert_eq!(parse(&with("/cache", json!({"max_bytes": 256 << 20}))).unwrap().cache_bytes, 256 << 20);
}
