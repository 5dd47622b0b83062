//! Where a token may be, that there is only one, and that it goes no further than it must.

use countersign_tests::host::{Issuer, Outcome, Request, Worker};
use serde_json::json;

use super::{edge, edge_config, issuer, worker};

fn path(outcome: &Outcome) -> &str {
    outcome.headers.get(":path").unwrap()
}

fn nowhere(outcome: &Outcome, token: &str) {
    for (name, value) in &outcome.headers.0 {
        assert!(!String::from_utf8_lossy(value).contains(token), "the token is still in {name}");
    }
}

#[test]
fn a_websocket_is_opened_by_header_query_or_subprotocol() {
    let (mut edge, ada) = (edge(), issuer().ada());
    for request in [
        Request::websocket("/ws/quotes").bearer(&ada),
        Request::websocket(format!("/ws/quotes?token={ada}")),
        Request::websocket("/ws/quotes").header("Sec-WebSocket-Protocol", format!("bearer, {ada}")),
    ] {
        assert_eq!(edge.send(&request).upstream().get("x-user-id"), Some("u-ada"));
    }
}

#[test]
fn the_token_is_scrubbed_from_the_path_and_the_rest_stays() {
    let (mut edge, ada) = (edge(), issuer().ada());
    for (sent, left) in [
        (format!("/ws/quotes?token={ada}"), "/ws/quotes"),
        (format!("/ws/quotes?b=%2F&token={ada}&a=1+2&&a"), "/ws/quotes?b=%2F&a=1+2&&a"),
        (format!("/ws/quotes?%74oken={ada}&x"), "/ws/quotes?x"),
    ] {
        let outcome = edge.send(&Request::websocket(sent));
        outcome.upstream();
        assert_eq!(path(&outcome), left);
        nowhere(&outcome, &ada);
    }
}

#[test]
fn the_token_is_scrubbed_whatever_becomes_of_the_request() {
    let (mut edge, ada) = (edge(), issuer().ada());
    for (request, reason, left) in [
        (Request::get(format!("/api/x?token={ada}&a=1")), "missing_token", "/api/x"),
        (Request::get(format!("/ws/quotes?token={ada}&a=1")), "no_rule", "/ws/quotes"),
        (Request::get(format!("/nowhere?token={ada}&a=1")), "no_rule", "/nowhere"),
        (Request::get(format!("/api/../x?token={ada}&a=1")), "ambiguous_path", "/api/../x"),
        (Request::get(format!("/files/x?token={ada}&token={ada}")), "ambiguous_credentials", "/files/x"),
        (Request::get(format!("/public/x?token={ada}&a=1")), "forwarded", "/public/x?a=1"),
        (Request::get(format!("/watched?token={ada}&a=1")), "forwarded", "/watched?a=1"),
    ] {
        let outcome = edge.send(&request);
        assert_eq!((outcome.reason().as_str(), path(&outcome)), (reason, left));
        nowhere(&outcome, &ada);
    }
}

#[test]
fn the_path_of_a_refused_request_is_cut_where_a_token_could_begin() {
    let (mut edge, ada) = (edge(), issuer().ada());
    for (delimiter, reason) in [
        ("#", "ambiguous_path"),
        (";", "ambiguous_path"),
        ("%3Ftoken=", "ambiguous_path"),
        ("%3ftoken=", "ambiguous_path"),
        ("%23", "ambiguous_path"),
        ("%3b", "ambiguous_path"),
        ("%253Ftoken=", "ambiguous_path"),
        ("?jwt=", "missing_token"),
        ("", "missing_token"),
    ] {
        let outcome = edge.send(&Request::websocket(format!("/ws/quotes{delimiter}{ada}")));
        assert_eq!((outcome.reason().as_str(), path(&outcome)), (reason, "/ws/quotes"), "{delimiter}");
        nowhere(&outcome, &ada);
    }
    let outcome = edge.send(&Request::get(format!("?token={ada}")));
    assert_eq!((outcome.reason().as_str(), path(&outcome)), ("ambiguous_path", "/"));
}

#[test]
fn on_a_public_route_a_parameter_that_is_no_token_stays() {
    let outcome = edge().send(&Request::get("/public/reset?token=4f9c"));
    assert_eq!(path(&outcome), "/public/reset?token=4f9c");
}

#[test]
fn a_query_token_counts_only_where_the_rule_takes_it() {
    let (mut edge, ada) = (edge(), issuer().ada());
    let query = format!("?token={ada}");
    assert_eq!(edge.send(&Request::get(format!("/files/x{query}"))).reason(), "forwarded");
    assert_eq!(edge.send(&Request::get(format!("/api/x{query}"))).reason(), "missing_token");
    assert_eq!(edge.send(&Request::websocket(format!("/plain-ws/x{query}"))).reason(), "missing_token");
}

