//! Configurations that are refused, and what goes on serving.

use countersign_tests::host::{Build, Process, Request};
use serde_json::{Value, json};

use super::{edge_config, issuer};

fn with(pointer: &str, value: Value) -> Value {
    let mut config = edge_config();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = config.pointer_mut(parent).unwrap();
    match field.parse::<usize>() {
        Ok(at) => parent[at] = value,
        Err(_) => parent[field] = value,
    }
    config
}

#[test]
fn a_refused_configuration_is_named_with_its_path() {
    for (config, path) in [
        (with("/unknown", json!(1)), "unknown: "),
        (with("/rules/2/match/path", json!("/x")), "rules[2].match: "),
        (with("/rules/3/match/prefix", json!("api")), "rules[3].match.prefix: "),
        (with("/rules/1/credentials/1", json!("query")), "rules[1].credentials[1]: "),
        (with("/rules/4/allow", json!("nobody")), "rules[4].allow: "),
        (with("/keys/inline/keys/0/x", json!("AA")), "keys.inline: "),
        (with("/revocations", json!({})), "revocations.cluster: "),
        (json!({}), "issuer: is missing"),
        (json!([]), ".: must be an object"),
    ] {
        let error = Process::new().worker(&config).expect_err(path);
        assert!(error.contains(&format!("configuration refused: {path}")), "{error}");
    }
}

#[test]
fn a_bad_update_leaves_the_old_configuration_serving() {
    let mut edge = Process::new().worker(&edge_config()).unwrap();
    for bad in [&b""[..], b"{", b"\xff\xff", b"null", b"{\"issuer\": 1}"] {
        edge.configure_raw(bad).expect_err("refused");
        assert_eq!(edge.send(&Request::get("/api/x").bearer(issuer().ada())).reason(), "forwarded");
        assert_eq!(edge.send(&Request::get("/api/x")).reason(), "missing_token");
    }
}

#[test]
fn a_good_update_takes_over() {
    let mut edge = Process::new().worker(&edge_config()).unwrap();
    assert_eq!(edge.send(&Request::get("/api/x")).reason(), "missing_token");
    edge.configure(&with(
        "/rules/3",
        json!({"name": "api", "match": {"prefix": "/api/"}, "allow": "anyone"}),
    ))
    .unwrap();
    assert_eq!(edge.send(&Request::get("/api/x")).reason(), "forwarded");
}

#[test]
fn two_configurations_that_serve_at_once_keep_their_own_rules() {
    let process = Process::new();
    let mut edge = process.worker(&edge_config()).unwrap();
    let open = with("/rules/3", json!({"name": "api", "match": {"prefix": "/api/"}, "allow": "anyone"}));
    let mut other = edge.configure_beside(&open).unwrap();
    for expected in ["forwarded", "missing_token"].repeat(3) {
        edge.tick();
        assert_eq!(edge.send(&Request::get("/api/x")).reason(), expected);
        other = edge.swap(other);
    }
}

#[test]
fn a_worker_that_was_never_configured_lets_nothing_through() {
    // Envoy would not send it requests; if it did, they must not pass.
    let mut edge = Process::new().worker(&edge_config()).unwrap();
    let outcome = edge.send_unconfigured(&Request::get("/public/x"));
    assert_eq!((outcome.reason().as_str(), outcome.refused().status), ("unavailable", 503));
}

#[test]
fn a_host_that_calls_back_while_it_is_called_gets_a_refusal_and_no_trap() {
    // The SDK would trap.
    let mut edge = Process::alone(Build::Own).worker(&edge_config()).unwrap();
    edge.reenter();
    let request = Request::get("/api/x").bearer(issuer().ada());
    // The host sees to it that what it calls for meanwhile is refused.
    assert_eq!(edge.send(&request).reason(), "forwarded");
    assert_eq!(edge.send(&request).reason(), "forwarded", "the worker is as it was");
}

#[test]
fn the_version_is_logged_and_no_token_ever_is() {
    let process = Process::new();
    let mut edge = process.worker(&edge_config()).unwrap();
    let ada = issuer().ada();
    edge.send(&Request::get("/api/x").bearer(&ada));
    edge.send(&Request::get("/api/x").bearer(format!("{ada}x")));
    edge.send(&Request::get(format!("/api/..?token={ada}")));
    edge.tick();
    let log = process.log();
    assert!(log.iter().any(|line| line.message.starts_with("countersign-filter 0.")));
    assert!(log.iter().all(|line| !line.message.contains("eyJ")), "{log:?}");
}
