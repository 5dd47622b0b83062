//! Which requests pass, and how the others are refused.

use std::collections::BTreeSet;

use countersign_claims::{AccessClaims, Audience, REALM, Reject};
use countersign_tests::host::{Issuer, Outcome, Process, Request, START, jwks};
use serde_json::{Value, json};

use super::{edge, edge_config, issuer, worker};

fn signed(header: Value) -> String {
    let mut full = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "k1"});
    full.as_object_mut().unwrap().extend(header.as_object().unwrap().clone());
    issuer().sign(&full, &serde_json::to_value(Issuer::claims()).unwrap())
}

fn with(change: impl FnOnce(&mut AccessClaims)) -> String {
    let mut claims = Issuer::claims();
    change(&mut claims);
    issuer().token(&claims)
}

fn api(token: impl AsRef<str>) -> Request {
    Request::get("/api/x").bearer(token)
}

fn refusals() -> Vec<(Reject, Request)> {
    let forged = Issuer::new("k1", 99).ada();
    vec![
        (Reject::Missing, Request::get("/api/x")),
        (Reject::Malformed, api("abc")),
        (Reject::Malformed, api(format!("{}=", issuer().ada()))),
        (Reject::TooLarge, api("a".repeat(60_000))),
        (Reject::AlgorithmNotAllowed, api(signed(json!({"alg": "HS256"})))),
        (Reject::AlgorithmNotAllowed, api(signed(json!({"alg": "none"})))),
        (Reject::HeaderNotAllowed, api(signed(json!({"crit": ["b64"]})))),
        (Reject::HeaderNotAllowed, api(signed(json!({"jwk": jwks([&issuer()])["keys"][0]})))),
        (Reject::WrongType, api(signed(json!({"typ": "JWT"})))),
        (Reject::UnknownKey, api(Issuer::new("k2", 2).ada())),
        (Reject::BadSignature, api(forged)),
        (
            Reject::InvalidClaims,
            api(issuer().sign(&json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "k1"}), &json!({}))),
        ),
        (Reject::WrongIssuer, api(with(|claims| claims.iss = "other".into()))),
        (Reject::WrongAudience, api(with(|claims| claims.aud = Audience::Many(vec!["other".into()])))),
        (Reject::Expired, api(with(|claims| claims.exp = START))),
        (Reject::NotYetValid, api(with(|claims| claims.nbf = Some(START + 1)))),
        (Reject::NotYetValid, api(with(|claims| claims.iat = Some(START + 1)))),
        (Reject::AmbiguousCredentials, api(issuer().ada()).bearer("x")),
        (Reject::AmbiguousPath, Request::get("/api/%2e%2e/x").bearer(issuer().ada())),
        (Reject::BadRequest, Request::bare().raw(":path", "/api/x")),
        (Reject::BadRequest, Request::get("/api/x").raw(":method", "POST")),
        (Reject::BadRequest, Request::new("delete", "/api/x").bearer(issuer().ada())),
        (Reject::NoRule, Request::get("/elsewhere").bearer(issuer().ada())),
        (Reject::Forbidden, Request::get("/admin").bearer(issuer().ada())),
        (Reject::StrongerLogin, Request::get("/strong").bearer(issuer().ada())),
        (
            Reject::RecentLogin,
            Request::get("/recent").bearer(with(|claims| claims.auth_time = Some(START - 61))),
        ),
    ]
}

/// With what the rule asks of a login, where that is the matter.
fn challenge(reject: Reject) -> Option<String> {
    let asked = match reject {
        Reject::StrongerLogin => ", acr_values=\"otp\"",
        Reject::RecentLogin => ", max_age=\"60\"",
        _ => "",
    };
    Some(reject.www_authenticate(REALM)? + asked)
}

fn check(outcome: &Outcome, reject: Reject) {
    let refusal = outcome.refused();
    let problem = refusal.problem();
    assert_eq!(refusal.status, i32::from(reject.status()), "{reject:?}");
    assert_eq!(
        problem,
        json!({
            "type": "about:blank", "title": reject.title(), "status": reject.status(),
            "detail": reject.detail(), "reason": reject.reason(),
        })
    );
    assert_eq!(refusal.headers.get("content-type"), Some("application/problem+json"));
    assert_eq!(refusal.headers.get("cache-control"), Some("no-store"));
    assert_eq!(refusal.headers.get("www-authenticate"), challenge(reject).as_deref());
    assert_eq!(refusal.headers.get("retry-after"), (refusal.status == 503).then_some("1"));
    assert_eq!(refusal.details, format!("countersign_denied{{{}}}", reject.reason()));
    assert_eq!(outcome.filter_state["countersign_reason"], reject.reason());
}