#[test]
fn a_forged_upgrade_header_does_not_enable_query_tokens() {
    let (mut edge, ada) = (edge(), issuer().ada());
    let target = format!("/ws/quotes?token={ada}");
    let upgraded = |request: Request| request.header("Upgrade", "websocket");
    let connected = |request: Request| request.header("Connection", "upgrade");
    let lower_case = connected(upgraded(Request::new("get", &target)));
    assert_eq!(edge.send(&lower_case).reason(), "bad_request");
    for request in [
        upgraded(Request::get(&target)),
        connected(Request::get(&target)),
        connected(upgraded(upgraded(Request::get(&target)))),
    ] {
        assert_eq!(edge.send(&request).reason(), "no_rule");
    }
}

#[test]
fn only_spaces_stand_between_scheme_and_token() {
    let (mut edge, ada) = (edge(), issuer().ada());
    for (separator, reason) in
        [(" ", "forwarded"), ("   ", "forwarded"), ("\t", "malformed_token"), (" \t", "malformed_token")]
    {
        let request = Request::get("/api/x").header("Authorization", format!("Bearer{separator}{ada}"));
        assert_eq!(edge.send(&request).reason(), reason, "{separator:?}");
    }
}

#[test]
fn two_credentials_are_refused_even_if_they_are_one_token() {
    let (mut edge, ada) = (edge(), issuer().ada());
    let offer = format!("bearer, {ada}");
    assert_eq!(edge.send(&Request::get("/api/x").bearer(&ada)).reason(), "forwarded", "now it is remembered");
    let (stranger, long) = (Issuer::new("unknown", 3).ada(), "a".repeat(10_000));
    for request in [
        Request::get("/api/x").bearer(&ada).bearer(&ada),
        Request::get("/api/x").header("authorization", format!("Bearer {ada},Bearer {ada}")),
        Request::get("/api/x").header("authorization", format!("Bearer {ada}, Basic dTpw")),
        Request::get("/api/x").header("authorization", format!("Bearer {ada},")),
        Request::get("/api/x").header("authorization", format!("Bearer ,{ada}")),
        Request::get("/api/x").header("authorization", format!("Bearer {stranger}, Bearer {ada}")),
        Request::get("/api/x").header("authorization", format!("Bearer {long}, Bearer {ada}")),
        Request::get("/api/x").raw("authorization", format!("Bearer {ada}")).raw("authorization", "Bearer x"),
        Request::get("/api/x").header("authorization", format!("Basic dTpw, Bearer {ada}")),
        Request::get(format!("/files/x?token={ada}")).bearer(&ada),
        Request::get(format!("/files/x?token={ada}&token={ada}")),
        Request::websocket(format!("/ws/q?token={ada}")).header("Sec-WebSocket-Protocol", &offer),
        Request::websocket("/ws/q").bearer(&ada).header("Sec-WebSocket-Protocol", &offer),
        Request::websocket("/ws/q").header("Sec-WebSocket-Protocol", format!("{offer}, {offer}")),
    ] {
        let outcome = edge.send(&request);
        assert_eq!((outcome.reason().as_str(), outcome.refused().status), ("ambiguous_credentials", 400));
    }
}

#[test]
fn the_upstream_sees_only_protocols_that_the_client_speaks() {
    let (mut edge, ada) = (edge(), issuer().ada());
    let protocol = "sec-websocket-protocol";
    for (offered, left) in [
        (vec![format!("bearer, {ada}")], None),
        (vec![format!("v2.quotes, bearer,{ada} , v1.quotes")], Some("v2.quotes, v1.quotes")),
        (vec!["v1.quotes, bearer".into(), format!("{ada}, v2.quotes")], Some("v1.quotes, v2.quotes")),
    ] {
        let request = offered.iter().fold(Request::websocket("/ws/q"), |r, line| r.header(protocol, line));
        let outcome = edge.send(&request);
        assert_eq!(outcome.upstream().get(protocol), left);
        nowhere(&outcome, &ada);
    }
}

