//! What rules can ask for: paths with parameters, hosts, permissions and roles, how and when the user logged in; and
//! what they can have upstreams and logs told.

use countersign_claims::AccessClaims;
use countersign_tests::host::{Issuer, Process, Request, START, Worker};
use serde_json::{Value, json};

use super::{edge_config, issuer, worker};

fn with_rules(rules: Value) -> Value {
    let mut config = edge_config();
    config["rules"] = rules;
    config
}

fn edge(rules: Value) -> Worker {
    worker(&with_rules(rules))
}

fn token(change: impl FnOnce(&mut AccessClaims)) -> String {
    let mut claims = Issuer::claims();
    change(&mut claims);
    issuer().token(&claims)
}

/// The rule that the access log is told of.
fn rule(edge: &mut Worker, request: &Request) -> Option<String> {
    edge.send(request).filter_state.get("countersign_rule").cloned()
}

fn at(host: &str, path: &str) -> Request {
    Request::bare().raw(":method", "GET").raw(":path", path).raw(":authority", host)
}

/// As many more rules as it takes until rules are looked up and no longer tried in turn.
fn many(mut rules: Value) -> Value {
    let more = (0..40)
        .map(|n| json!({"name": format!("r{n}"), "match": {"path": format!("/r/{n}")}, "allow": "anyone"}));
    rules.as_array_mut().unwrap().extend(more);
    rules
}

#[test]
fn a_parameter_in_a_path_is_one_segment() {
    let rules = json!([
        {"name": "notes", "match": {"prefix": "/alerts/{id}/notes"}, "allow": "anyone"},
        {"name": "latest", "match": {"path": "/alerts/latest"}, "allow": "anyone"},
        {"name": "alert", "match": {"path": "/alerts/{id}"}, "allow": "anyone"},
    ]);
    for rules in [rules.clone(), many(rules)] {
        let mut edge = edge(rules);
        for (path, expected) in [
            ("/alerts/7", Some("alert")),
            ("/alerts/caf%C3%A9?x=/y", Some("alert")),
            ("/alerts/latest", Some("latest")),
            ("/alerts/7/notes", Some("notes")),
            ("/alerts/7/notes/1", Some("notes")),
            ("/alerts/7/notesx", None),
            ("/alerts/", None),
            ("/alerts", None),
            ("/alerts/7/", None),
        ] {
            assert_eq!(rule(&mut edge, &Request::get(path)).as_deref(), expected, "{path}");
        }
    }
}

#[test]
fn rules_for_a_host_are_for_that_host_whatever_its_case_and_port() {
    let rules = json!([
        {"name": "admin", "match": {"prefix": "/", "host": "admin.example.com"}, "allow": "anyone"},
        {"name": "tenants", "match": {"prefix": "/", "host": ["*.tenants.example.com", "[::1]"]}, "allow": "anyone"},
        {"name": "rest", "match": {"prefix": "/x"}, "allow": "anyone"},
    ]);
    for rules in [rules.clone(), many(rules)] {
        let mut edge = edge(rules);
        for (host, expected) in [
            ("admin.example.com", Some("admin")),
            ("ADMIN.Example.Com:8080", Some("admin")),
            ("admin.example.com.", Some("admin")),
            ("a.b.tenants.example.com:443", Some("tenants")),
            ("[::1]:8080", Some("tenants")),
            ("tenants.example.com", Some("rest")),
            ("xadmin.example.com", Some("rest")),
        ] {
            assert_eq!(rule(&mut edge, &at(host, "/x")).as_deref(), expected, "{host}");
        }
        // Where a host decides, one that somebody could read as another is refused.
        for host in
            ["me@admin.example.com", "admin.example.com/x", "admin%2eexample.com", "admin..example.com", ""]
        {
            assert_eq!(edge.send(&at(host, "/x")).reason(), "bad_request", "{host}");
        }
        assert_eq!(
            edge.send(&Request::bare().raw(":method", "GET").raw(":path", "/x")).reason(),
            "bad_request"
        );
    }
}