#[test]
fn every_refusal_says_why() {
    let mut edge = edge();
    let mut seen = BTreeSet::from([
        // These have tests of their own: revocations, streams, api_keys, and keys that are missing.
        Reject::Revoked.reason(),
        Reject::OriginNotAllowed.reason(),
        Reject::MissingCredential.reason(),
        Reject::ApiKeyRefused.reason(),
        Reject::ApiKeysLimited.reason(),
        Reject::Unavailable.reason(),
    ]);
    for (reject, request) in refusals() {
        check(&edge.send(&request), reject);
        seen.insert(reject.reason());
    }
    assert_eq!(seen, Reject::ALL.iter().map(|reject| reject.reason()).collect(), "a refusal without a test");
}

#[test]
fn without_keys_nothing_is_decided() {
    let mut config = edge_config();
    config["keys"] = json!({"remote": {"cluster": "issuer", "path": "/jwks"}});
    let mut edge = worker(&config);
    check(&edge.send(&api(issuer().ada())), Reject::Unavailable);
    check(&edge.send(&Request::get("/api/x")), Reject::Missing);
    assert_eq!(edge.send(&Request::get("/public/x")).reason(), "forwarded");
}

#[test]
fn grpc_callers_get_a_grpc_status() {
    let mut edge = edge();
    for (reject, request) in refusals() {
        let outcome = edge.send(&request.header("content-type", "application/grpc+proto"));
        let refusal = outcome.refused();
        assert_eq!(refusal.grpc_status, i32::try_from(reject.grpc_status()).unwrap(), "{reject:?}");
        assert_eq!(refusal.status, i32::from(reject.status()), "should the host not take it for gRPC");
        assert_eq!(refusal.body, reject.detail().as_bytes());
        assert_eq!(refusal.headers.get("www-authenticate"), challenge(reject).as_deref());
        assert_eq!(refusal.headers.get("content-type"), None, "the host's own");
    }
}

#[test]
fn what_envoy_does_not_take_for_grpc_gets_a_problem() {
    let mut edge = edge();
    for content_type in
        ["application/grpc;charset=utf-8", "application/grpc ", "application/grpc-web", "application/grpcx"]
    {
        check(&edge.send(&Request::get("/api/x").header("content-type", content_type)), Reject::Missing);
    }
}

#[test]
fn a_mistyped_url_is_not_found() {
    let mut edge = edge();
    let refused = edge.send(&Request::get("/apix").bearer(issuer().ada()));
    assert_eq!((refused.refused().status, refused.reason().as_str()), (404, "no_rule"));
    let call = Request::new("POST", "/apix.Service/Call").header("content-type", "application/grpc");
    assert_eq!(edge.send(&call).refused().grpc_status, 12, "UNIMPLEMENTED");
}

#[test]
fn methods_are_short_words_in_upper_case() {
    let (mut edge, ada) = (edge(), issuer().ada());
    for method in ["delete", "Get", "get", "GET1", "UPDATEREDIRECTREF", "", &ada] {
        for path in ["/public/x", "/api/x", "/watched", "/elsewhere"] {
            let outcome = edge.send(&Request::new(method, path).bearer(&ada));
            assert_eq!(
                (outcome.reason().as_str(), outcome.refused().status),
                ("bad_request", 400),
                "{method}"
            );
        }
    }
    for method in ["GET", "DELETE", "BREW", "M-SEARCH", "BASELINE-CONTROL"] {
        assert_eq!(edge.send(&Request::new(method, "/api/x").bearer(&ada)).reason(), "forwarded", "{method}");
    }
}

#[test]
fn a_token_that_came_as_the_method_is_not_left_for_logs() {
    let ada = issuer().ada();
    let outcome = edge().send(&Request::new(&ada, "/api/x"));
    assert_eq!(outcome.headers.get(":method"), Some("INVALID"));
    assert_eq!(edge().send(&Request::new("delete", "/api/x")).headers.get(":method"), Some("delete"));
}

#[test]
fn a_request_is_for_one_host() {
    let mut edge = edge();
    let at = |authority: &str| {
        Request::bare().raw(":method", "GET").raw(":path", "/public/x").raw(":authority", authority)
    };
    assert_eq!(edge.send(&at("edge.example")).reason(), "forwarded");
    for request in [at("edge.example,elsewhere.example"), at("edge.example,"), at("a").raw(":authority", "a")]
    {
        assert_eq!(edge.send(&request).reason(), "bad_request", "{request:?}");
    }
}

#[test]
fn a_handshake_has_no_body() {
    let (mut edge, ada) = (edge(), issuer().ada());
    let handshake = Request::websocket("/ws/quotes").bearer(&ada);
    assert_eq!(edge.send(&handshake.clone().header("Content-Length", "0")).reason(), "forwarded");
    for (name, value) in [("Content-Length", "5"), ("Content-Length", "00"), ("Transfer-Encoding", "chunked")]
    {
        assert_eq!(
            edge.send(&handshake.clone().header(name, value)).reason(),
            "bad_request",
            "{name}: {value}"
        );
    }
}

