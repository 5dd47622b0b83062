//! `countersign check --filter`: the filter's own reader and rules, for an operator without an Envoy at hand.

use serde_json::{Value, json};

use super::{Ran, fails, folder, run};
use crate::stage::Folder;

const SHIPPED: &str = include_str!("../../../../envoy/plugin/countersign.yaml");

fn config(rules: Value) -> Value {
    json!({
        "issuer": "user_service", "audiences": ["trading_platform"],
        "keys": {"remote": {"cluster": "issuer", "path": "/.well-known/jwks.json"}}, "rules": rules,
    })
}

fn rule(name: &str, matcher: Value) -> Value {
    json!({"name": name, "match": matcher, "allow": "authenticated"})
}

/// Checks this text as a file, with more arguments.
fn check(folder: &Folder, text: &str, more: &[&str]) -> Ran {
    folder.write("filter.yaml", text);
    let file = folder.path("filter.yaml");
    run(folder, &[&["check", "--filter", file.to_str().unwrap()], more].concat())
}

#[test]
fn the_shipped_plugin_file_has_no_finding_and_every_rule_of_it_is_shown() {
    let ran = check(&folder(), SHIPPED, &["--request", "GET /alerts/5", "--request", "GET /api/.."]);
    assert_eq!((ran.code, &*ran.err), (0, ""), "{}", ran.out);
    assert!(ran.out.contains("filter.yaml: resources[0].typed_config.config.configuration\n"), "{}", ran.out);
    let names: Vec<_> =
        SHIPPED.split("{\"name\": \"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(names.len() > 10, "{names:?}");
    for (position, name) in names.iter().enumerate() {
        let row = ran.out.lines().find(|line| line.starts_with(&format!("{position} ")));
        assert_eq!(row.unwrap().split_whitespace().nth(1), Some(*name), "{}", ran.out);
    }
    assert!(ran.out.contains("\nGET /alerts/5: rules["), "{}", ran.out);
    assert!(ran.out.contains("] \"alerts-read\"\n"), "{}", ran.out);
    assert!(ran.out.contains("\nGET /api/..: refused, ambiguous_path\n"), "{}", ran.out);
    assert!(ran.out.ends_with("filter.yaml: errors: 0, warnings: 0\n"), "{}", ran.out);
}

#[test]
fn says_which_rule_a_request_meets_as_the_filter_would() {
    let document = config(json!([
        rule("socket", json!({"path": "/ws/{stream}", "upgrade": "websocket"})),
        rule("tenant", json!({"prefix": "/", "host": "*.tenants.example"})),
        rule("read", json!({"prefix": "/alerts", "methods": ["GET"]})),
    ]));
    let folder = folder();
    for (request, websocket, expected) in [
        ("GET /alerts/5", false, "rules[2] \"read\""),
        ("HEAD /alerts", false, "rules[2] \"read\""),
        ("POST /alerts", false, "refused, no_rule"),
        ("GET /alerts/5 A.tenants.example:8443", false, "rules[1] \"tenant\""),
        ("GET /ws/quotes", true, "rules[0] \"socket\""),
        ("GET /ws/quotes", false, "refused, no_rule"),
        ("GET /ws/", true, "refused, no_rule"),
        ("get /alerts", false, "refused, bad_request"),
        ("GET /alerts a@b", false, "refused, bad_request"),
        ("GET //alerts", false, "refused, ambiguous_path"),
    ] {
        let mut more = vec!["--request", request];
        more.extend(websocket.then_some("--websocket"));
        let ran = check(&folder, &document.to_string(), &more);
        assert_eq!(ran.code, 0, "{}", ran.out);
        assert!(ran.out.contains(&format!("\n{request}: {expected}\n")), "{expected}: {}", ran.out);
    }
}

#[test]
fn says_which_rules_services_pass() {
    let rule = |name: &str, allow: Value| json!({"name": name, "match": {"path": format!("/{name}")}, "allow": allow});
    let document = config(json!([
        rule("people", json!("authenticated")),
        rule("machines", json!({"service": true})),
        rule("some", json!({"service": ["ticker", "engine"], "permission": "quotes:publish"})),
        rule("all", json!({"service": "ticker", "user": true, "permission": "alerts:write"})),
    ]));
    let ran = check(&folder(), &document.to_string(), &[]);
    assert_eq!(ran.code, 0, "{}", ran.out);
    for (name, allow) in [
        ("people", "  authenticated  "),
        ("machines", "  any service  "),
        ("some", "  service ticker or engine; permission quotes:publish  "),
        ("all", "  any user or service ticker; permission alerts:write  "),
    ] {
        let row = ran.out.lines().find(|line| line.contains(&format!(" {name} "))).unwrap();
        assert!(row.contains(allow), "{allow}: {row}");
    }
}

#[test]
fn a_rule_that_others_leave_nothing_only_together_is_a_warning_and_a_failure() {
    let document = config(json!([
        rule("read", json!({"prefix": "/alerts", "methods": ["GET"]})),
        rule("write", json!({"prefix": "/alerts", "methods": ["POST", "DELETE"]})),
        rule("never", json!({"path": "/alerts/{id}", "methods": ["GET", "DELETE"]})),
        rule("rest", json!({"prefix": "/alerts"})),
    ]));
    let ran = check(&folder(), &document.to_string(), &[]);
    assert_eq!(ran.code, 1, "{}", ran.out);
    let warning =
        "warning: rules[2]: \"never\" never matches: the rules before it, together, take all its requests\n";
    assert!(ran.out.contains(warning), "{}", ran.out);
    assert!(ran.out.ends_with("errors: 0, warnings: 1\n"), "{}", ran.out);
}

#[test]
fn every_error_is_told_with_its_path_and_where_it_stands_in_the_file() {
    let mut document = config(json!([
        rule("a", json!({"prefix": "/a"})),
        rule("b", json!({"prefix": "b"})),
        rule("c", json!({"path": "/a/7"})),
    ]));
    document["clock_skew"] = json!("half an hour");
    let indented = document.to_string();
    let plugin = format!(
        "typed_config:\n  \"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm\n  config:\n    \
         configuration: {{\"@type\": type.googleapis.com/google.protobuf.StringValue, value: '{indented}'}}\n"
    );
    let folder = folder();
    for (text, place) in [(indented, ""), (plugin, "typed_config.config.configuration: ")] {
        let ran = check(&folder, &text, &[]);
        assert_eq!(ran.code, 1, "{}", ran.out);
        for path in
            ["clock_skew: ", "rules[1].match.prefix: ", "rules[2]: never matches: rules[0] \"a\" comes first"]
        {
            assert!(ran.out.contains(&format!("error: {place}{path}")), "{path}: {}", ran.out);
        }
        assert!(ran.out.ends_with("errors: 3, warnings: 0\n"), "{}", ran.out);
    }
}

#[test]
fn what_is_asked_of_the_issuer_and_which_keys_and_pages_are_let_in_is_shown() {
    let mut document = config(json!([
        {"name": "stream", "match": {"path": "/ws", "upgrade": "websocket"}, "credentials": ["subprotocol", "api_key"],
         "allow": "authenticated", "origins": ["https://a.example", "https://b.example"], "unknown_api_key": "pass"},
    ]));
    document["revocations"] = json!({"cluster": "internal", "path": "/revocations", "when_stale": "refuse"});
    document["api_keys"] = json!({"cluster": "internal", "path": "/exchange"});
    let folder = folder();
    let ran = check(&folder, &document.to_string(), &[]);
    assert_eq!(ran.code, 0, "{}", ran.out);
    for line in [
        "revocations: internal/revocations; after 300 s without news, tokens are refused\n",
        "api_keys: internal/exchange; each key once in 60 s\n",
        "These need COUNTERSIGN_SERVICE_TOKEN in the environment of the VM.\n",
        "  subprotocol, api_key, unknown keys pass  authenticated; pages of https://a.example or https://b.example  enforce\n",
    ] {
        assert!(ran.out.contains(line), "{line}: {}", ran.out);
    }
    let keyless = config(json!([
        {"name": "keys", "match": {"path": "/"}, "allow": "authenticated", "credentials": ["bearer", "api_key"]},
        {"name": "page", "match": {"path": "/"}, "allow": "authenticated", "origins": ["https://a.example"]},
    ]));
    let ran = check(&folder, &keyless.to_string(), &[]);
    assert_eq!(ran.code, 1, "{}", ran.out);
    assert!(ran.out.contains("error: rules[0].credentials[1]: needs the field \"api_keys\""), "{}", ran.out);
    assert!(ran.out.contains("error: rules[1].origins: needs match.upgrade \"websocket\""), "{}", ran.out);
}

#[test]
fn programs_get_json() {
    let document = config(json!([
        {"name": "one", "match": {"path": "/a/{id}", "host": "a.example"}, "allow": {"role": "admin", "amr": "otp"},
         "mode": "observe"},
        rule("all", json!({"prefix": "/"})),
    ]));
    let folder = folder();
    let ran = check(&folder, &document.to_string(), &["--json", "--request", "GET /a/7 a.example"]);
    assert_eq!(ran.code, 0, "{}", ran.out);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    let [one, _] = &report["configurations"][0]["rules"].as_array().unwrap()[..] else { panic!("{report}") };
    let expected = json!({
        "position": 0, "name": "one", "host": "a.example", "path": "/a/{id}", "methods": "*", "credentials": "bearer",
        "allow": "role admin; amr otp", "mode": "observe", "example": "GET /a/any a.example",
    });
    assert_eq!(*one, expected);
    let answer = json!([{"request": "GET /a/7 a.example", "position": 0, "rule": "one", "reason": null}]);
    assert_eq!(report["configurations"][0]["requests"], answer);
    assert_eq!(report["findings"], json!([]));
    assert_eq!(report["configurations"][0]["api_keys"], Value::Null);
    let broken: Value = serde_json::from_str(&check(&folder, "{}", &["--json"]).out).unwrap();
    assert_eq!(broken["findings"][0]["path"], "issuer");
}

#[test]
fn what_is_no_configuration_is_one_clear_line() {
    let folder = folder();
    let file = |text: &str| {
        folder.write("filter.yaml", text);
        folder.path("filter.yaml").to_str().unwrap().to_owned()
    };
    fails(&folder, &["check", "--filter", "/nowhere/filter.yaml"], "cannot read /nowhere/filter.yaml");
    fails(&folder, &["check", "--filter", &file("a: 1\n")], "has no configuration of the filter in it");
    let sound = file(&config(json!([rule("all", json!({"prefix": "/"}))])).to_string());
    fails(&folder, &["check", "--filter", &sound, "--request", "/alerts"], "must be METHOD PATH");
    let alone = run(&folder, &["check", "--request", "GET /"]);
    assert!(alone.code == 2 && alone.err.contains("--filter"), "{}", alone.err);
}
