//! Every outcome is counted, under the names that the README lists.

use countersign_tests::host::{Issuer, Process, Request, jwks};
use serde_json::json;

use super::{edge_config, issuer};

#[test]
fn every_outcome_is_counted_on_the_next_tick() {
    let process = Process::new();
    let mut edge = process.worker(&edge_config()).unwrap();
    let ada = issuer().ada();
    for (count, request) in [
        (1, Request::get("/public/x")),
        (2, Request::get("/api/x").bearer(&ada)),
        (3, Request::get("/api/x")),
        (4, Request::get("/watched")),
        (5, Request::get("/nowhere")),
    ] {
        for _ in 0..count {
            edge.send(&request);
        }
    }
    assert_eq!(process.metric("countersign_requests.outcome.allowed.reason.public"), 0);
    edge.tick();
    edge.tick();
    for (name, count) in [
        ("allowed.reason.public", 1),
        ("allowed.reason.token", 2),
        ("denied.reason.missing_token", 3),
        ("observed.reason.missing_token", 4),
        ("denied.reason.no_rule", 5),
    ] {
        assert_eq!(process.metric(&format!("countersign_requests.outcome.{name}")), count, "{name}");
    }
}

#[test]
fn nothing_is_lost_when_the_configuration_changes() {
    let process = Process::new();
    let mut edge = process.worker(&edge_config()).unwrap();
    edge.send(&Request::get("/nowhere"));
    edge.configure(&edge_config()).unwrap();
    // The host does not say when the old one ends: the new one looks.
    edge.tick();
    assert_eq!(process.metric("countersign_requests.outcome.denied.reason.no_rule"), 1);
}

#[test]
fn gauges_come_from_the_newest_configuration_only() {
    let process = Process::new();
    let mut edge = process.worker(&edge_config()).unwrap();
    let mut newer = edge_config();
    newer["keys"]["inline"] = jwks([&issuer(), &Issuer::new("k2", 2)]);
    let mut other = edge.configure_beside(&newer).unwrap();
    for _ in 0..4 {
        edge.tick();
        assert_eq!(process.metric("countersign_keys"), 2);
        other = edge.swap(other);
    }
    // What the older one counts is told all the same.
    assert_eq!(edge.send(&Request::get("/nowhere")).reason(), "no_rule");
    edge.swap(other);
    assert_eq!(edge.send(&Request::get("/nowhere")).reason(), "no_rule");
    edge.tick();
    assert!(edge.configure_raw(b"{}").is_err());
    edge.tick();
    assert_eq!(process.metric("countersign_keys"), 2, "one that was refused is none");
}

#[test]
fn keys_that_stand_in_the_configuration_have_no_age() {
    let process = Process::new();
    let mut config = edge_config();
    config["keys"]["remote"] = json!({"cluster": "issuer", "path": "/jwks"});
    let mut edge = process.worker(&config).unwrap();
    process.advance(std::time::Duration::from_secs(90));
    edge.tick();
    assert_eq!(process.metric("countersign_keys_age_seconds"), 90, "waited for, and never fetched");
    edge.configure(&edge_config()).unwrap();
    edge.tick();
    assert_eq!(process.metric("countersign_keys_age_seconds"), 0);
}

#[test]
fn the_readme_lists_every_metric() {
    let readme = include_str!("../../../filter/README.md");
    let process = Process::new();
    let mut edge = process.worker(&edge_config()).unwrap();
    edge.send(&Request::get("/api/x").bearer(issuer().ada()));
    edge.tick();
    for name in process.metrics().keys() {
        // `<reason>` and `<rule>` stand for the last word of a request counter, `<outcome>` for the word in the middle.
        let (start, last) = name.rsplit_once('.').unwrap_or((name, ""));
        let by_rule = "countersign_rule_requests.outcome.<outcome>.rule.<rule>";
        let is_by_rule = start.starts_with("countersign_rule_requests.outcome.") && start.ends_with(".rule");
        let listed = [name.clone(), format!("{start}.<reason>"), format!("`.{last}`"), by_rule.to_owned()];
        let listed = if is_by_rule { &listed[3..] } else { &listed[..3] };
        assert!(listed.iter().any(|name| readme.contains(name)), "{name}");
    }
}