/// Envoy opens a WebSocket by any method; one that was not begun as one would not end with its token.
#[test]
fn a_handshake_is_a_get() {
    let (mut edge, ada) = (edge(), issuer().ada());
    for method in ["POST", "PUT", "OPTIONS", "CONNECT"] {
        for path in ["/ws/quotes", "/api/x", "/public/x"] {
            let request = Request::new(method, path).bearer(&ada).header("Connection", "Upgrade");
            let websocket = request.clone().header("Upgrade", "WebSocket");
            assert_eq!(edge.send(&websocket).reason(), "bad_request", "{method} {path}");
            let other = edge.send(&request.header("Upgrade", "h2c")).reason();
            assert_ne!(other, "bad_request", "{method} {path}");
        }
    }
}

#[test]
fn head_goes_where_get_goes() {
    let mut edge = edge();
    let request = |method: &str| Request::new(method, "/alerts").bearer(issuer().ada());
    assert_eq!(edge.send(&request("HEAD")).upstream().get(":method"), Some("HEAD"));
    assert_eq!(edge.send(&request("OPTIONS")).reason(), "no_rule");
}

#[test]
fn ambiguous_paths_are_refused_on_every_route() {
    let mut edge = edge();
    for prefix in ["/public", "/api", "/watched", "/elsewhere"] {
        for tail in [
            "/%2f",
            "/a%2Fb",
            "/a%5cb",
            "/a%5Cb",
            "/a\\b",
            "/.",
            "/..",
            "/../api/x",
            "/%2e/x",
            "/%2e%2E/x",
            "/.%2e",
            "//",
            "//x",
            "/a;b",
            "/..;/x",
            "/a\u{1}b",
            "/a%00",
            "/a%0d%0a",
            "/a%",
            "/a%f",
            "/a%xx",
            "/a#b",
            "/ü",
            "/%c0%af",
            "/%252fx",
            "/a b",
            "/%68ealth",
            "/%61",
            "/a%2Eb",
            "/a%2Db",
            "/a%7Eb",
            "/a%5fb",
            "/a%3Bx",
            "/a%3bx",
            "/a%3Fx",
            "/a%23x",
        ] {
            let request = Request::get(format!("{prefix}{tail}")).bearer(issuer().ada());
            assert_eq!(edge.send(&request).reason(), "ambiguous_path", "{prefix}{tail}");
        }
    }
    for target in ["", "*", "api/x", "http://edge.example/api/x", "//api/x", "?/api/x"] {
        assert_eq!(edge.send(&Request::get(target)).reason(), "ambiguous_path", "{target}");
    }
}

#[test]
fn an_encoded_letter_or_parameter_evades_no_rule_and_meets_none() {
    let mut edge = edge();
    for path in ["/%61dmin", "/admin%3Bx", "/admin%3Fx", "/admin%23", "/%70ublic/x"] {
        assert_eq!(
            edge.send(&Request::get(path).bearer(issuer().ada())).reason(),
            "ambiguous_path",
            "{path}"
        );
    }
    assert_eq!(edge.send(&Request::get("/public/caf%C3%A9%20au%20lait")).reason(), "forwarded");
}

#[test]
fn rules_ask_for_permissions_roles_and_methods() {
    let mut edge = edge();
    let granted = |scope: &str, roles: &[&str]| {
        with(|claims| {
            claims.scope = Some(scope.into());
            claims.roles = roles.iter().map(ToString::to_string).collect();
        })
    };
    for (request, reason) in [
        (Request::get("/alerts").bearer(granted("alerts:read alerts:write", &[])), "forwarded"),
        (Request::get("/alerts/7").bearer(granted("alerts:read alerts:write", &[])), "forwarded"),
        (Request::get("/alerts").bearer(granted("alerts:write", &[])), "permission_denied"),
        (Request::get("/alerts").bearer(granted("alerts:reads alerts:writes", &[])), "permission_denied"),
        (Request::get("/alertsx").bearer(granted("alerts:read alerts:write", &[])), "no_rule"),
        (Request::new("DELETE", "/alerts").bearer(granted("alerts:read alerts:write", &[])), "no_rule"),
        (Request::new("BREW", "/alerts"), "no_rule"),
        (Request::new("BREW", "/api/x").bearer(issuer().ada()), "forwarded"),
        (Request::get("/admin").bearer(granted("", &["user", "support"])), "forwarded"),
        (Request::get("/admin").bearer(granted("admin", &["administrator"])), "permission_denied"),
        (Request::get("/admin").bearer(granted("", &[])), "permission_denied"),
    ] {
        assert_eq!(edge.send(&request).reason(), reason, "{request:?}");
    }
}

