//! API keys: exchanged for tokens, once in a while for all who bring them, and never passed on.

use std::time::Duration;

use countersign_claims::AccessClaims;
use countersign_tests::host::{Issuer, Process, Request, START, Worker};
use serde_json::{Value, json};

use super::{edge_config, issuer};

const KEY: &str = "cs_key_0123456789abcdef";
const TOKEN: &str = "cs_service_0123456789";

pub(super) fn config() -> Value {
    let mut config = edge_config();
    config["api_keys"] =
        json!({"cluster": "issuer-internal", "path": "/v1/internal/api-keys/exchange", "timeout": "2s"});
    let alerts = config["rules"].as_array_mut().unwrap().iter_mut().find(|rule| rule["name"] == "alerts");
    alerts.unwrap()["credentials"] = json!(["bearer", "api_key"]);
    config
}

pub(super) fn process() -> Process {
    let process = Process::new();
    process.add_cluster("issuer-internal");
    process.set_env("COUNTERSIGN_SERVICE_TOKEN", TOKEN);
    process
}

pub(super) fn request() -> Request {
    Request::get("/alerts").header("X-API-Key", KEY)
}

pub(super) fn by_key(exp: i64) -> AccessClaims {
    AccessClaims {
        sub: "u-key".into(),
        exp,
        amr: vec!["api_key".into()],
        session_id: Some("k-1".into()),
        ..Issuer::claims()
    }
}

pub(super) fn answer(claims: &AccessClaims) -> String {
    answer_of(&issuer(), claims)
}

pub(super) fn answer_of(issuer: &Issuer, claims: &AccessClaims) -> String {
    json!({"access_token": issuer.token(claims), "expires_in": 900}).to_string()
}

/// Sends a request that waits, and has the issuer answer.
pub(super) fn exchanged(edge: &mut Worker, status: u16, body: &str) -> String {
    let stream = edge.begin(&request());
    assert!(edge.outcome(stream).is_none(), "it waits");
    edge.tick();
    edge.answer(status, body);
    let reason = edge.outcome(stream).expect("it waits no longer").reason();
    edge.end(stream);
    reason
}

#[test]
fn a_key_is_exchanged_and_the_caller_is_named() {
    let process = process();
    let mut edge = process.worker(&config()).unwrap();
    let stream = edge.begin(&request().header("Authorization", "Basic dTpw").header("x-user-id", "mallory"));
    assert!(edge.outcome(stream).is_none());
    edge.tick();
    let call = edge.calls().next().unwrap().clone();
    assert_eq!((call.cluster.as_str(), call.headers.get(":method")), ("issuer-internal", Some("POST")));
    assert_eq!(call.headers.get(":path"), Some("/v1/internal/api-keys/exchange"));
    assert_eq!(call.headers.get("x-service-token"), Some(TOKEN));
    assert_eq!(call.headers.get("content-type"), Some("application/json"));
    assert_eq!(call.timeout, Duration::from_secs(2));
    assert_eq!(serde_json::from_slice::<Value>(&call.body).unwrap(), json!({"api_key": KEY}));
    edge.answer(200, answer(&by_key(START + 900)));
    let outcome = edge.outcome(stream).unwrap();
    let upstream = outcome.upstream();
    assert_eq!(upstream.get("x-user-id"), Some("u-key"));
    assert_eq!(upstream.get("x-auth-method"), Some("api_key"));
    assert_eq!((upstream.get("x-api-key"), upstream.get("authorization")), (None, None));
    assert_eq!(outcome.filter_state["countersign_rule"], "alerts");
    edge.end(stream);
}

#[test]
fn a_key_is_asked_about_once_a_minute() {
    let process = process();
    let mut edge = process.worker(&config()).unwrap();
    assert_eq!(exchanged(&mut edge, 200, &answer(&by_key(START + 900))), "forwarded");
    for _ in 0..5 {
        process.advance(Duration::from_secs(11));
        edge.tick();
        let outcome = edge.send(&request());
        assert_eq!(outcome.upstream().get("x-api-key"), None);
    }
    assert_eq!(edge.calls().count(), 0);
    process.advance(Duration::from_secs(6));
    assert_eq!(edge.send(&request()).reason(), "forwarded", "nobody waits for it");
    edge.tick();
    edge.answer(200, answer(&AccessClaims { sub: "u-other".into(), ..by_key(START + 900) }));
    assert_eq!(edge.send(&request()).upstream().get("x-user-id"), Some("u-other"));
    edge.tick();
    assert_eq!(edge.calls().count(), 0);
}

