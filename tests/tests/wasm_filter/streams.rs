//! WebSockets that end when their credential does, with a close frame between two frames of the server.

use std::time::Duration;

use countersign_claims::AccessClaims;
use countersign_tests::host::{Build, Issuer, Process, Request, START, Stream, Worker};
use serde_json::json;

use super::revocations::{config, feed, page, process};
use super::{edge_config, issuer};

const TICK: Duration = Duration::from_millis(200);

fn frame(payload: &[u8]) -> Vec<u8> {
    [&[0x81, u8::try_from(payload.len()).unwrap()], payload].concat()
}

fn close(reason: &str) -> Vec<u8> {
    [&[0x88, u8::try_from(reason.len() + 2).unwrap(), 0x03, 0xf0], reason.as_bytes()].concat()
}

fn open(edge: &mut Worker, path: &str) -> Stream {
    let stream = edge.begin(&Request::websocket(path).bearer(issuer().ada()));
    assert_eq!(edge.outcome(stream).unwrap().reason(), "forwarded");
    edge.respond(stream, 101);
    assert_eq!(edge.pass(stream, &frame(b"welcome"), false), frame(b"welcome"));
    stream
}

fn worker(process: &Process) -> Worker {
    process.worker(&edge_config()).unwrap()
}

#[test]
fn a_stream_ends_with_its_token() {
    let process = Process::new();
    let mut edge = worker(&process);
    let stream = open(&mut edge, "/ws/quotes");
    process.set_time(START + 899);
    edge.tick();
    assert_eq!(edge.pass(stream, &frame(b"a"), false), frame(b"a"));
    process.set_time(START + 900);
    edge.tick();
    assert_eq!(edge.pass(stream, &frame(b"b"), false), close("Token expired"));
    assert_eq!(edge.pass(stream, &frame(b"c"), false), b"", "nothing comes after it");
    assert_eq!(edge.outcome(stream).unwrap().reason(), "forwarded");
    edge.tick();
    assert!(!edge.is_open(stream));
    edge.tick();
    assert_eq!(process.metric("countersign_streams.outcome.closed.reason.token_expired"), 1);
}

#[test]
fn logs_are_told_why_a_stream_was_ended_if_they_are_told_reasons() {
    for (told, expected) in [(json!(["reason"]), Some("token_expired")), (json!(["rule"]), None)] {
        let process = Process::new();
        let mut config = edge_config();
        config["filter_state"] = told;
        let mut edge = process.worker(&config).unwrap();
        let stream = open(&mut edge, "/ws/quotes");
        process.set_time(START + 900);
        edge.tick();
        edge.pass(stream, &frame(b"a"), false);
        edge.tick();
        assert!(!edge.is_open(stream));
        let state = edge.outcome(stream).unwrap().filter_state;
        assert_eq!(state.get("countersign_reason").map(String::as_str), expected);
    }
}

#[test]
fn the_skew_is_granted_to_streams_as_well() {
    let process = Process::new();
    let mut config = edge_config();
    config["clock_skew"] = json!("30s");
    let mut edge = process.worker(&config).unwrap();
    let stream = open(&mut edge, "/ws/quotes");
    process.set_time(START + 929);
    edge.tick();
    assert_eq!(edge.pass(stream, &frame(b"a"), false), frame(b"a"));
    process.set_time(START + 930);
    edge.tick();
    assert_eq!(edge.pass(stream, &frame(b"a"), false), close("Token expired"));
}

#[test]
fn a_stream_ends_with_its_session_on_every_worker_and_others_live() {
    let process = process();
    let mut workers = [(); 2].map(|()| process.worker(&config()).unwrap());
    feed(&mut workers[0], &page(10, &[], true));
    workers[1].tick();
    let bob = AccessClaims { session_id: Some("s-bob".into()), ..Issuer::claims() };
    let streams = workers.each_mut().map(|edge| {
        let other = edge.begin(&Request::websocket("/ws/quotes").bearer(issuer().token(&bob)));
        edge.respond(other, 101);
        (open(edge, "/ws/quotes"), other)
    });
    process.advance(TICK);
    feed(&mut workers[0], &page(11, &["s-ada"], false));
    for (edge, (ended, other)) in workers.iter_mut().zip(streams) {
        edge.tick();
        let chunk = [frame(b"one"), frame(b"two")].concat();
        assert_eq!(edge.pass(ended, &chunk, false), close("Authentication required"));
        edge.tick();
        assert!(!edge.is_open(ended));
        assert_eq!(edge.pass(other, &chunk, false), chunk);
        assert!(edge.is_open(other));
    }
    workers[0].tick();
    workers[1].tick();
    assert_eq!(process.metric("countersign_streams.outcome.closed.reason.revoked"), 2);
}

