use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::policy::{Access, Demands, HostMatch, Mode, Names, PathMatch};
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
        (with("/keys/remote/max_age", json!("forever")), "keys.remote.max_age"),
        (with("/keys/remote/max_age", json!("119s")), "keys.remote.max_age"),
        (with("/claim_headers", json!({"x-name": "name"})), "claim_headers"),
        (with("/claim_headers", json!([{"name": "x-name"}])), "claim_headers[0].claim"),
        (with("/claim_headers", json!([{"name": "x-name", "claim": "password"}])), "claim_headers[0].claim"),
        (with("/claim_headers", json!([{"name": "x_name", "claim": "name"}])), "claim_headers[0].name"),
        (
            with(
                "/claim_headers",
                json!([{"name": "x-n", "claim": "name"}, {"name": "X-N", "claim": "jti"}]),
            ),
            "claim_headers[1].name",
        ),
        (with("/filter_state", json!(["rule", "token"])), "filter_state[1]"),
        (with("/filter_state", json!(["rule", "rule"])), "filter_state[1]"),
        (with("/revocations", json!({"cluster": "issuer"})), "revocations"),
        (with("/api_keys", json!({})), "api_keys"),
        (with("/rules", json!([])), "rules"),
        (rule("name", json!("a b")), "rules[0].name"),
        (rule("matches", json!({})), "rules[0].matches"),
        (rule("match", json!({})), "rules[0].match"),
        (rule("match", json!({"prefix": "/", "path": "/"})), "rules[0].match"),
        (rule("match", json!({"prefix": "api"})), "rules[0].match.prefix"),
        (rule("match", json!({"path": "/a/../b"})), "rules[0].match.path"),
        (rule("match", json!({"path": "/a%20b"})), "rules[0].match.path"),
        (rule("match", json!({"path": 1})), "rules[0].match.path"),
        (rule("match", json!({"path": format!("/{}", "a/".repeat(600))})), "rules[0].match.path"),
        (rule("match", json!({"path": "/a/x{id}"})), "rules[0].match.path"),
        (rule("match", json!({"path": "/a/{}"})), "rules[0].match.path"),
        (rule("match", json!({"path": "/a/{id"})), "rules[0].match.path"),
        (rule("match", json!({"prefix": "/a/{*rest}"})), "rules[0].match.prefix"),
        (rule("match", json!({"prefix": "/", "host": []})), "rules[0].match.host"),
        (rule("match", json!({"prefix": "/", "host": ""})), "rules[0].match.host"),
        (rule("match", json!({"prefix": "/", "host": "a.example:80"})), "rules[0].match.host"),
        (rule("match", json!({"prefix": "/", "host": "a.example."})), "rules[0].match.host"),
        (rule("match", json!({"prefix": "/", "host": ["a.example", "*"]})), "rules[0].match.host[1]"),
        (rule("match", json!({"prefix": "/", "host": "*.*.example"})), "rules[0].match.host"),
        (rule("match", json!({"prefix": "/", "host": "a*.example"})), "rules[0].match.host"),
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
        (rule("credentials", json!(["api_key"])), "rules[0].credentials[0]"),
        (rule("credentials", json!(["cookie:session"])), "rules[0].credentials[0]"),
        (rule("allow", json!("everyone")), "rules[0].allow"),
        (rule("allow", json!({})), "rules[0].allow"),
        (rule("allow", json!({"role": {}})), "rules[0].allow.role"),
        (rule("allow", json!({"role": {"any": ["a"], "all": ["b"]}})), "rules[0].allow.role"),
        (rule("allow", json!({"role": {"some": ["a"]}})), "rules[0].allow.role.some"),
        (rule("allow", json!({"permission": {"any": []}})), "rules[0].allow.permission.any"),
        (rule("allow", json!({"amr": []})), "rules[0].allow.amr"),
        (rule("allow", json!({"amr": "o\"tp"})), "rules[0].allow.amr"),
        (rule("allow", json!({"amr": {"any": ["otp"]}})), "rules[0].allow.amr"),
        (rule("allow", json!({"max_age": "0s"})), "rules[0].allow.max_age"),
        (rule("allow", json!({"max_age": "1500ms"})), "rules[0].allow.max_age"),
        (rule("forward_token", json!("yes")), "rules[0].forward_token"),
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
    for (field, value) in [("credentials", json!(["bearer"])), ("forward_token", json!(true))] {
        let mut document = with("/rules/0/allow", json!("anyone"));
        document["rules"][0][field] = value;
        assert!(parse(&document).unwrap_err().starts_with(&format!("rules[0].{field}: ")));
    }
}