#[test]
fn many_that_bring_a_key_at_once_share_one_question() {
    let process = process();
    let mut edge = process.worker(&config()).unwrap();
    let streams: Vec<_> = (0..10).map(|_| edge.begin(&request())).collect();
    edge.tick();
    edge.tick();
    assert_eq!(edge.calls().count(), 1);
    // One client has left, the one who was first.
    edge.end(streams[0]);
    edge.answer(200, answer(&by_key(START + 900)));
    for stream in &streams[1..] {
        assert_eq!(edge.outcome(*stream).unwrap().reason(), "forwarded");
        edge.end(*stream);
    }
}

#[test]
fn a_bad_key_is_refused_and_remembered_briefly() {
    let process = process();
    let mut edge = process.worker(&config()).unwrap();
    let refused = r#"{"reason": "api_key_invalid", "detail": "Invalid API key"}"#;
    assert_eq!(exchanged(&mut edge, 401, refused), "api_key_refused");
    let outcome = edge.send(&request());
    assert_eq!((outcome.refused().status, outcome.reason().as_str()), (401, "api_key_refused"));
    assert_eq!(outcome.refused().problem()["detail"], "Authentication required");
    assert_eq!(outcome.headers.get("x-api-key"), None, "not in logs either");
    process.advance(Duration::from_secs(10));
    assert_eq!(exchanged(&mut edge, 200, &answer(&by_key(START + 900))), "forwarded");
}

#[test]
fn what_the_issuer_gives_is_verified_like_any_token() {
    let forged = Issuer::new("k1", 66).token(&by_key(START + 900));
    for (token, reason) in [
        (issuer().token(&Issuer::claims()), "invalid_claims"),
        (forged, "bad_signature"),
        (issuer().token(&by_key(START - 1)), "unavailable"),
        ("nonsense".into(), "malformed_token"),
    ] {
        let mut edge = process().worker(&config()).unwrap();
        let body = json!({"access_token": token, "expires_in": 900}).to_string();
        assert_eq!(exchanged(&mut edge, 200, &body), reason, "{token}");
    }
    let mut edge = process().worker(&config()).unwrap();
    let poor = AccessClaims { scope: Some("alerts:read".into()), ..by_key(START + 900) };
    assert_eq!(exchanged(&mut edge, 200, &answer(&poor)), "permission_denied");
}

#[test]
fn a_token_that_ends_before_its_minute_is_exchanged_again() {
    let process = process();
    let mut edge = process.worker(&config()).unwrap();
    assert_eq!(exchanged(&mut edge, 200, &answer(&by_key(START + 20))), "forwarded");
    process.set_time(START + 20);
    assert_eq!(exchanged(&mut edge, 200, &answer(&by_key(START + 40))), "forwarded");
}

#[test]
fn a_token_beside_a_key_decides_alone() {
    let mut edge = process().worker(&config()).unwrap();
    let both = |token: &str| request().bearer(token);
    let outcome = edge.send(&both(&issuer().ada()));
    let upstream = outcome.upstream();
    assert_eq!((upstream.get("x-user-id"), upstream.get("x-auth-method")), (Some("u-ada"), Some("jwt")));
    assert_eq!(upstream.get("x-api-key"), None);
    assert_eq!(edge.send(&both("a.b.c")).reason(), "malformed_token", "no falling back");
    edge.tick();
    assert_eq!(edge.calls().count(), 0);
}

#[test]
fn where_a_key_would_do_nothing_at_all_is_told_so() {
    let mut edge = process().worker(&config()).unwrap();
    let outcome = edge.send(&Request::get("/alerts"));
    assert_eq!((outcome.refused().status, outcome.reason().as_str()), (401, "missing_credential"));
    assert_eq!(outcome.refused().problem()["detail"], "Authentication required");
    assert_eq!(edge.send(&Request::get("/api/x").header("X-API-Key", KEY)).reason(), "missing_token");
    assert_eq!(edge.send(&request().header("X-API-Key", KEY)).reason(), "ambiguous_credentials");
    assert_eq!(edge.send(&Request::get("/alerts").header("X-API-Key", "a b")).reason(), "api_key_refused");
}

#[test]
fn a_key_is_passed_on_nowhere_and_logged_nowhere() {
    let process = process();
    let mut edge = process.worker(&config()).unwrap();
    for path in ["/public/x", "/watched/x", "/nowhere", "/api/x"] {
        let outcome = edge.send(&Request::get(path).header("X-API-Key", KEY).bearer(issuer().ada()));
        assert_eq!(outcome.headers.get("x-api-key"), None, "{path}");
    }
    exchanged(&mut edge, 500, KEY);
    edge.tick();
    assert!(process.log().iter().all(|line| !line.message.contains(KEY) && !line.message.contains(TOKEN)));
    // Without the exchange such a header is somebody else's.
    let outcome =
        process.worker(&edge_config()).unwrap().send(&Request::get("/public/x").header("X-API-Key", KEY));
    assert_eq!(outcome.upstream().get("x-api-key"), Some(KEY));
}

