//! Identity headers: set from the token, and from nowhere else.

use countersign_claims::AccessClaims;
use countersign_tests::host::{Issuer, Request};

use serde_json::json;

use super::{edge, edge_config, issuer, worker};

const IDENTITY: [&str; 6] =
    ["x-user-id", "x-user-email", "x-user-roles", "x-session-id", "x-service-name", "x-auth-method"];

/// Ways to write a name: any character between its words that is no letter or digit.
fn spellings(name: &str) -> Vec<String> {
    let mut words = name.split('-');
    let first = words.next().unwrap().to_owned();
    words.fold(vec![first], |spelled, word| {
        spelled
            .iter()
            .flat_map(|start| ["-", "_", "."].map(|separator| format!("{start}{separator}{word}")))
            .collect()
    })
}

fn spoofed(request: Request) -> Request {
    IDENTITY.into_iter().flat_map(spellings).fold(request, |request, name| {
        request.header(&name, "mallory").header(&name.to_uppercase(), "mallory")
    })
}

#[test]
fn upstreams_learn_who_is_calling() {
    let outcome = edge().send(&Request::get("/api/positions").bearer(issuer().ada()));
    let upstream = outcome.upstream();
    assert_eq!(upstream.get("x-user-id"), Some("u-ada"));
    assert_eq!(upstream.get("x-user-email"), Some("ada@example.com"));
    assert_eq!(upstream.get("x-user-roles"), Some("user,trader"));
    assert_eq!(upstream.get("x-session-id"), Some("s-ada"));
    assert_eq!(upstream.get("x-service-name"), None);
    assert_eq!(upstream.get("x-auth-method"), Some("jwt"));
    assert_eq!(upstream.get(":path"), Some("/api/positions"));
}

#[test]
fn upstreams_get_the_headers_that_are_configured_and_never_the_clients() {
    let mut config = edge_config();
    config["identity_headers"] = json!(["x-user-id", "x-auth-method"]);
    let mut edge = worker(&config);
    let outcome = edge.send(&spoofed(Request::get("/api/positions")).bearer(issuer().ada()));
    let got = IDENTITY.map(|name| outcome.upstream().get(name));
    assert_eq!(got, [Some("u-ada"), None, None, None, None, Some("jwt")]);
    assert!(outcome.upstream().0.iter().all(|(_, value)| value != b"mallory"));
    // What is not told still counts: the rule asks for a role.
    let admin = AccessClaims { roles: vec!["admin".into()], ..Issuer::claims() };
    assert_eq!(edge.send(&Request::get("/admin").bearer(issuer().token(&admin))).reason(), "forwarded");
}

#[test]
fn spoofed_identity_is_removed_in_every_spelling_and_on_every_route() {
    let mut edge = edge();
    let ada = issuer().ada();
    let observed = Request::get("/watched");
    for (request, identity) in [
        (Request::get("/public/x"), None),
        (Request::get("/public/x").bearer(&ada), None),
        (observed.clone(), None),
        (observed.clone().bearer("forged"), None),
        (observed.bearer(&ada), Some("u-ada")),
        (Request::get("/api/x").bearer(&ada), Some("u-ada")),
        (Request::websocket("/ws/quotes").bearer(&ada), Some("u-ada")),
    ] {
        let outcome = edge.send(&spoofed(request));
        let upstream = outcome.upstream();
        assert_eq!(upstream.get("x-user-id"), identity);
        assert!(upstream.0.iter().all(|(_, value)| value != b"mallory"), "{upstream:?}");
    }
}

#[test]
fn spoofed_identity_is_removed_from_trailers_too() {
    let mut edge = edge();
    for request in [Request::new("POST", "/public/x"), Request::new("POST", "/api/x").bearer(issuer().ada())]
    {
        let request = IDENTITY
            .into_iter()
            .flat_map(spellings)
            .fold(request, |request, name| request.trailer(&name, "mallory"))
            .trailer("x-request-id", "mallory")
            .trailer("X_Request_Id", "mallory")
            .trailer("Authorization", "Bearer mallory")
            .trailer("grpc-status", "0")
            .trailer("x-checksum", b"\xff");
        let outcome = edge.send(&request);
        outcome.upstream();
        assert_eq!(outcome.trailers.names().collect::<Vec<_>>(), ["grpc-status", "x-checksum"]);
    }
}

#[test]
fn a_claim_that_is_absent_leaves_no_header_of_the_clients() {
    let bare = AccessClaims { email: None, session_id: None, roles: vec![], ..Issuer::claims() };
    let outcome = edge().send(&spoofed(Request::get("/api/x").bearer(issuer().token(&bare))));
    for name in ["x-user-email", "x-user-roles", "x-session-id"] {
        assert_eq!(outcome.upstream().get(name), None);
    }
}

#[test]
fn the_request_id_is_the_proxys() {
    let request =
        Request::get("/public/x").header("X_Request_Id", "mallory").header("x-request_id", "mallory");
    let outcome = edge().send(&request);
    assert_eq!(outcome.upstream().get("x-request-id"), Some("from-envoy"));
    assert!(outcome.upstream().0.iter().all(|(_, value)| value != b"mallory"));
}

#[test]
fn a_claim_cannot_break_out_of_its_header() {
    let mut edge = edge();
    let injected = "u\r\nx-user-roles: admin";
    for claims in [
        AccessClaims { sub: injected.into(), ..Issuer::claims() },
        AccessClaims { session_id: Some(injected.into()), ..Issuer::claims() },
        AccessClaims { email: Some(injected.into()), ..Issuer::claims() },
        AccessClaims { roles: vec!["user,admin".into()], ..Issuer::claims() },
        AccessClaims { roles: vec![injected.into()], ..Issuer::claims() },
    ] {
        let outcome = edge.send(&Request::get("/api/x").bearer(issuer().token(&claims)));
        assert_eq!(outcome.reason(), "invalid_claims");
    }
}

#[test]
fn an_international_address_arrives_percent_encoded() {
    let claims = AccessClaims { email: Some("jürg,%@example.ch".into()), ..Issuer::claims() };
    let outcome = edge().send(&Request::get("/api/x").bearer(issuer().token(&claims)));
    assert_eq!(outcome.upstream().get("x-user-email"), Some("j%C3%BCrg%2C%25@example.ch"));
}