#[test]
fn a_claim_takes_no_header_that_somebody_else_has_a_use_for() {
    for name in [
        "x-user-id",
        "X-User-Roles",
        "x-auth-method",
        "x-request-id",
        "Authorization",
        "cookie",
        "host",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "proxy-authorization",
        "content-length",
        "content-type",
        "x-api-key",
        "x-service-token",
        "x-forwarded-for",
        "x-envoy-original-path",
        "sec-websocket-protocol",
        "access-control-allow-origin",
        "grpc-timeout",
        ":path",
        "",
    ] {
        let document = with("/claim_headers", json!([{"name": name, "claim": "name"}]));
        assert!(parse(&document).expect_err(name).starts_with("claim_headers[0].name: "), "{name}");
    }
}

#[test]
fn a_check_tells_of_every_rule_and_every_field_what_is_wrong() {
    let mut document = with("/rules/0/mode", json!("shadow"));
    document["issuer"] = json!("");
    let rules = document["rules"].as_array_mut().unwrap();
    rules.push(json!({"name": "all", "match": {"prefix": "/"}, "allow": "authenticated"}));
    rules.push(json!({"name": "all", "match": {"prefix": "/x"}, "allow": "authenticated"}));
    rules.push(json!({"name": "wrong", "match": {"prefix": "x"}, "allow": "authenticated"}));
    let findings = Config::check(document.to_string().as_bytes()).unwrap_err();
    let paths: Vec<_> = findings.iter().map(|finding| &*finding.path).collect();
    assert_eq!(paths, ["issuer", "rules[0].mode", "rules[2].name", "rules[3].match.prefix", "rules[2]"]);
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
        (json!({"path": "/a/{id}"}), json!({"path": "/a/7"})),
        (json!({"path": "/a/{id}"}), json!({"path": "/a/{name}"})),
        (json!({"prefix": "/{tenant}"}), json!({"path": "/{a}/{b}"})),
        (json!({"prefix": "/"}), json!({"prefix": "/", "host": "a.example"})),
        (
            json!({"prefix": "/", "host": "*.example"}),
            json!({"path": "/a", "host": ["a.example", "b.a.example"]}),
        ),
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
        (json!({"path": "/a/7"}), json!({"path": "/a/{id}"})),
        (json!({"path": "/a/{id}"}), json!({"prefix": "/a/{id}"})),
        (json!({"prefix": "/", "host": "a.example"}), json!({"prefix": "/"})),
        (
            json!({"prefix": "/", "host": "*.example"}),
            json!({"prefix": "/", "host": ["a.example", "example"]}),
        ),
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
        "/cache/x",
        "/claim_headers/0/x",
        "/rules/0/x",
        "/rules/0/match/x",
        "/rules/0/allow/x",
        "/rules/0/allow/role/x",
    ] {
        let mut document = minimal();
        document["cache"] = json!({"max_bytes": 1});
        document["claim_headers"] = json!([{"name": "x-name", "claim": "name"}]);
        document["rules"][0]["allow"] = json!({"role": {"all": ["user"]}});
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

#[test]
fn the_readmes_examples_are_sound() {
    let readme = include_str!("../../README.md");
    let examples = readme.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut tried = 0;
    for example in examples {
        let example: Value = serde_json::from_str(example).unwrap();
        let document =
            if example.get("rules").is_some() { example } else { with("/rules", json!([example])) };
        parse(&document).unwrap_or_else(|error| panic!("{error}: {document}"));
        tried += 1;
    }
    assert_eq!(tried, 2);
}