#[test]
fn what_no_log_may_show_goes_before_the_request_waits() {
    let mut config = config();
    let rules = config["rules"].as_array_mut().unwrap();
    let alerts = rules.iter_mut().find(|rule| rule["name"] == "alerts").unwrap();
    alerts["credentials"] = json!(["api_key"]);
    let mut edge = process().worker(&config).unwrap();
    let stream = edge
        .begin(&Request::get("/alerts?token=a.b.c&x=1").header("X-API-Key", KEY).header("x-user-id", "eve"));
    edge.tick();
    edge.answer(200, answer(&by_key(START + 900)));
    let outcome = edge.outcome(stream).unwrap();
    assert_eq!(outcome.upstream().get(":path"), Some("/alerts?x=1"));
    assert_eq!(outcome.upstream().get("x-user-id"), Some("u-key"));
    edge.end(stream);
}

#[test]
fn a_key_that_was_revoked_is_refused_at_once() {
    let process = process();
    let mut config = config();
    config["revocations"] = json!({"cluster": "issuer-internal", "path": "/v1/internal/revocations"});
    let mut edge = process.worker(&config).unwrap();
    super::revocations::feed(&mut edge, &super::revocations::page(1, &[], true));
    let stream = edge.begin(&request());
    edge.tick();
    // The next question to the feed is under way; then comes the key's.
    edge.answer(200, super::revocations::page(1, &[], false).to_string());
    edge.answer(200, answer(&by_key(START + 900)));
    assert_eq!(edge.outcome(stream).unwrap().reason(), "forwarded");
    edge.end(stream);
    process.advance(Duration::from_secs(1));
    edge.tick();
    edge.answer(200, super::revocations::page(2, &["k-1"], false).to_string());
    assert_eq!(edge.send(&request()).reason(), "revoked");
}

#[test]
fn a_key_of_another_system_goes_on_with_its_request_where_the_rule_says_so() {
    let mut config = config();
    let rules = config["rules"].as_array_mut().unwrap();
    rules.iter_mut().find(|rule| rule["name"] == "alerts").unwrap()["unknown_api_key"] = json!("pass");
    let process = process();
    let mut edge = process.worker(&config).unwrap();
    let stream = edge.begin(&request().header("x-user-id", "eve"));
    edge.tick();
    edge.answer(401, r#"{"reason": "api_key_invalid"}"#);
    let outcome = edge.outcome(stream).unwrap();
    edge.end(stream);
    for outcome in [outcome, edge.send(&request().header("x-user-id", "eve"))] {
        let upstream = outcome.upstream();
        assert_eq!(upstream.get("x-api-key"), Some(KEY));
        assert!(
            upstream.names().all(|name| !name.starts_with("x-user") && name != "x-auth-method"),
            "{upstream:?}"
        );
        assert_eq!(outcome.filter_state["countersign_reason"], "api_key_refused");
    }
    edge.tick();
    assert_eq!(process.metric("countersign_requests.outcome.observed.reason.api_key_refused"), 2);
    // One of ours that has ended is no such key, and nor is none.
    process.advance(Duration::from_secs(10));
    assert_eq!(exchanged(&mut edge, 401, r#"{"reason": "api_key_expired"}"#), "api_key_refused");
    assert_eq!(edge.send(&Request::get("/alerts")).reason(), "missing_credential");
    // One that is good is not passed on.
    process.advance(Duration::from_secs(10));
    let stream = edge.begin(&request());
    edge.tick();
    edge.answer(200, answer(&by_key(START + 900)));
    let outcome = edge.outcome(stream).unwrap();
    assert_eq!(
        (outcome.upstream().get("x-api-key"), outcome.upstream().get("x-user-id")),
        (None, Some("u-key"))
    );
    edge.end(stream);
}

#[test]
fn a_websocket_may_be_opened_with_a_key() {
    let mut config = config();
    config["rules"][1]["credentials"] = json!(["bearer", "api_key"]);
    let process = process();
    let mut edge = process.worker(&config).unwrap();
    let stream = edge.begin(&Request::websocket("/ws/quotes").header("X-API-Key", KEY));
    edge.tick();
    edge.answer(200, answer(&by_key(START + 60)));
    assert_eq!(edge.outcome(stream).unwrap().reason(), "forwarded");
    edge.respond(stream, 101);
    process.set_time(START + 60);
    edge.tick();
    let close = [&[0x88, 15, 0x03, 0xf0][..], b"Token expired"].concat();
    assert_eq!(edge.pass(stream, b"\x81\x01a", false), [&b"\x81\x01a"[..0], &close].concat());
}
