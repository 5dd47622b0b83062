//! Where keys come from: the configuration, a cluster, or what another configuration has fetched from it.

use countersign_tests::host::{Issuer, Process, Request, jwks};
use serde_json::json;

use super::keys::{FAILED, SECOND, remote_config, send};
use super::{edge_config, issuer};

#[test]
fn asks_the_configured_cluster_and_path() {
    let process = Process::new();
    let mut edge = process.worker(&remote_config()).unwrap();
    edge.tick();
    let call = edge.calls().next().expect("a call on the first tick").clone();
    assert_eq!(call.cluster, "issuer");
    assert_eq!(call.headers.get(":path"), Some("/.well-known/jwks.json"));
    assert_eq!(call.headers.get(":method"), Some("GET"));
    assert_eq!(call.timeout, 2 * SECOND);
}

#[test]
fn an_inline_key_that_is_not_for_verifying_is_none() {
    let mut config = edge_config();
    config["keys"]["inline"] = jwks([&issuer(), &Issuer::new("k2", 2)]);
    config["keys"]["inline"]["keys"][0]["key_ops"] = json!(["sign"]);
    let mut edge = Process::new().worker(&config).unwrap();
    assert_eq!(send(&mut edge, &issuer().ada()), "unknown_key");
    assert_eq!(send(&mut edge, &Issuer::new("k2", 2).ada()), "forwarded");
}

#[test]
fn a_new_configuration_does_not_take_a_set_that_nobody_has_kept_up() {
    let process = Process::new();
    let mut edge = process.worker(&remote_config()).unwrap();
    edge.tick();
    edge.answer(200, jwks([&issuer()]).to_string());
    edge.configure(&edge_config()).unwrap();
    process.advance(181 * SECOND);
    edge.configure(&remote_config()).unwrap();
    assert_eq!(send(&mut edge, &issuer().ada()), "unavailable");
    edge.tick();
    let stream = edge.begin(&Request::get("/api/x").bearer(issuer().ada()));
    assert!(edge.outcome(stream).is_none(), "nor later: it waits for a newer one");
    edge.answer(200, jwks([&issuer()]).to_string());
    assert_eq!(edge.outcome(stream).unwrap().reason(), "forwarded");
    edge.end(stream);
}

#[test]
fn a_new_configuration_takes_the_last_set_while_the_issuer_is_away() {
    let process = Process::new();
    let mut edge = process.worker(&remote_config()).unwrap();
    edge.tick();
    edge.answer(200, jwks([&issuer()]).to_string());
    for _ in 0..600 {
        process.advance(SECOND);
        edge.tick();
        if edge.calls().next().is_some() {
            edge.fail_call();
        }
    }
    edge.configure(&remote_config()).unwrap();
    assert_eq!(send(&mut edge, &issuer().ada()), "forwarded");
}

#[test]
fn two_sources_that_are_written_alike_keep_their_own_keys() {
    let process = Process::new();
    process.add_cluster("issuer/v1");
    let source = |cluster: &str, path: &str| {
        let mut config = remote_config();
        config["keys"]["remote"] = json!({"cluster": cluster, "path": path});
        config
    };
    let mut edge = process.worker(&source("issuer", "/v1/jwks")).unwrap();
    edge.tick();
    edge.answer(200, jwks([&issuer()]).to_string());
    let mut other = process.worker(&source("issuer/v1", "/jwks")).unwrap();
    assert_eq!(send(&mut other, &issuer().ada()), "unavailable");
}

#[test]
fn the_authority_that_is_asked_for_can_be_set() {
    let process = Process::new();
    let mut config = remote_config();
    let mut edge = process.worker(&config).unwrap();
    edge.tick();
    assert_eq!(edge.calls().next().unwrap().headers.get(":authority"), Some("issuer"));
    config["keys"]["remote"]["authority"] = json!("login.example:8443");
    edge.configure(&config).unwrap();
    edge.tick();
    assert_eq!(edge.calls().last().unwrap().headers.get(":authority"), Some("login.example:8443"));
}

#[test]
fn the_log_tells_what_is_wrong_with_the_cluster() {
    let said = |process: &Process| {
        let mut edge = process.worker(&remote_config()).unwrap();
        edge.tick();
        process.log().last().unwrap().message.clone()
    };
    let unknown = Process::new();
    unknown.remove_cluster("issuer");
    assert!(said(&unknown).contains("there is no such cluster"), "{}", said(&unknown));
    let deserted = Process::new();
    deserted.desert_cluster("issuer");
    assert!(said(&deserted).contains("the cluster has no healthy host"), "{}", said(&deserted));
}

#[test]
fn a_cluster_that_is_not_there_is_a_failed_attempt() {
    let process = Process::new();
    process.remove_cluster("issuer");
    let mut edge = process.worker(&remote_config()).unwrap();
    edge.tick();
    edge.tick();
    assert_eq!(process.metric(FAILED), 1);
    assert_eq!(send(&mut edge, &issuer().ada()), "unavailable");
}

#[test]
fn a_new_configuration_starts_with_the_keys_that_are_there() {
    let process = Process::new();
    let mut edge = process.worker(&remote_config()).unwrap();
    edge.tick();
    edge.answer(200, jwks([&issuer()]).to_string());
    edge.configure(&remote_config()).unwrap();
    assert_eq!(send(&mut edge, &issuer().ada()), "forwarded");
    let mut late = process.worker(&remote_config()).unwrap();
    assert_eq!(send(&mut late, &issuer().ada()), "forwarded");
}

#[test]
fn another_source_does_not_inherit_keys() {
    let process = Process::new();
    let mut edge = process.worker(&remote_config()).unwrap();
    edge.tick();
    edge.answer(200, jwks([&issuer()]).to_string());
    let mut config = remote_config();
    config["keys"]["remote"]["path"] = json!("/other");
    edge.configure(&config).unwrap();
    assert_eq!(send(&mut edge, &issuer().ada()), "unavailable");
}

#[test]
fn inline_and_remote_keys_serve_together_and_must_agree() {
    let process = Process::new();
    let mut config = remote_config();
    config["keys"]["inline"] = jwks([&issuer()]);
    let mut edge = process.worker(&config).unwrap();
    let other = Issuer::new("k2", 2);
    assert_eq!(send(&mut edge, &issuer().ada()), "forwarded");
    // The issuer may know this key; it has not been asked yet.
    assert_eq!(send(&mut edge, &other.ada()), "unavailable");
    edge.tick();
    edge.answer(200, jwks([&other, &issuer()]).to_string());
    assert_eq!(send(&mut edge, &other.ada()), "forwarded");
    process.advance(60 * SECOND);
    edge.tick();
    edge.answer(200, jwks([&Issuer::new("k1", 3)]).to_string());
    assert_eq!(send(&mut edge, &issuer().ada()), "forwarded", "a contradicting set is not taken");
}
