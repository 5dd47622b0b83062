//! What a request costs does not grow with what the worker holds. Counted in instructions, so that the check means
//! the same on every machine; times are for the benchmark.

use countersign_claims::AccessClaims;
use countersign_tests::host::{Issuer, Request, Worker, jwks};
use serde_json::{Value, json};

use super::{edge_config, issuer, worker};

/// What a request with a remembered token costs.
fn warm(edge: &mut Worker) -> u64 {
    let request = Request::get("/api/positions").bearer(issuer().ada());
    edge.send(&request).upstream();
    edge.send(&request).cost
}

fn assert_flat(what: &str, few: u64, many: u64) {
    assert!(many < few + few / 5, "{few} instructions with few {what}, {many} with many");
}

#[test]
fn with_the_number_of_rules() {
    let with = |count: usize| {
        let mut config = edge_config();
        let rules = config["rules"].as_array_mut().unwrap();
        let more: Vec<Value> = (rules.len()..count)
            .map(|n| json!({"name": format!("r{n}"), "match": {"prefix": format!("/api/r{n}/")}, "allow": "anyone"}))
            .collect();
        rules.splice(0..0, more);
        warm(&mut worker(&config))
    };
    assert_flat("rules", with(50), with(500));
    // A few rules are tried in turn, which is cheaper; not by much.
    let (few, many) = (with(8), with(500));
    assert!(many < few + few / 2, "{few} instructions with 8 rules, {many} with 500");
}

#[test]
fn with_the_number_of_keys() {
    let with = |count: u8| {
        let others: Vec<_> = (1..count).map(|n| Issuer::new(&format!("other-{n}"), 100 + n)).collect();
        let mut config = edge_config();
        config["keys"]["inline"] = jwks(others.iter().chain([&issuer()]));
        warm(&mut worker(&config))
    };
    assert_flat("keys", with(1), with(50));
}

#[test]
fn with_the_number_of_remembered_tokens() {
    let mut edge = worker(&edge_config());
    let few = warm(&mut edge);
    for number in 0..5000 {
        let claims = AccessClaims { sub: format!("u-{number}"), ..Issuer::claims() };
        edge.send(&Request::get("/api/x").bearer(issuer().token(&claims))).upstream();
    }
    assert_flat("tokens", few, warm(&mut edge));
}

/// Each is 50 to 650 ns in Envoy, a good part of what a request costs.
#[test]
fn an_admitted_request_calls_the_host_as_seldom_as_can_be() {
    let mut edge = worker(&edge_config());
    edge.tick();
    let request = Request::get("/api/positions").bearer(issuer().ada());
    edge.send(&request).upstream();
    let warm = edge.send(&request);
    // Its headers; who is calling, in five headers; the rule, for the access log.
    assert_eq!(warm.host_calls, 1 + 5 + 1);
}
