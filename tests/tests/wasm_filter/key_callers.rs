//! Callers with an API key, and requests that have waited: rules ask of them, and tell of them, what they do of everybody.

use countersign_claims::AccessClaims;
use countersign_tests::host::{Issuer, Outcome, Process, Request, START, Worker, jwks};
use serde_json::{Value, json};

use super::keys::remote_config;
use super::revocations::process;
use super::{edge_config, issuer};

const KEY: &str = "cs_key_0123456789abcdef";

fn config() -> Value {
    let mut config = edge_config();
    config["api_keys"] = json!({"cluster": "issuer-internal", "path": "/exchange"});
    let rule = |name: &str, allow: Value, forward: bool| {
        json!({"name": name, "match": {"prefix": format!("/{name}")}, "credentials": ["bearer", "api_key"],
               "allow": allow, "forward_token": forward})
    };
    config["rules"] = json!([
        rule("plain", json!("authenticated"), false),
        rule("forwarding", json!("authenticated"), true),
        rule("by-key", json!({"amr": "api_key", "max_age": "5m"}), false),
        rule("by-code", json!({"amr": "otp"}), false),
    ]);
    config
}

fn token() -> String {
    issuer().token(&AccessClaims {
        sub: "u-key".into(),
        session_id: Some("k-1".into()),
        amr: vec!["api_key".into()],
        auth_time: Some(START),
        ..Issuer::claims()
    })
}

fn request(path: &str) -> Request {
    Request::get(path).header("X-API-Key", KEY)
}

/// A worker that knows the key.
fn edge(process: &Process, config: &Value) -> Worker {
    let mut edge = process.worker(config).unwrap();
    assert_eq!(waited(&mut edge, &request("/plain"), &token()).reason(), "forwarded");
    edge
}

/// What becomes of a request that waits while its key is exchanged for this token.
fn waited(edge: &mut Worker, request: &Request, token: &str) -> Outcome {
    let stream = edge.begin(request);
    assert!(edge.outcome(stream).is_none(), "it waits");
    edge.tick();
    edge.answer(200, json!({"access_token": token}).to_string());
    let outcome = edge.outcome(stream).expect("it waits no longer");
    edge.end(stream);
    outcome
}

#[test]
fn claims_and_filter_state_tell_of_a_key_what_its_token_says() {
    let mut config = config();
    config["claim_headers"] =
        json!([{"name": "x-login", "claim": "amr"}, {"name": "x-user-name", "claim": "name"}]);
    config["filter_state"] = json!(["subject", "session", "rule"]);
    let process = process();
    let mut edge = process.worker(&config).unwrap();
    let spoofing = request("/plain").header("X_Login", "otp").header("x-user-name", "eve");
    let waited = waited(&mut edge, &spoofing, &token());
    for outcome in [waited, edge.send(&spoofing)] {
        let told = ["x-user-id", "x-session-id", "x-auth-method", "x-login", "x-user-name", "x_login"];
        assert_eq!(
            told.map(|name| outcome.upstream().get(name)),
            [Some("u-key"), Some("k-1"), Some("api_key"), Some("api_key"), Some("Ada"), None]
        );
        let state: Vec<_> = outcome.filter_state.iter().map(|(key, value)| (&**key, &**value)).collect();
        assert_eq!(
            state,
            [("countersign_rule", "plain"), ("countersign_session", "k-1"), ("countersign_subject", "u-key")]
        );
    }
}

#[test]
fn a_login_that_is_asked_for_is_the_one_that_the_keys_token_tells_of() {
    let process = process();
    let mut edge = edge(&process, &config());
    assert_eq!(edge.send(&request("/by-key")).reason(), "forwarded");
    let refused = edge.send(&request("/by-code"));
    assert_eq!((refused.refused().status, refused.reason().as_str()), (401, "stronger_login_required"));
    let challenge = refused.refused().headers.get("www-authenticate").unwrap().to_owned();
    assert!(challenge.ends_with(", acr_values=\"otp\""), "{challenge}");
    process.set_time(START + 301);
    assert_eq!(edge.send(&request("/by-key")).reason(), "recent_login_required");
}

#[test]
fn the_token_of_a_key_is_forwarded_where_the_rule_says_so_and_the_key_nowhere() {
    for forwarding in [true, false] {
        let mut config = config();
        config["forward_authorization"] = json!(forwarding);
        let process = process();
        let mut edge = process.worker(&config).unwrap();
        let bearer = format!("Bearer {}", token());
        let basic = |path: &str| request(path).header("authorization", "Basic dTpw");
        let waited = waited(&mut edge, &basic("/forwarding"), &token());
        for (outcome, expected) in [
            (waited, Some(&*bearer)),
            (edge.send(&request("/forwarding")), Some(&*bearer)),
            (edge.send(&basic("/forwarding")), Some(&*bearer)),
            (edge.send(&request("/plain")), None),
            (edge.send(&basic("/plain")), None),
        ] {
            assert_eq!(outcome.upstream().get("authorization"), expected, "{outcome:?}");
            assert!(outcome.upstream().0.iter().all(|(_, value)| value != KEY.as_bytes()), "{outcome:?}");
        }
        let refused = edge.send(&request("/by-code"));
        assert_eq!(
            (refused.reason().as_str(), refused.headers.get("x-api-key")),
            ("stronger_login_required", None)
        );
    }
}

#[test]
fn a_token_that_was_taken_out_of_a_request_that_waits_is_forwarded_all_the_same() {
    let process = Process::new();
    let mut config = remote_config();
    config["rules"] = json!([
        {"name": "ws", "match": {"prefix": "/ws/", "upgrade": "websocket"}, "credentials": ["query:token", "subprotocol"],
         "allow": "authenticated", "forward_token": true},
    ]);
    let mut edge = process.worker(&config).unwrap();
    edge.tick();
    let ada = issuer().ada();
    let offer = format!("v1.quotes, bearer, {ada}");
    let streams = [
        edge.begin(&Request::websocket(format!("/ws/q?token={ada}"))),
        edge.begin(&Request::websocket("/ws/q").header("sec-websocket-protocol", offer)),
    ];
    edge.answer(200, jwks([&issuer()]).to_string());
    for stream in streams {
        let outcome = edge.outcome(stream).unwrap();
        assert_eq!(outcome.upstream().get("authorization"), Some(&*format!("Bearer {ada}")));
        assert_eq!(outcome.upstream().get(":path"), Some("/ws/q"));
        edge.end(stream);
    }
}

#[test]
fn a_request_that_waited_is_counted_once_and_by_its_rule() {
    let process = process();
    let mut edge = edge(&process, &config());
    edge.tick();
    let counted: Vec<_> = process
        .metrics()
        .into_iter()
        .filter(|(name, count)| name.contains("requests.outcome") && *count > 0)
        .collect();
    let expected = [
        ("countersign_requests.outcome.allowed.reason.token".to_owned(), 1),
        ("countersign_rule_requests.outcome.allowed.rule.plain".to_owned(), 1),
    ];
    assert_eq!(counted, expected);
}