#[test]
fn permissions_and_roles_are_all_or_any_and_both_are_asked() {
    let mut edge = edge(json!([
        {"name": "any", "match": {"path": "/any"}, "allow": {"permission": {"any": ["alerts:read", "nobody:has"]}}},
        {"name": "all", "match": {"path": "/all"}, "allow": {"role": {"all": ["user", "trader"]}}},
        {"name": "more", "match": {"path": "/more"}, "allow": {"role": {"all": ["user", "admin"]}}},
        {"name": "both", "match": {"path": "/both"}, "allow": {"permission": "alerts:read", "role": "admin"}},
    ]));
    for (path, expected) in [
        ("/any", "forwarded"),
        ("/all", "forwarded"),
        ("/more", "permission_denied"),
        ("/both", "permission_denied"),
    ] {
        assert_eq!(edge.send(&Request::get(path).bearer(issuer().ada())).reason(), expected, "{path}");
    }
}

/// RFC 9470 §3.
#[test]
fn a_login_that_is_not_enough_is_told_what_would_be() {
    let process = Process::new();
    let rules = json!([
        {"name": "transfer", "match": {"path": "/transfers/{id}"},
         "allow": {"permission": "alerts:write", "amr": ["otp", "hwk"], "max_age": "5m"}},
    ]);
    let mut edge = process.worker(&with_rules(rules)).unwrap();
    let mut send = |token: &str| edge.send(&Request::get("/transfers/7").bearer(token));
    let challenge = |detail: &str| {
        format!(
            "Bearer realm=\"countersign\", error=\"insufficient_user_authentication\", \
             error_description=\"{detail}\", acr_values=\"otp hwk\", max_age=\"300\""
        )
    };
    let by_password = send(&issuer().ada());
    let refusal = by_password.refused();
    assert_eq!((refusal.status, refusal.reason().as_str()), (401, "stronger_login_required"));
    let expected = challenge("Log in with a stronger method, such as a second factor");
    assert_eq!(refusal.headers.get("www-authenticate"), Some(&*expected));

    let twofold = token(|claims| claims.amr = vec!["pwd".into(), "otp".into()]);
    assert_eq!(send(&twofold).reason(), "forwarded");
    process.set_time(START + 300);
    assert_eq!(send(&twofold).reason(), "forwarded", "remembered, and recent to the last second");
    process.set_time(START + 301);
    let late = send(&twofold);
    assert_eq!((late.refused().status, late.reason().as_str()), (401, "recent_login_required"));
    assert_eq!(late.refused().headers.get("www-authenticate"), Some(&*challenge("Log in again to do this")));
    let timeless = token(|claims| (claims.amr, claims.auth_time) = (vec!["otp".into()], None));
    assert_eq!(send(&timeless).reason(), "recent_login_required");

    let powerless = send(&token(|claims| claims.scope = None));
    assert_eq!(powerless.reason(), "permission_denied", "no login would help");
    let challenge = powerless.refused().headers.get("www-authenticate").unwrap().to_owned();
    assert!(!challenge.contains("acr_values") && !challenge.contains("max_age"), "{challenge}");
    let nobody = edge.send(&Request::get("/transfers/7"));
    assert_eq!(nobody.refused().headers.get("www-authenticate"), Some("Bearer realm=\"countersign\""));
}

#[test]
fn a_rule_can_have_its_token_forwarded_wherever_it_came_from() {
    let by_query = |forward: bool| {
        json!({"name": format!("q{forward}"), "match": {"prefix": format!("/{forward}/")},
               "credentials": ["bearer", "query:token"], "allow": "authenticated", "forward_token": forward})
    };
    let mut config = with_rules(json!([
        by_query(true),
        by_query(false),
        {"name": "ws", "match": {"prefix": "/ws/", "upgrade": "websocket"}, "credentials": ["subprotocol"],
         "allow": "authenticated", "forward_token": true},
        {"name": "watched", "match": {"prefix": "/watched/"}, "credentials": ["query:token"],
         "allow": {"role": "nobody"}, "forward_token": true, "mode": "observe"},
    ]));
    let ada = issuer().ada();
    let bearer = format!("Bearer {ada}");
    for forwarding in [true, false] {
        config["forward_authorization"] = json!(forwarding);
        let mut edge = worker(&config);
        let mut upstream = |request: &Request| {
            let outcome = edge.send(request);
            let headers = outcome.upstream();
            assert!(!headers.get(":path").unwrap().contains("token="), "{headers:?}");
            headers.get("authorization").map(str::to_owned)
        };
        let query = |prefix: &str| Request::get(format!("/{prefix}/x?token={ada}"));
        assert_eq!(upstream(&query("true")), Some(bearer.clone()));
        assert_eq!(upstream(&query("true").header("authorization", "Basic dTpw")), Some(bearer.clone()));
        assert_eq!(upstream(&Request::get("/true/x").bearer(&ada)), Some(bearer.clone()));
        assert_eq!(upstream(&query("false")), None);
        assert_eq!(upstream(&query("false").header("authorization", "Basic dTpw")), None);
        assert_eq!(upstream(&Request::get("/false/x").bearer(&ada)), forwarding.then(|| bearer.clone()));
        let offer = format!("v1.quotes, bearer, {ada}");
        let handshake = Request::websocket("/ws/q").header("sec-websocket-protocol", offer);
        assert_eq!(upstream(&handshake), Some(bearer.clone()));
        // One that was verified and lacks a role is still his; one that was not verified is nobody's.
        assert_eq!(upstream(&query("watched")), Some(bearer.clone()));
        assert_eq!(upstream(&Request::get("/watched/x?token=a.b.c")), None);
    }
}

