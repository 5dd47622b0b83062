//! Whatever a client sends, the module answers: a trap would stop every stream of a worker.
//!
//! The host panics on traps and on calls that run away, so that sending is the whole check.

use std::cell::RefCell;

use countersign_tests::host::{Process, Request};
use proptest::prelude::*;
use serde_json::json;

use super::{edge, edge_config, issuer, worker};

/// Every wish that a rule or a configuration can have.
fn demanding() -> countersign_tests::host::Worker {
    let mut config = edge_config();
    config["claim_headers"] =
        json!([{"name": "x-user-name", "claim": "name"}, {"name": "login", "claim": "amr"}]);
    config["filter_state"] = json!(["rule", "reason", "subject", "session"]);
    let asked = json!({"permission": {"any": ["alerts:read"]}, "amr": ["pwd"], "max_age": "1h"});
    let rules = config["rules"].as_array_mut().unwrap();
    for (name, path) in [("one", "/api/{id}"), ("two", "/{a}/{b}/"), ("three", "/{a}/api/{b}")] {
        let matcher = json!({"prefix": path, "host": ["*.example", "edge"]});
        let rule = json!({"name": name, "match": matcher, "credentials": ["bearer", "query:token"],
                          "allow": asked, "forward_token": true});
        rules.insert(0, rule);
    }
    // More than are tried in turn.
    rules.extend(
        (0..30).map(
            |n| json!({"name": format!("r{n}"), "match": {"path": format!("/{{x}}/{n}")}, "allow": asked}),
        ),
    );
    worker(&config)
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            ":path",
            ":method",
            ":authority",
            ":status",
            "authorization",
            "upgrade",
            "connection",
            "content-type",
            "content-length",
            "transfer-encoding",
            "sec-websocket-protocol",
            "cookie",
            "x-user-id",
            "X_User-Id",
            "x_request_id",
            "x-session_id",
            "x-user_name",
            "LOGIN",
        ])
        .prop_map(str::to_owned),
        "[a-zA-Z_:-]{0,12}",
        "\\PC{0,6}",
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "Bearer ",
        "bearer",
        ", ",
        "Basic ",
        "websocket",
        "Upgrade",
        "GET",
        "POST",
        "/api/",
        "/ws/",
        "/watched",
        "/files/",
        "/public",
        "{",
        "}",
        "edge",
        ".example",
        ":8080",
        "[::1]",
        "@",
        "?",
        "token=",
        "Token[]=",
        "+",
        "&",
        "%",
        "%2",
        "%2e",
        "..",
        "/",
        "=",
        ";",
        "eyJ",
        ".",
        "application/grpc",
        "\u{0}",
        "ü",
    ]);
    prop_oneof![
        prop::collection::vec(word, 0..10).prop_map(|words| words.concat().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..40),
    ]
}

/// A token in which a few bytes are others, or that is cut off.
fn mutated(token: String) -> impl Strategy<Value = Vec<u8>> {
    let size = token.len();
    (prop::collection::vec((0..size, any::<u8>()), 1..4), 0..size).prop_map(move |(changes, cut)| {
        let mut bytes = token.clone().into_bytes();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        if cut % 7 == 0 {
            bytes.truncate(cut);
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_header_map_is_answered(headers in prop::collection::vec((name(), value()), 0..8)) {
        thread_local!(static EDGE: RefCell<countersign_tests::host::Worker> = RefCell::new(edge()));
        let request = headers.into_iter().fold(Request::bare(), |request, (name, value)| request.raw(&name, value));
        EDGE.with_borrow_mut(|edge| edge.send(&request));
    }

    #[test]
    fn any_request_is_answered_where_rules_ask_for_all_there_is(
        path in value(), host in value(), headers in prop::collection::vec((name(), value()), 0..4),
    ) {
        thread_local!(static EDGE: RefCell<countersign_tests::host::Worker> = RefCell::new(demanding()));
        let request = Request::bare().raw(":method", "GET").raw(":path", path).raw(":authority", host);
        let request = headers.into_iter().fold(request, |request, (name, value)| request.raw(&name, value));
        EDGE.with_borrow_mut(|edge| edge.send(&request.bearer(issuer().ada())));
    }

    #[test]
    fn any_path_is_answered(path in value(), websocket in any::<bool>()) {
        thread_local!(static EDGE: RefCell<countersign_tests::host::Worker> = RefCell::new(edge()));
        let request = if websocket { Request::websocket(path) } else { Request::get(path) };
        EDGE.with_borrow_mut(|edge| edge.send(&request.bearer(issuer().ada())));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_change_to_a_token_is_refused(token in mutated(issuer().ada())) {
        thread_local!(static EDGE: RefCell<countersign_tests::host::Worker> = RefCell::new(edge()));
        prop_assume!(token != issuer().ada().into_bytes());
        let value = [&b"Bearer "[..], &token].concat();
        let outcome = EDGE.with_borrow_mut(|edge| edge.send(&Request::get("/api/x").header("authorization", value)));
        prop_assert!(outcome.refusal.is_some());
    }

    #[test]
    fn any_configuration_is_answered(
        config in prop_oneof![prop::collection::vec(any::<u8>(), 0..60), mutated(edge_config().to_string())],
    ) {
        thread_local!(static EDGE: RefCell<countersign_tests::host::Worker> = RefCell::new(edge()));
        EDGE.with_borrow_mut(|edge| edge.configure_raw(&config)).ok();
    }

    #[test]
    fn any_answer_of_the_issuer_is_handled(
        status in 100..600_u16, body in prop_oneof![prop::collection::vec(any::<u8>(), 0..60), value()],
    ) {
        let mut config = edge_config();
        config["keys"]["remote"] = serde_json::json!({"cluster": "issuer", "path": "/jwks"});
        let mut edge = Process::new().worker(&config).unwrap();
        edge.tick();
        edge.answer(status, body);
        prop_assert!(edge.send(&Request::get("/api/x").bearer(issuer().ada())).refusal.is_none());
    }
}
