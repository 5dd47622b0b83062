//! What is wrong with a document, and how it is told.

use super::*;

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
        (rule("credentials", json!(["bearer", "api_key"])), "rules[0].credentials[1]"),
        (rule("origins", json!(["https://a.example"])), "rules[0].origins"),
        (rule("unknown_api_key", json!("pass")), "rules[0].unknown_api_key"),
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
        (rule("allow", json!({"service": false})), "rules[0].allow.service"),
        (rule("allow", json!({"service": []})), "rules[0].allow.service"),
        (rule("allow", json!({"service": ["ticker", 7]})), "rules[0].allow.service[1]"),
        (rule("allow", json!({"service": true, "user": false})), "rules[0].allow.user"),
        (rule("allow", json!({"user": true, "permission": "a"})), "rules[0].allow.user"),
        (rule("allow", json!({"service": true, "role": "admin"})), "rules[0].allow.role"),
        (rule("allow", json!({"service": true, "user": true, "amr": "otp"})), "rules[0].allow.amr"),
        (rule("allow", json!({"service": "ticker", "max_age": "1m"})), "rules[0].allow.max_age"),
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
fn a_check_tells_of_every_rule_and_every_field_what_is_wrong() {
    let mut document = with("/rules/0/mode", json!("shadow"));
    document["issuer"] = json!("");
    document["revocations"] = json!({"cluster": "internal", "path": "v1"});
    document["api_keys"] = json!({"cluster": "internal"});
    let rules = document["rules"].as_array_mut().unwrap();
    rules.push(json!({"name": "all", "match": {"prefix": "/x"}, "allow": "authenticated"}));
    rules.push(json!({"name": "all", "match": {"prefix": "/x/y"}, "allow": "authenticated"}));
    rules.push(json!({"name": "wrong", "match": {"prefix": "x"}, "allow": "authenticated"}));
    // Where keys are exchanged is said, if badly: this rule is not wrong.
    rules.push(
        json!({"name": "keys", "match": {"path": "/"}, "allow": "authenticated", "credentials": ["api_key"]}),
    );
    rules.push(json!({"name": "page", "match": {"path": "/"}, "allow": "authenticated", "origins": ["*"]}));
    let findings = Config::check(document.to_string().as_bytes()).unwrap_err();
    let paths: Vec<_> = findings.iter().map(|finding| &*finding.path).collect();
    let expected = [
        "issuer",
        "revocations.path",
        "api_keys.path",
        "rules[0].mode",
        "rules[2].name",
        "rules[3].match.prefix",
        "rules[5].origins",
        "rules[2]",
    ];
    assert_eq!(paths, expected);
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