#[test]
fn a_route_learns_which_protocol_the_reply_has_to_select() {
    let (mut edge, ada) = (edge(), issuer().ada());
    let protocol = "sec-websocket-protocol";
    let selected = |edge: &mut Worker, request: Request| {
        edge.send(&request).filter_state.get("countersign_protocol").cloned()
    };
    let offered = Request::websocket("/ws/q").header(protocol, format!("bearer, {ada}, v1.quotes"));
    assert_eq!(selected(&mut edge, offered).as_deref(), Some("bearer"));
    let without_token = Request::websocket("/ws/q").bearer(&ada).header(protocol, "v1.quotes");
    assert_eq!(selected(&mut edge, without_token), None);
}

#[test]
fn authorization_is_forwarded_as_configured() {
    let ada = issuer().ada();
    let mut config = edge_config();
    let basic = Request::get("/public/x").header("Authorization", "Basic dTpw");
    for (forward, expected) in [(true, Some(format!("Bearer {ada}"))), (false, None)] {
        config["forward_authorization"] = json!(forward);
        let mut edge = worker(&config);
        let outcome = edge.send(&Request::get("/api/x").bearer(&ada));
        assert_eq!(outcome.upstream().get("authorization"), expected.as_deref());
        // Where no credential is looked at, the header is the upstream's business.
        assert_eq!(edge.send(&basic).upstream().get("authorization"), Some("Basic dTpw"));
    }
}

#[test]
fn an_authorization_that_was_not_verified_is_not_forwarded_beside_an_identity() {
    let (mut edge, ada) = (edge(), issuer().ada());
    let by_query = Request::get(format!("/files/x?token={ada}"));
    let by_offer = Request::websocket("/ws/q").header("Sec-WebSocket-Protocol", format!("bearer, {ada}"));
    for request in [by_query, by_offer] {
        for other in ["Basic dTpw", "Negotiate abc", "Bearer", ""] {
            let outcome = edge.send(&request.clone().header("Authorization", other));
            assert_eq!(outcome.upstream().get("x-user-id"), Some("u-ada"));
            assert_eq!(outcome.upstream().get("authorization"), None, "{other}");
        }
    }
    let verified = edge.send(&Request::get("/files/x").bearer(&ada));
    assert_eq!(verified.upstream().get("authorization"), Some(&*format!("Bearer {ada}")));
    // Nobody is vouched for here: who checks the header is the upstream.
    let observed = edge.send(&Request::get("/watched").header("Authorization", "Basic dTpw"));
    assert_eq!(observed.upstream().get("x-user-id"), None);
    assert_eq!(observed.upstream().get("authorization"), Some("Basic dTpw"));
}

#[test]
fn a_subprotocol_token_goes_no_further_on_a_public_route_either() {
    let ada = issuer().ada();
    let offer = format!("v1.quotes, bearer, {ada}");
    let outcome = edge().send(&Request::websocket("/public/ws").header("Sec-WebSocket-Protocol", offer));
    assert_eq!(outcome.upstream().get("sec-websocket-protocol"), Some("v1.quotes"));
    nowhere(&outcome, &ada);
}

#[test]
fn what_another_server_reads_as_the_query_token_goes_no_further_and_admits_nobody() {
    let (mut edge, ada) = (edge(), issuer().ada());
    for spelling in
        ["Token=", "TOKEN=", "token[]=", "token%5B0%5D=", "+token=", "%20token=", "a;token=", "token%00="]
    {
        let target = |path: &str| format!("{path}?{spelling}{ada}&b=2");
        assert_eq!(edge.send(&Request::get(target("/files/x"))).reason(), "missing_token", "{spelling}");
        for request in [Request::get(target("/files/x")).bearer(&ada), Request::get(target("/public/x"))] {
            let outcome = edge.send(&request);
            assert!(outcome.upstream().get(":path").unwrap().ends_with("/x?b=2"), "{spelling}");
        }
    }
    let own = edge.send(&Request::get("/public/reset?Token=2f8a1c&a;token=b"));
    assert_eq!(path(&own), "/public/reset?Token=2f8a1c&a;token=b", "the upstream's own");
}

#[test]
fn a_handshake_nominates_no_header_for_removal() {
    let (mut edge, ada) = (edge(), issuer().ada());
    let handshake = |path: &str, connection: &str| {
        Request::get(path).bearer(&ada).header("Upgrade", "websocket").header("Connection", connection)
    };
    for path in ["/ws/q", "/public/ws", "/watched"] {
        for connection in ["Upgrade, x-user-id", "keep-alive, upgrade", "x-user-id,Upgrade,authorization"] {
            let outcome = edge.send(&handshake(path, connection));
            assert_eq!(outcome.upstream().get("connection"), Some("Upgrade"), "{path} {connection}");
        }
        assert_eq!(edge.send(&handshake(path, "upgrade")).upstream().get("connection"), Some("upgrade"));
    }
}
