use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::policy::{Access, Mode, PathMatch};

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
    assert_eq!(rule.mode, Mode::Enforce);
    assert!(rule.matcher.methods.is_empty() && !rule.matcher.websocket);
}

#[test]
fn reads_every_field() {
    let config = parse(&json!({
        "issuer": "i", "audiences": ["a", "b"], "clock_skew": "0s",
        "keys": {
            "inline": {"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k",
                                 "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]},
            "remote": {"cluster": "c", "authority": "keys.example:8443", "path": "/jwks", "refresh": "5m", "timeout": "200ms"},
        },
        "cache": {"max_bytes": 0},
        "forward_authorization": false,
        "rules": [
            {"name": "login", "match": {"path": "/v1/auth/login", "methods": ["POST"]}, "allow": "anyone"},
            {"name": "quotes", "match": {"prefix": "/ws/", "upgrade": "websocket"},
             "credentials": ["bearer", "query:token", "subprotocol"], "allow": "authenticated", "mode": "observe"},
            {"name": "alerts", "match": {"prefix": "/alerts"}, "allow": {"permission": ["alerts:read", "alerts:write"]}},
            {"name": "admin", "match": {"prefix": "/admin"}, "allow": {"role": "admin"}, "mode": "enforce"},
        ],
    }))
    .unwrap();
    assert_eq!(config.keys.inline.kids().collect::<Vec<_>>(), ["k"]);
    assert_eq!((config.clock_skew, config.cache_bytes, config.forward_authorization), (0, 0, false));
    let [login, quotes, alerts, admin] = config.policy.rules() else { panic!("four rules") };
    assert_eq!(login.matcher.path, PathMatch::Exact("/v1/auth/login".into()));
    assert_eq!(login.access, Access::Anyone);
    assert_eq!(config.keys.remote.unwrap().authority, "keys.example:8443");
    assert!(quotes.accepted.subprotocol && quotes.matcher.websocket && quotes.mode == Mode::Observe);
    assert_eq!(config.policy.query_names(), ["token".into()]);
    assert_eq!(alerts.access, Access::Permissions(vec!["alerts:read".into(), "alerts:write".into()]));
    assert_eq!(admin.access, Access::Roles(vec!["admin".into()]));
}

#[test]
fn every_error_names_its_path() {
    let rule = |pointer: &str, value: Value| with(&format!("/rules/0/{pointer}"), value);
    let cases = [
        (with("/isuer", json!("x")), "isuer"),
        (with("/issuer", json!(7)), "issuer"),
        (with("/issuer", json!("")), "issuer"),
        (with("/issuer", json!("a\"b")), "issuer"),
        (with("/audiences", json!([])), "audiences"),
        (with("/audiences", json!(["a", ""])), "audiences[1]"),
        (with("/clock_skew", json!("30")), "clock_skew"),
        (with("/clock_skew", json!(30)), "clock_skew"),
        (with("/clock_skew", json!("500ms")), "clock_skew"),
        (with("/clock_skew", json!("11m")), "clock_skew"),
        (with("/keys", json!({})), "keys"),
        (with("/keys", json!({"inline": {"keys": []}})), "keys"),
        (
            with("/keys/inline", json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": "AA"}]})),
            "keys.inline",
        ),
        (with("/keys/inline", json!({"keys": [{"kty": 1}]})), "keys.inline"),
        (with("/keys/remote/clutser", json!("x")), "keys.remote.clutser"),
        (with("/keys/remote/cluster", json!("")), "keys.remote.cluster"),
        (with("/keys/remote/path", json!("jwks")), "keys.remote.path"),
        (with("/keys/remote/refresh", json!("0s")), "keys.remote.refresh"),
        (with("/keys/remote/timeout", json!("2m")), "keys.remote.timeout"),
        (with("/cache", json!({"max_bytes": -1})), "cache.max_bytes"),
        (with("/cache", json!({"max_bytes": (256 << 20) + 1})), "cache.max_bytes"),
        (with("/keys/remote/authority", json!("")), "keys.remote.authority"),
        (with("/keys/remote/authority", json!("a b")), "keys.remote.authority"),
        (with("/forward_authorization", json!("yes")), "forward_authorization"),
        (with("/identity_headers", json!("x-user-id")), "identity_headers"),
        (with("/identity_headers", json!(["x-user-id", "x-user-name"])), "identity_headers[1]"),
        (with("/identity_headers", json!(["x-user-id", "x-user-id"])), "identity_headers[1]"),
        (with("/revocations", json!({"cluster": "issuer"})), "revocations.path"),
        (with("/revocations", json!({"cluster": "c", "path": "p"})), "revocations.path"),
        (
            with("/revocations", json!({"cluster": "c", "path": "/p", "max_staleness": "59s"})),
            "revocations.max_staleness",
        ),
        (
            with("/revocations", json!({"cluster": "c", "path": "/p", "when_stale": "panic"})),
            "revocations.when_stale",
        ),
        (with("/revocations", json!({"cluster": "c", "path": "/p", "token": "t"})), "revocations.token"),
        (with("/api_keys", json!({})), "api_keys.cluster"),
        (with("/api_keys", json!({"cluster": "c", "path": "/p", "cache": "0s"})), "api_keys.cache"),
        (with("/api_keys", json!({"cluster": "c", "path": "/p", "timeout": "1m"})), "api_keys.timeout"),
        (with("/rules", json!([])), "rules"),
        (rule("name", json!("a b")), "rules[0].name"),
        (rule("matches", json!({})), "rules[0].matches"),
        (rule("match", json!({})), "rules[0].match"),
        (rule("match", json!({"prefix": "/", "path": "/"})), "rules[0].match"),
        (rule("match", json!({"prefix": "api"})), "rules[0].match.prefix"),
        (rule("match", json!({"path": "/a/../b"})), "rules[0].match.path"),
        (rule("match", json!({"path": "/a%20b"})), "rules[0].match.path"),
        (rule("match", json!({"path": 1})), "rules[0].match.path"),
        (rule("match", json!({"prefix": "/", "method": "GET"})), "rules[0].match.method"),
        (rule("match", json!({"prefix": "/", "methods": []})), "rules[0].match.methods"),
        (rule("match", json!({"prefix": "/", "methods": ["GET", "post"]})), "rules[0].match.methods[1]"),
        (
            rule("match", json!({"prefix": "/", "methods": ["UPDATEREDIRECTREF"]})),
            "rules[0].match.methods[0]",
        ),
        (rule("match", json!({"prefix": "/", "upgrade": "h2c"})), "rules[0].match.upgrade"),
        (
            rule("match", json!({"prefix": "/", "upgrade": "websocket", "methods": ["POST"]})),
            "rules[0].match.methods",
        ),
        (rule("credentials", json!([])), "rules[0].credentials"),
        (rule("credentials", json!(["bearer", "basic"])), "rules[0].credentials[1]"),
        (rule("credentials", json!(["query:"])), "rules[0].credentials[0]"),
        (rule("credentials", json!(["query:a b"])), "rules[0].credentials[0]"),
        (rule("credentials", json!(["subprotocol"])), "rules[0].credentials[0]"),
        (rule("credentials", json!(["api_key"])), "rules[0].credentials"),
        (rule("origins", json!(["https://a.example"])), "rules[0].origins"),
        (rule("unknown_api_key", json!("pass")), "rules[0].unknown_api_key"),
        (rule("credentials", json!(["cookie:session"])), "rules[0].credentials[0]"),
        (rule("allow", json!("everyone")), "rules[0].allow"),
        (rule("allow", json!({"permission": "a", "role": "b"})), "rules[0].allow"),
        (rule("allow", json!({"group": "a"})), "rules[0].allow.group"),
        (rule("allow", json!({"permission": []})), "rules[0].allow.permission"),
        (rule("allow", json!({"permission": ["a", ""]})), "rules[0].allow.permission[1]"),
        (rule("allow", json!({"role": 7})), "rules[0].allow.role"),
        (rule("mode", json!("shadow")), "rules[0].mode"),
    ];
    for (document, path) in cases {
        let error = parse(&document).expect_err(path);
        assert!(error.starts_with(&format!("{path}: ")), "expected {path}, got {error}");
    }
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

#[test]
fn a_rule_for_get_is_for_head_too() {
    let methods = |listed: &[&str]| {
        let document = with("/rules/0/match", json!({"prefix": "/", "methods": listed}));
        parse(&document).unwrap().policy.rules()[0].matcher.methods.join(" ")
    };
    assert_eq!(methods(&["GET", "POST"]), "GET POST HEAD");
    assert_eq!(methods(&["HEAD", "GET"]), "HEAD GET");
    assert_eq!(methods(&["HEAD"]), "HEAD");
    assert_eq!(methods(&["POST"]), "POST");
}

#[test]
fn a_public_rule_takes_no_credentials() {
    let mut document = with("/rules/0/allow", json!("anyone"));
    document["rules"][0]["credentials"] = json!(["bearer"]);
    assert!(parse(&document).unwrap_err().starts_with("rules[0].credentials: "));
}

#[test]
fn two_rules_with_one_name_are_refused() {
    let mut document = minimal();
    let again = document["rules"][0].clone();
    document["rules"].as_array_mut().unwrap().push(again);
    assert!(parse(&document).unwrap_err().starts_with("rules[1].name: "));
}

#[test]
fn a_rule_that_can_never_match_is_refused() {
    let read = |first: Value, second: Value| {
        let rule = |name, matcher| json!({"name": name, "match": matcher, "allow": "authenticated"});
        parse(&with("/rules", json!([rule("first", first), rule("second", second)]))).map(|_| ())
    };
    let never = Err("rules[1]: never matches: rules[0] \"first\" comes first".to_owned());
    for (first, second) in [
        (json!({"prefix": "/a"}), json!({"prefix": "/a"})),
        (json!({"prefix": "/a"}), json!({"prefix": "/a/secret"})),
        (json!({"prefix": "/a"}), json!({"path": "/a", "methods": ["GET"]})),
        (json!({"prefix": "/a/"}), json!({"prefix": "/a/secret", "upgrade": "websocket"})),
        (json!({"prefix": "/", "methods": ["GET", "POST"]}), json!({"path": "/a", "methods": ["POST"]})),
        (json!({"prefix": "/", "methods": ["GET"]}), json!({"prefix": "/ws", "upgrade": "websocket"})),
    ] {
        assert_eq!(read(first.clone(), second.clone()), never, "{first} {second}");
    }
    for (first, second) in [
        (json!({"prefix": "/a/"}), json!({"prefix": "/a"})),
        (json!({"prefix": "/a"}), json!({"prefix": "/ab"})),
        (json!({"path": "/a"}), json!({"prefix": "/a"})),
        (json!({"prefix": "/a", "upgrade": "websocket"}), json!({"prefix": "/a"})),
        (json!({"prefix": "/a", "methods": ["GET"]}), json!({"prefix": "/a/b"})),
        (json!({"prefix": "/a", "methods": ["GET"]}), json!({"path": "/a", "methods": ["GET", "POST"]})),
    ] {
        assert_eq!(read(first.clone(), second.clone()), Ok(()), "{first} {second}");
    }
}

#[test]
fn what_is_not_one_json_document_is_refused() {
    let deep = "[".repeat(10_000);
    for text in ["", "null", "[]", "{", "{} {}", "\u{feff}{}", &deep] {
        assert!(Config::parse(text.as_bytes()).is_err(), "{text:?}");
    }
    assert!(Config::parse(b"\xff\xfe").is_err());
    for empty in [&b""[..], b" \n"] {
        assert_eq!(Config::parse(empty).unwrap_err().to_string(), ".: the configuration is empty");
    }
    let twice = minimal().to_string() + "{}";
    assert!(Config::parse(twice.as_bytes()).is_err());
}

#[test]
fn a_field_that_is_there_twice_is_refused_wherever_it_is() {
    for field in ["\"issuer\":", "\"cluster\":", "\"match\":"] {
        let text = minimal().to_string().replacen(field, &format!("{field} 1, {field}"), 1);
        let error = Config::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("twice"), "{error}");
    }
}

#[test]
fn a_missing_field_is_named() {
    for field in ["issuer", "audiences", "keys", "rules"] {
        let mut document = minimal();
        document.as_object_mut().unwrap().remove(field);
        assert_eq!(parse(&document).unwrap_err(), format!("{field}: is missing"));
    }
}

#[test]
fn an_unknown_field_is_named_before_what_is_missing_for_it() {
    for (document, path) in [
        (json!({"isuer": "x"}), "isuer"),
        (with("/keys/remote", json!({"clutser": "x"})), "keys.remote.clutser"),
        (with("/rules", json!([{"nmae": "x"}])), "rules[0].nmae"),
        (with("/rules/0/match", json!({"prefx": "/"})), "rules[0].match.prefx"),
    ] {
        let error = parse(&document).unwrap_err();
        assert!(error.starts_with(&format!("{path}: is not a field here; fields are `")), "{error}");
    }
}

#[test]
fn the_readme_documents_every_field() {
    let readme = include_str!("../../README.md");
    // The complaint about an unknown field lists the known ones.
    for pointer in [
        "/x",
        "/keys/x",
        "/keys/remote/x",
        "/revocations/x",
        "/api_keys/x",
        "/cache/x",
        "/rules/0/x",
        "/rules/0/match/x",
    ] {
        let mut document = minimal();
        document["cache"] = json!({"max_bytes": 1});
        document["revocations"] = json!({"cluster": "c", "path": "/p"});
        document["api_keys"] = json!({"cluster": "c", "path": "/p"});
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        document.pointer_mut(parent).unwrap()[field] = json!(1);
        let error = parse(&document).unwrap_err();
        let fields: Vec<_> = error.split('`').skip(1).step_by(2).collect();
        assert!(!fields.is_empty(), "{error}");
        for field in fields {
            assert!(readme.contains(&format!("`{field}`")), "{field} ({pointer}) is not in filter/README.md");
        }
    }
}
