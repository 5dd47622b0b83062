//! Rules that only observe: they stand in nobody's way, whatever the credential, and vouch for nobody that was not verified.

use std::time::Duration;

use countersign_tests::host::{Issuer, Process, Request, START};
use serde_json::{Value, json};

use super::keys::remote_config;
use super::revocations::{feed, page, process};
use super::{edge_config, issuer};

fn watched(mut config: Value) -> Value {
    config["rules"] = json!([
        {"name": "watched-ws", "match": {"prefix": "/watched/", "upgrade": "websocket"}, "allow": {"role": "nobody"},
         "origins": ["https://app.example"], "mode": "observe"},
        {"name": "open-ws", "match": {"prefix": "/open/", "upgrade": "websocket"}, "allow": "authenticated",
         "mode": "observe"},
        {"name": "watched", "match": {"prefix": "/"}, "credentials": ["bearer", "api_key"], "allow": "authenticated",
         "mode": "observe"},
    ]);
    config["api_keys"] = json!({"cluster": "issuer-internal", "path": "/exchange"});
    config
}

#[test]
fn a_request_with_an_unknown_api_key_goes_on_at_once_without_identity() {
    let process = process();
    let mut edge = process.worker(&watched(edge_config())).unwrap();
    let request = Request::get("/alerts").header("X-API-Key", "cs_key_1").header("x-user-id", "mallory");
    let outcome = edge.send(&request);
    assert_eq!((outcome.upstream().get("x-user-id"), outcome.upstream().get("x-api-key")), (None, None));
    assert_eq!(outcome.filter_state["countersign_reason"], "unavailable");
    // The issuer is asked for those that come after it.
    edge.tick();
    let claims = countersign_claims::AccessClaims { amr: vec!["api_key".into()], ..Issuer::claims() };
    edge.answer(200, json!({"access_token": issuer().token(&claims)}).to_string());
    let outcome = edge.send(&request);
    assert_eq!(outcome.upstream().get("x-user-id"), Some("u-ada"));
    assert!(!outcome.filter_state.contains_key("countersign_reason"));
}

#[test]
fn where_keys_of_another_system_pass_it_waits_to_know_whose_the_key_is() {
    let process = process();
    let mut config = watched(edge_config());
    config["rules"][2]["unknown_api_key"] = json!("pass");
    let mut edge = process.worker(&config).unwrap();
    let request = Request::get("/alerts").header("X-API-Key", "key-of-another-system");
    let stream = edge.begin(&request);
    assert!(edge.outcome(stream).is_none());
    edge.tick();
    edge.answer(401, r#"{"reason": "api_key_invalid"}"#);
    assert_eq!(edge.outcome(stream).unwrap().upstream().get("x-api-key"), Some("key-of-another-system"));
    edge.end(stream);
    process.advance(Duration::from_secs(10));
    let stream = edge.begin(&request);
    edge.tick();
    edge.fail_call();
    // It could be one of the issuer's.
    assert_eq!(edge.outcome(stream).unwrap().upstream().get("x-api-key"), None);
    edge.end(stream);
}

#[test]
fn a_request_whose_key_is_being_fetched_goes_on_at_once_without_identity() {
    let process = process();
    let mut edge = process.worker(&watched(remote_config())).unwrap();
    edge.tick();
    let request = Request::get("/alerts").bearer(issuer().ada());
    assert_eq!(edge.send(&request).upstream().get("x-user-id"), None);
}

#[test]
fn a_session_that_has_ended_is_let_through_without_identity_even_if_it_was_remembered() {
    let process = process();
    let mut config = watched(edge_config());
    config["revocations"] = json!({"cluster": "issuer-internal", "path": "/revocations"});
    config["filter_state"] = json!(["reason", "subject", "session"]);
    let mut edge = process.worker(&config).unwrap();
    feed(&mut edge, &page(1, &[], true));
    let request = Request::get("/alerts").bearer(issuer().ada());
    assert_eq!(edge.send(&request).upstream().get("x-user-id"), Some("u-ada"));
    process.advance(Duration::from_secs(1));
    feed(&mut edge, &page(2, &["s-ada"], false));
    let outcome = edge.send(&request);
    assert_eq!(outcome.upstream().get("x-user-id"), None);
    assert_eq!(outcome.filter_state.keys().collect::<Vec<_>>(), ["countersign_reason"]);
    assert_eq!(outcome.filter_state["countersign_reason"], "revoked");
    edge.tick();
    assert_eq!(process.metric("countersign_requests.outcome.observed.reason.revoked"), 1);
    assert_eq!(process.metric("countersign_rule_requests.outcome.observed.rule.watched"), 1);
}

#[test]
fn a_stream_is_ended_by_nothing_whether_its_credential_was_good_or_not() {
    let process = Process::new();
    process.add_cluster("issuer-internal");
    process.set_env("COUNTERSIGN_SERVICE_TOKEN", "cs_service_1");
    let mut config = watched(edge_config());
    config["revocations"] = json!({"cluster": "issuer-internal", "path": "/revocations"});
    let mut edge = process.worker(&config).unwrap();
    feed(&mut edge, &page(1, &[], true));
    let ada = issuer().ada();
    let requests = [
        Request::websocket("/open/x").bearer(&ada),
        Request::websocket("/open/x").bearer("forged"),
        Request::websocket("/watched/x").bearer(&ada),
        Request::websocket("/watched/x").bearer(&ada).header("origin", "https://eve.example"),
    ];
    let streams = requests.map(|request| {
        let stream = edge.begin(&request);
        assert_eq!(edge.outcome(stream).unwrap().reason(), "forwarded");
        edge.respond(stream, 101);
        stream
    });
    process.advance(Duration::from_secs(1));
    feed(&mut edge, &page(2, &["s-ada"], false));
    process.set_time(START + 1000);
    for _ in 0..10 {
        process.advance(Duration::from_millis(200));
        edge.tick();
    }
    for stream in streams {
        assert_eq!(edge.pass(stream, b"\x81\x01a", false), b"\x81\x01a");
        assert!(edge.is_open(stream));
        edge.end(stream);
    }
}