#[test]
fn a_frame_that_is_under_way_comes_to_its_end_first() {
    let process = Process::new();
    let mut edge = worker(&process);
    let stream = open(&mut edge, "/ws/quotes");
    let long: Vec<u8> = [&[0x82, 127][..], &100_000_u64.to_be_bytes(), &[7; 100_000]].concat();
    assert_eq!(edge.pass(stream, &long[..60_000], false), long[..60_000]);
    process.set_time(START + 900);
    edge.tick();
    assert_eq!(edge.pass(stream, &long[60_000..90_000], false), long[60_000..90_000]);
    let last = [&long[90_000..], &frame(b"next")].concat();
    let expected = [&long[90_000..], &close("Token expired")].concat();
    assert_eq!(edge.pass(stream, &last, false), expected);
}

#[test]
fn a_stream_that_stays_silent_is_closed_without_a_word() {
    let process = Process::new();
    let mut edge = worker(&process);
    let stream = open(&mut edge, "/ws/quotes");
    process.set_time(START + 900);
    for _ in 0..2 {
        edge.tick();
        assert!(edge.is_open(stream));
        process.advance(TICK);
    }
    edge.tick();
    assert!(!edge.is_open(stream));
    edge.tick();
    assert_eq!(process.metric("countersign_streams.outcome.cut.reason.token_expired"), 1);
}

#[test]
fn a_stream_that_stays_silent_ends_within_a_second_of_its_session_on_every_worker() {
    let process = process();
    let mut workers = [(); 2].map(|()| process.worker(&config()).unwrap());
    feed(&mut workers[0], &page(10, &[], true));
    workers[1].tick();
    let streams = workers.each_mut().map(|edge| open(edge, "/ws/quotes"));
    process.advance(TICK);
    feed(&mut workers[0], &page(11, &["s-ada"], false));
    // As in Envoy, which takes another 0.3 s; the other worker has just ticked, and hears of it with its next tick.
    for _ in 0..7 {
        process.advance(Duration::from_millis(100));
        workers.iter_mut().for_each(Worker::tick);
    }
    for (edge, stream) in workers.iter_mut().zip(streams) {
        assert!(!edge.is_open(stream));
    }
}

#[test]
fn an_upstream_that_ends_at_the_same_time_leaves_a_place() {
    let process = Process::new();
    let mut edge = worker(&process);
    let stream = open(&mut edge, "/ws/quotes");
    process.set_time(START + 900);
    edge.tick();
    assert_eq!(edge.pass(stream, b"", true), close("Token expired"));
    edge.end(stream);
    edge.tick();
}

#[test]
fn a_handshake_that_the_upstream_refuses_is_no_stream() {
    let process = Process::new();
    let mut edge = worker(&process);
    let stream = edge.begin(&Request::websocket("/ws/quotes").bearer(issuer().ada()));
    edge.respond(stream, 404);
    let body = br#"{"detail": "no such symbol"}"#;
    assert_eq!(edge.pass(stream, body, false), body);
    process.set_time(START + 900);
    for _ in 0..10 {
        edge.tick();
        process.advance(TICK);
    }
    assert_eq!(edge.pass(stream, body, true), body);
    assert!(edge.is_open(stream));
}

#[test]
fn streams_that_nobody_vouched_for_go_on() {
    let process = Process::new();
    let mut config = edge_config();
    let rules = config["rules"].as_array_mut().unwrap();
    rules.push(json!({"name": "open-ws", "match": {"prefix": "/open-ws/"}, "allow": "anyone"}));
    rules.push(json!({"name": "watched-ws", "match": {"prefix": "/watched-ws/"}, "allow": "authenticated", "mode": "observe"}));
    let mut edge = process.worker(&config).unwrap();
    let streams = ["/open-ws/x", "/watched-ws/x"].map(|path| open(&mut edge, path));
    process.set_time(START + 2000);
    for _ in 0..10 {
        edge.tick();
        process.advance(TICK);
    }
    for stream in streams {
        assert_eq!(edge.pass(stream, &frame(b"a"), false), frame(b"a"));
        assert!(edge.is_open(stream));
    }
}