fn telling() -> Value {
    let mut config = edge_config();
    config["claim_headers"] = json!([
        {"name": "x-user-name", "claim": "name"},
        {"name": "Login-Time", "claim": "auth_time"},
        {"name": "x-permissions", "claim": "scope"},
        {"name": "x-token-id", "claim": "jti"},
    ]);
    config
}

#[test]
fn upstreams_are_told_the_claims_that_are_configured() {
    let mut edge = worker(&telling());
    let ada =
        token(|claims| (claims.name, claims.jti) = (Some("Ada, Countess of Lovelace\u{e9}".into()), None));
    for _ in 0..2 {
        let outcome = edge.send(&Request::get("/api/x").bearer(&ada));
        let told = ["x-user-name", "login-time", "x-permissions", "x-token-id", "x-user-id"];
        assert_eq!(
            told.map(|name| outcome.upstream().get(name)),
            [
                Some("Ada%2C%20Countess%20of%20Lovelace%C3%A9"),
                Some("1800000000"),
                Some("alerts:read,alerts:write"),
                None,
                Some("u-ada"),
            ]
        );
    }
    let injected = token(|claims| claims.name = Some("Ada\r\nx-user-roles: admin".into()));
    assert_eq!(edge.send(&Request::get("/api/x").bearer(injected)).reason(), "invalid_claims");
}

#[test]
fn a_header_for_a_claim_is_the_edges_alone_in_every_spelling_on_every_route() {
    let mut edge = worker(&telling());
    let spoofed = |request: Request| {
        ["x-user-name", "X_User_Name", "login-time", "LOGIN.TIME", "x-token_id"]
            .into_iter()
            .fold(request, |request, name| request.header(name, "mallory").trailer(name, "mallory"))
            .trailer("x-checksum", "1")
    };
    let ada = issuer().ada();
    for (request, name) in [
        (Request::get("/public/x"), None),
        (Request::get("/watched"), None),
        (Request::get("/watched").bearer("forged"), None),
        (Request::get("/api/x").bearer(&ada), Some("Ada")),
    ] {
        let outcome = edge.send(&spoofed(request));
        assert_eq!(outcome.upstream().get("x-user-name"), name);
        assert!(outcome.upstream().0.iter().all(|(_, value)| value != b"mallory"), "{outcome:?}");
        assert_eq!(outcome.trailers.names().collect::<Vec<_>>(), ["x-checksum"]);
    }
    // Where nobody configured it, it is the client's own.
    let outcome = super::edge().send(&spoofed(Request::get("/public/x")));
    assert_eq!(outcome.upstream().get("x-user-name"), Some("mallory"));
}

