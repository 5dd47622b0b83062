//! Services that call through the edge: they pass where a rule is for services, under their own name, and never for a user.

use std::time::Duration;

use countersign_claims::AccessClaims;
use countersign_tests::host::{Issuer, Outcome, Request, Worker};
use serde_json::{Value, json};

use super::revocations::{config, feed, page, process};
use super::{issuer, worker};

/// What tells a user from another, or a service.
const IDENTITY: [&str; 6] =
    ["x-user-id", "x-user-email", "x-user-roles", "x-session-id", "x-service-name", "x-auth-method"];

fn service(name: &str) -> AccessClaims {
    AccessClaims {
        sub: format!("service:{name}"),
        client_id: Some(name.into()),
        session_id: None,
        credential_id: Some(format!("c-{name}")),
        email: None,
        name: None,
        roles: vec![],
        scope: Some("quotes:publish alerts:write".into()),
        amr: vec![],
        auth_time: None,
        ..Issuer::claims()
    }
}

fn token(name: &str) -> String {
    issuer().token(&service(name))
}

fn rules() -> Value {
    json!([
        {"name": "users", "match": {"prefix": "/api/"}, "allow": "authenticated"},
        {"name": "permission", "match": {"prefix": "/alerts"}, "allow": {"permission": "alerts:write"}},
        {"name": "any", "match": {"prefix": "/any/"}, "allow": {"service": true}},
        {"name": "named", "match": {"prefix": "/named/"}, "allow": {"service": ["engine", "ticker"]}},
        {"name": "scoped", "match": {"prefix": "/scoped/"}, "allow": {"service": true, "permission": "orders:write"}},
        {"name": "both", "match": {"prefix": "/both/"}, "allow": {"service": "ticker", "user": true, "permission": "alerts:write"}},
        {"name": "watched", "match": {"prefix": "/watched/"}, "allow": "authenticated", "mode": "observe"},
        {"name": "quotes", "match": {"prefix": "/ws/", "upgrade": "websocket"},
         "credentials": ["bearer", "query:token", "subprotocol"], "allow": "authenticated"},
    ])
}

fn edge() -> Worker {
    let mut config = super::edge_config();
    config["rules"] = rules();
    config["filter_state"] = json!(["rule", "reason", "subject", "session"]);
    worker(&config)
}

fn told(outcome: &Outcome) -> Vec<Option<&str>> {
    IDENTITY.map(|name| outcome.upstream().get(name)).into()
}

#[test]
fn a_service_passes_where_a_rule_is_for_services_and_nowhere_else() {
    let mut edge = edge();
    for (path, user, ticker, alerts) in [
        ("/api/x", true, false, false),
        ("/alerts", true, false, false),
        ("/any/x", false, true, true),
        ("/named/x", false, true, false),
        ("/scoped/x", false, false, false),
        ("/both/x", true, true, false),
    ] {
        for (token, passes) in [(issuer().ada(), user), (token("ticker"), ticker), (token("alerts"), alerts)]
        {
            let expected = if passes { "forwarded" } else { "permission_denied" };
            // Verified, and then remembered.
            for _ in 0..2 {
                assert_eq!(edge.send(&Request::get(path).bearer(&token)).reason(), expected, "{path}");
            }
        }
    }
    for handshake in [
        Request::websocket("/ws/quotes").bearer(token("ticker")),
        Request::websocket(format!("/ws/quotes?token={}", token("ticker"))),
    ] {
        assert_eq!(edge.send(&handshake).reason(), "permission_denied");
    }
    assert_eq!(edge.send(&Request::get("/any/x")).reason(), "missing_token");
}

#[test]
fn nothing_that_an_upstream_is_told_of_a_service_could_be_a_user() {
    let mut edge = edge();
    let spoofed =
        |path: &str| IDENTITY.into_iter().fold(Request::get(path), |r, name| r.header(name, "mallory"));
    let service = [None, None, None, None, Some("ticker"), Some("jwt")];
    for path in ["/any/x", "/both/x", "/watched/x"] {
        let outcome = edge.send(&spoofed(path).bearer(token("ticker")));
        assert_eq!(told(&outcome), service, "{path}");
    }
    let outcome = edge.send(&spoofed("/both/x").bearer(issuer().ada()));
    assert_eq!(told(&outcome)[..1], [Some("u-ada")]);
    assert_eq!(told(&outcome)[4..], [None, Some("jwt")]);
    let outcome = edge.send(&Request::get("/any/x").bearer(token("ticker")));
    let state = |name: &str| outcome.filter_state.get(name).map(String::as_str);
    assert_eq!(state("countersign_subject"), Some("service:ticker"));
    assert_eq!(state("countersign_session"), None);
}

#[test]
fn a_token_that_is_half_a_users_and_half_a_services_is_none() {
    let mut edge = edge();
    for claims in [
        AccessClaims { session_id: Some("s-1".into()), ..service("ticker") },
        AccessClaims { roles: vec!["admin".into()], ..service("ticker") },
        AccessClaims { amr: vec!["api_key".into()], ..service("ticker") },
        AccessClaims { client_id: Some("alerts".into()), ..service("ticker") },
        AccessClaims { credential_id: None, ..service("ticker") },
        AccessClaims { sub: "u-ada".into(), ..service("ticker") },
    ] {
        let outcome = edge.send(&Request::get("/any/x").bearer(issuer().token(&claims)));
        assert_eq!(outcome.reason(), "invalid_claims", "{claims:?}");
    }
}

#[test]
fn the_tokens_of_a_secret_that_was_revoked_are_refused_by_every_worker_within_a_tick() {
    let process = process();
    let mut config = config();
    config["rules"] = rules();
    let [mut first, mut second] = [(); 2].map(|()| process.worker(&config).unwrap());
    feed(&mut first, &page(10, &[], true));
    second.tick();
    let send =
        |worker: &mut Worker, name: &str| worker.send(&Request::get("/any/x").bearer(token(name))).reason();
    for worker in [&mut first, &mut second] {
        assert_eq!(
            (send(worker, "ticker"), send(worker, "alerts")),
            ("forwarded".into(), "forwarded".into())
        );
    }
    process.advance(Duration::from_millis(200));
    feed(&mut first, &page(11, &["c-ticker"], false));
    second.tick();
    for worker in [&mut first, &mut second] {
        assert_eq!((send(worker, "ticker"), send(worker, "alerts")), ("revoked".into(), "forwarded".into()));
    }
}