#[test]
fn a_stream_of_an_earlier_configuration_ends_in_time_as_well() {
    let process = Process::new();
    let mut edge = worker(&process);
    let stream = open(&mut edge, "/ws/quotes");
    let earlier = edge.configure_beside(&edge_config()).unwrap();
    assert_eq!(edge.pass(stream, &frame(b"a"), false), frame(b"a"), "a new configuration ends nothing");
    edge.swap(earlier);
    process.set_time(START + 900);
    edge.tick();
    assert_eq!(edge.pass(stream, &frame(b"a"), false), close("Token expired"));
}

#[test]
fn an_answer_that_is_no_stream_costs_no_call() {
    let process = Process::new();
    let mut edge = worker(&process);
    let _live = open(&mut edge, "/ws/quotes");
    let rest = edge.begin(&Request::get("/api/x").bearer(issuer().ada()));
    edge.respond(rest, 200);
    for end in [false, true] {
        assert_eq!(edge.pass(rest, b"0123456789", end), b"0123456789");
        assert_eq!(edge.host_calls(), 0);
    }
    edge.tick();
}

#[test]
fn most_of_what_a_stream_says_is_not_looked_at() {
    let process = Process::new();
    let mut edge = worker(&process);
    let stream = open(&mut edge, "/ws/quotes");
    let long: Vec<u8> = [&[0x82, 127][..], &1_000_000_u64.to_be_bytes(), &[7; 10_000]].concat();
    edge.pass(stream, &long, false);
    assert_eq!(edge.host_calls(), 1);
    edge.pass(stream, &[7; 60_000], false);
    assert_eq!(edge.host_calls(), 0, "the inside of a frame");
}

#[test]
fn streams_that_end_by_themselves_leave_nothing() {
    for build in Build::ALL {
        let process = Process::alone(build);
        let mut edge = worker(&process);
        let mut come_and_go = |count: usize| {
            for n in 0..count {
                let stream = open(&mut edge, "/ws/quotes");
                // Some are ended by the upstream, some by the client, of which nobody tells.
                if n % 2 == 0 {
                    edge.pass(stream, b"", true);
                }
                edge.end(stream);
                edge.tick();
            }
            edge.memory_bytes()
        };
        let before = come_and_go(2000);
        assert_eq!(come_and_go(6000), before, "{build:?}");
    }
}

#[test]
fn a_page_of_another_origin_opens_no_stream() {
    let mut config = edge_config();
    config["rules"][1]["origins"] = json!(["https://app.example.com", "http://localhost:3000"]);
    let mut edge = Process::new().worker(&config).unwrap();
    let request = || Request::websocket("/ws/quotes").bearer(issuer().ada());
    for origin in ["https://app.example.com", "http://localhost:3000"] {
        assert_eq!(edge.send(&request().header("Origin", origin)).reason(), "forwarded", "{origin}");
    }
    assert_eq!(edge.send(&request()).reason(), "forwarded", "not a browser");
    for origin in [
        "https://evil.example",
        "null",
        "",
        "https://app.example.com.evil.example",
        "HTTPS://app.example.com",
    ] {
        let outcome = edge.send(&request().header("Origin", origin));
        assert_eq!(
            (outcome.reason().as_str(), outcome.refused().status),
            ("origin_not_allowed", 403),
            "{origin}"
        );
    }
    let two = request().header("Origin", "https://app.example.com").header("Origin", "https://evil.example");
    assert_eq!(edge.send(&two).reason(), "origin_not_allowed");
    let other = Request::get("/api/x").bearer(issuer().ada()).header("Origin", "https://evil.example");
    assert_eq!(edge.send(&other).reason(), "forwarded", "only the rule that has them");
}

#[test]
fn five_thousand_streams_take_little_memory_and_little_of_a_tick() {
    let process = Process::alone(Build::Own);
    let mut edge = worker(&process);
    edge.tick();
    let (empty, idle) = (edge.memory_bytes(), edge.last_cost());
    for _ in 0..5000 {
        open(&mut edge, "/ws/quotes");
    }
    let held = (edge.memory_bytes() - empty) / 5000;
    assert!(held < 200, "{held} bytes for each");
    edge.tick();
    let each = (edge.last_cost() - idle) / 5000;
    assert!(each < 200, "{each} instructions of a tick for each");
}