#[test]
fn logs_and_other_filters_are_told_what_is_configured_and_nothing_that_is_not_known() {
    let mut config = edge_config();
    config["filter_state"] = json!(["subject", "session", "rule", "reason"]);
    let mut edge = worker(&config);
    let bare = token(|claims| claims.session_id = None);
    let ada = issuer().ada();
    for (request, expected) in [
        (Request::get("/public/x").bearer(&ada), &[("rule", "public")][..]),
        (Request::get("/api/x").bearer(&ada), &[("rule", "api"), ("session", "s-ada"), ("subject", "u-ada")]),
        (Request::get("/api/x").bearer(&bare), &[("rule", "api"), ("subject", "u-ada")]),
        (Request::get("/api/x").bearer("forged"), &[("reason", "malformed_token"), ("rule", "api")]),
        (
            Request::get("/admin").bearer(&ada),
            &[("reason", "permission_denied"), ("rule", "admin"), ("session", "s-ada"), ("subject", "u-ada")],
        ),
        (
            Request::get("/watched").bearer(&ada),
            &[
                ("reason", "permission_denied"),
                ("rule", "watched"),
                ("session", "s-ada"),
                ("subject", "u-ada"),
            ],
        ),
        (Request::get("/nowhere").bearer(&ada), &[("reason", "no_rule")]),
    ] {
        let outcome = edge.send(&request);
        let told: Vec<_> = outcome.filter_state.iter().map(|(key, value)| (&**key, &**value)).collect();
        let expected: Vec<_> =
            expected.iter().map(|(name, value)| (format!("countersign_{name}"), *value)).collect();
        let expected: Vec<_> = expected.iter().map(|(key, value)| (&**key, *value)).collect();
        assert_eq!(told, expected, "{request:?}");
    }
    config["filter_state"] = json!([]);
    assert!(worker(&config).send(&Request::get("/api/x")).filter_state.is_empty());
}

/// A request pays for what its own rule asks, and for no other's wishes.
#[test]
fn what_one_rule_asks_costs_others_no_call_to_the_host() {
    let mut config = edge_config();
    config["rules"].as_array_mut().unwrap().push(json!(
        {"name": "strict", "match": {"path": "/strict/{id}", "host": "strict.example"}, "credentials": ["query:token"],
         "allow": {"amr": "otp", "max_age": "1m"}, "forward_token": true}
    ));
    let calls = |config: &Value| {
        let mut edge = worker(config);
        edge.tick();
        let request = Request::get("/api/positions").bearer(issuer().ada());
        edge.send(&request).upstream();
        edge.send(&request).host_calls
    };
    assert_eq!(calls(&config), calls(&edge_config()));
}

const RULE: &str = "countersign_rule_requests.outcome";

#[test]
fn every_rule_counts_what_became_of_its_requests() {
    let process = Process::new();
    let mut config = edge_config();
    let odd = json!({"name": "odd.name/x", "match": {"prefix": "/odd"}, "allow": "anyone"});
    config["rules"].as_array_mut().unwrap().push(odd);
    let mut edge = process.worker(&config).unwrap();
    let ada = issuer().ada();
    for (count, request) in [
        (1, Request::get("/public/x")),
        (2, Request::get("/api/x").bearer(&ada)),
        (3, Request::get("/api/x")),
        (4, Request::get("/watched")),
        (5, Request::get("/nowhere")),
        (6, Request::get("/odd")),
    ] {
        for _ in 0..count {
            edge.send(&request);
        }
    }
    edge.tick();
    for (name, count) in [
        ("allowed.rule.public", 1),
        ("allowed.rule.api", 2),
        ("denied.rule.api", 3),
        ("observed.rule.watched", 4),
        ("allowed.rule.watched", 0),
        ("allowed.rule.odd_name_x", 6),
    ] {
        assert_eq!(process.metric(&format!("{RULE}.{name}")), count, "{name}");
    }
    let by_rule: u64 =
        process.metrics().iter().filter(|(name, _)| name.starts_with(RULE)).map(|(_, count)| count).sum();
    assert_eq!(by_rule, 16, "what meets no rule is in no rule's counters");
}

#[test]
fn no_request_adds_a_metric() {
    let process = Process::new();
    let mut edge = process.worker(&edge_config()).unwrap();
    // The host shows those that were counted.
    let mut counted = |name: &str| {
        for path in ["/api/", "/nowhere/", "/admin/", "/public/", "/watched/"] {
            let claims = AccessClaims { sub: name.into(), ..Issuer::claims() };
            edge.send(&Request::get(format!("{path}{name}")).bearer(issuer().token(&claims)));
        }
        edge.tick();
        process.metrics().into_keys().collect::<Vec<_>>()
    };
    let first = counted("0");
    assert_eq!(counted("1"), first);
    assert_eq!(counted("another"), first);
}