#[test]
fn an_observing_rule_lets_through_and_says_what_it_would_have_done() {
    let mut edge = edge();
    for (request, reason, identity) in [
        (Request::get("/watched"), "missing_token", None),
        (Request::get("/watched").bearer("forged"), "malformed_token", None),
        (Request::get("/watched?token=a&token=b"), "ambiguous_credentials", None),
        (Request::get("/watched").bearer(issuer().ada()), "permission_denied", Some("u-ada")),
    ] {
        let outcome = edge.send(&request);
        assert_eq!(outcome.upstream().get("x-user-id"), identity);
        assert_eq!(outcome.filter_state["countersign_reason"], reason);
        assert_eq!(outcome.filter_state["countersign_rule"], "watched");
    }
}

#[test]
fn a_request_that_passes_tells_its_rule_and_no_reason() {
    let mut edge = edge();
    for (request, rule) in [(api(issuer().ada()), "api"), (Request::get("/public/x"), "public")] {
        let outcome = edge.send(&request);
        outcome.upstream();
        let told: Vec<_> = outcome.filter_state.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(told, [("countersign_rule", rule)]);
    }
}

#[test]
fn logs_that_cannot_be_told_change_no_verdict() {
    let process = Process::new();
    let mut edge = process.worker(&edge_config()).unwrap();
    process.refuse_properties();
    assert_eq!(edge.send(&api(issuer().ada())).reason(), "forwarded");
    assert_eq!(edge.send(&Request::get("/watched")).reason(), "forwarded");
    let refused = edge.send(&Request::get("/api/x"));
    assert_eq!((refused.reason().as_str(), refused.refused().status), ("missing_token", 401));
    let offered =
        Request::websocket("/ws/q").header("sec-websocket-protocol", format!("bearer, {}", issuer().ada()));
    assert_eq!(edge.send(&offered).reason(), "forwarded");
}

#[test]
fn skew_is_granted_on_both_ends_and_no_more() {
    let mut config = edge_config();
    config["clock_skew"] = json!("5s");
    let process = Process::new();
    let mut edge = process.worker(&config).unwrap();
    let token = with(|claims| (claims.nbf, claims.exp) = (Some(START + 100), START + 200));
    for (now, reason) in [
        (START + 94, "not_yet_valid"),
        (START + 95, "forwarded"),
        (START + 204, "forwarded"),
        (START + 205, "token_expired"),
    ] {
        process.set_time(now);
        assert_eq!(edge.send(&api(&token)).reason(), reason, "{now}");
    }
}

#[test]
fn bytes_that_are_no_text_are_handled_wherever_they_come() {
    let mut edge = edge();
    let noise: &[u8] = b"\xff\xfe\x80\xc0";
    for name in [
        "authorization",
        "upgrade",
        "connection",
        "content-type",
        "sec-websocket-protocol",
        "x-user-id",
        "cookie",
        "user-agent",
        ":scheme",
    ] {
        assert_eq!(edge.send(&Request::get("/public/x").raw(name, noise)).reason(), "forwarded", "{name}");
    }
    assert_eq!(edge.send(&Request::get("/api/x").header("authorization", noise)).reason(), "missing_token");
    let bearer = [&b"Bearer "[..], noise].concat();
    assert_eq!(
        edge.send(&Request::get("/api/x").header("authorization", bearer)).reason(),
        "malformed_token"
    );
    let target = [&b"/api/"[..], noise].concat();
    assert_eq!(edge.send(&Request::get(target)).reason(), "ambiguous_path");
    let query = [&b"/files/x?token="[..], noise].concat();
    assert_eq!(edge.send(&Request::get(query)).reason(), "malformed_token");
    assert_eq!(edge.send(&Request::bare()).reason(), "ambiguous_path");
    let host = Request::bare().raw(":method", "GET").raw(":path", "/public/x").raw(":authority", noise);
    assert_eq!(edge.send(&host).reason(), "forwarded");
    let method = Request::bare().raw(":method", noise).raw(":path", "/alerts");
    assert_eq!(edge.send(&method).reason(), "bad_request");
}

#[test]
fn a_long_token_is_refused_wherever_it_comes() {
    let (mut edge, long) = (edge(), "a".repeat(60_000));
    assert_eq!(edge.send(&api(&long)).reason(), "token_too_large");
    assert_eq!(edge.send(&Request::get(format!("/files/x?token={long}"))).reason(), "token_too_large");
    let offer = Request::websocket("/ws/q").header("Sec-WebSocket-Protocol", format!("bearer, {long}"));
    assert_eq!(edge.send(&offer).reason(), "token_too_large");
}
