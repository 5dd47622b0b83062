//! API keys while the issuer is away, silent or flooded, and while its own keys change: those that are good go on.

use std::time::Duration;

use countersign_tests::host::{Issuer, Process, Request, START, Worker, jwks};
use serde_json::json;

use super::api_keys::{answer, answer_of, by_key, config, exchanged, process, request};
use super::issuer;
use super::keys::remote_config;
use super::revocations::{feed, page};

/// A worker that has its keys from the issuer, and asks about a key once an hour.
fn with_remote_keys(process: &Process) -> Worker {
    let mut config = config();
    config["keys"] = remote_config()["keys"].clone();
    config["api_keys"]["cache"] = json!("1h");
    let mut edge = process.worker(&config).unwrap();
    edge.tick();
    edge.answer(200, jwks([&issuer()]).to_string());
    edge
}

/// The paths of what the issuer is being asked.
fn asked(edge: &Worker) -> Vec<&str> {
    edge.calls().map(|call| call.headers.get(":path").unwrap()).collect()
}

/// Or every caller would stand still for as long as a question may take, and then again.
#[test]
fn an_issuer_that_does_not_answer_holds_up_nobody_whose_token_is_good() {
    let process = process();
    let mut edge = process.worker(&config()).unwrap();
    assert_eq!(exchanged(&mut edge, 200, &answer(&by_key(START + 900))), "forwarded");
    process.advance(Duration::from_secs(60));
    for _ in 0..1100 {
        assert_eq!(edge.send(&request()).reason(), "forwarded");
    }
    edge.tick();
    assert_eq!(edge.calls().count(), 1);
    // As many wait as may wait, for an answer about another key.
    let stranger = Request::get("/alerts").header("X-API-Key", "another");
    let waiting: Vec<_> = (0..1024).map(|_| edge.begin(&stranger)).collect();
    assert_eq!(edge.send(&stranger).reason(), "api_keys_limited");
    assert_eq!(edge.send(&request()).reason(), "forwarded");
    // Its token ends as ever, and then it has to wait.
    process.set_time(START + 900);
    waiting.into_iter().for_each(|stream| edge.end(stream));
    edge.tick();
    edge.fail_call();
    edge.fail_call();
    assert_eq!(exchanged(&mut edge, 503, ""), "unavailable");
}

/// An emergency: tokens of the key that was withdrawn are out, and the API keys are as good as before.
#[test]
fn a_key_whose_token_was_signed_by_a_withdrawn_key_is_exchanged_again() {
    let process = process();
    let mut edge = with_remote_keys(&process);
    assert_eq!(exchanged(&mut edge, 200, &answer(&by_key(START + 900))), "forwarded");
    let new = Issuer::new("k2", 2);
    process.advance(Duration::from_secs(60));
    edge.tick();
    edge.answer(200, jwks([&new]).to_string());
    let streams: Vec<_> = (0..10).map(|_| edge.begin(&request())).collect();
    assert!(streams.iter().all(|stream| edge.outcome(*stream).is_none()), "they wait");
    edge.tick();
    // The old key might have been a new one.
    assert_eq!(asked(&edge), ["/.well-known/jwks.json", "/v1/internal/api-keys/exchange"]);
    edge.answer(200, jwks([&new]).to_string());
    edge.answer(200, answer_of(&new, &by_key(START + 900)));
    for stream in streams {
        assert_eq!(edge.outcome(stream).unwrap().upstream().get("x-user-id"), Some("u-key"));
        edge.end(stream);
    }
    assert_eq!(edge.send(&request()).reason(), "forwarded");
}

/// A forced rotation: the issuer signs by a key that no edge can have yet.
#[test]
fn the_first_token_of_a_new_key_is_waited_for_and_then_its_key() {
    let new = Issuer::new("k2", 2);
    for (set, reason) in [(jwks([&issuer()]), "unavailable"), (jwks([&issuer(), &new]), "forwarded")] {
        let mut edge = with_remote_keys(&process());
        let streams: Vec<_> = (0..10).map(|_| edge.begin(&request())).collect();
        edge.tick();
        edge.answer(200, answer_of(&new, &by_key(START + 900)));
        assert!(streams.iter().all(|stream| edge.outcome(*stream).is_none()), "they wait for the key");
        edge.tick();
        assert_eq!(asked(&edge), ["/.well-known/jwks.json"]);
        edge.answer(200, set.to_string());
        for stream in streams {
            let outcome = edge.outcome(stream).expect("it waits no third time");
            assert_eq!((outcome.reason().as_str(), outcome.headers.get("x-api-key")), (reason, None));
            edge.end(stream);
        }
    }
}

#[test]
fn an_issuer_that_is_away_or_hostile_is_503_and_good_keys_go_on() {
    let huge = format!(r#"{{"access_token": "{}"}}"#, "a".repeat(100_000));
    for (status, body) in
        [(503, ""), (401, r#"{"reason": "service_token_invalid"}"#), (200, "{"), (200, &*huge), (302, "")]
    {
        let process = process();
        let mut edge = process.worker(&config()).unwrap();
        let stream = edge.begin(&request());
        edge.tick();
        edge.answer(status, body);
        let outcome = edge.outcome(stream).unwrap();
        assert_eq!(
            (outcome.refused().status, outcome.refused().headers.get("retry-after")),
            (503, Some("1")),
            "{body:.40}"
        );
        edge.end(stream);
        assert_eq!(edge.send(&request()).reason(), "unavailable", "remembered briefly");
        process.advance(Duration::from_secs(1));
        assert_eq!(exchanged(&mut edge, 200, &answer(&by_key(START + 900))), "forwarded");
        process.advance(Duration::from_secs(60));
        let stream = edge.begin(&request());
        edge.tick();
        edge.fail_call();
        assert_eq!(edge.outcome(stream).unwrap().reason(), "forwarded", "its token is good");
        edge.end(stream);
    }
}

#[test]
fn a_cluster_that_is_not_there_is_503() {
    let process = process();
    process.remove_cluster("issuer-internal");
    let mut edge = process.worker(&config()).unwrap();
    let stream = edge.begin(&request());
    edge.tick();
    assert_eq!(edge.outcome(stream).unwrap().reason(), "unavailable");
    assert!(process.log().iter().any(|line| line.message.contains("there is no such cluster")));
    edge.end(stream);
}

#[test]
fn a_flood_of_bad_keys_does_not_reach_the_issuer_and_leaves_good_ones_alone() {
    let process = process();
    let mut edge = process.worker(&config()).unwrap();
    assert_eq!(exchanged(&mut edge, 200, &answer(&by_key(START + 900))), "forwarded");
    let mut asked = 0;
    let mut flood = |edge: &mut Worker, numbers: std::ops::Range<usize>| {
        for n in numbers {
            let stream = edge.begin(&Request::get("/alerts").header("X-API-Key", format!("bad-{n}")));
            edge.tick();
            while edge.calls().next().is_some() {
                asked += 1;
                edge.answer(401, r#"{"reason": "api_key_invalid"}"#);
            }
            edge.outcome(stream).unwrap().refused();
            edge.end(stream);
        }
        edge.memory_bytes()
    };
    flood(&mut edge, 0..1000);
    let before = flood(&mut edge, 1000..3000);
    assert_eq!(flood(&mut edge, 3000..5000), before);
    assert_eq!(edge.send(&request()).reason(), "forwarded");
    assert_eq!(asked, 100);
}

/// Or anybody could wake an operator with an alert that says that the issuer is away.
#[test]
fn too_many_keys_that_nobody_knows_are_no_failure() {
    let process = process();
    let mut edge = process.worker(&config()).unwrap();
    let stranger = |n: usize| Request::get("/alerts").header("X-API-Key", format!("bad-{n}"));
    let limited = |edge: &mut Worker, n: usize| {
        let outcome = edge.send(&stranger(n));
        let retry_after = outcome.refused().headers.get("retry-after");
        assert_eq!((outcome.refused().status, retry_after), (503, Some("1")));
        assert_eq!(outcome.reason(), "api_keys_limited");
    };
    let answered = |edge: &mut Worker, n: usize, status: u16, body: &str| {
        let stream = edge.begin(&stranger(n));
        edge.tick();
        edge.answer(status, body);
        let reason = edge.outcome(stream).unwrap().reason();
        edge.end(stream);
        reason
    };
    // By the issuer's own limit, and by ours.
    assert_eq!(answered(&mut edge, 0, 429, r#"{"reason": "rate_limited"}"#), "api_keys_limited");
    for n in 1..100 {
        assert_eq!(answered(&mut edge, n, 401, r#"{"reason": "api_key_invalid"}"#), "api_key_refused");
    }
    limited(&mut edge, 100);
    // More than may wait to be asked about.
    process.advance(Duration::from_secs(60));
    let waiting: Vec<_> = (1000..1256).map(|n| edge.begin(&stranger(n))).collect();
    limited(&mut edge, 1256);
    edge.tick();
    assert_eq!(process.metric("countersign_requests.outcome.denied.reason.api_keys_limited"), 3);
    assert_eq!(process.metric("countersign_requests.outcome.denied.reason.unavailable"), 0);
    waiting.into_iter().for_each(|stream| edge.end(stream));
}

#[test]
fn more_than_may_wait_are_told_to_come_again() {
    let process = process();
    let mut edge = process.worker(&config()).unwrap();
    let streams: Vec<_> = (0..1024).map(|_| edge.begin(&request())).collect();
    let outcome = edge.send(&request());
    assert_eq!((outcome.refused().status, outcome.refused().headers.get("retry-after")), (503, Some("1")));
    assert_eq!(outcome.reason(), "api_keys_limited");
    edge.tick();
    edge.answer(200, answer(&by_key(START + 900)));
    for stream in streams {
        assert_eq!(edge.outcome(stream).unwrap().reason(), "forwarded");
        edge.end(stream);
    }
}

#[test]
fn a_key_that_was_revoked_is_refused_at_once_while_the_issuer_says_nothing_of_it() {
    let process = process();
    let mut config = config();
    config["api_keys"]["cache"] = json!("1s");
    config["revocations"] = json!({"cluster": "issuer-internal", "path": "/v1/internal/revocations"});
    let mut edge = process.worker(&config).unwrap();
    feed(&mut edge, &page(1, &[], true));
    let stream = edge.begin(&request());
    edge.tick();
    edge.answer(200, page(1, &[], false).to_string());
    edge.answer(200, answer(&by_key(START + 900)));
    edge.end(stream);
    process.advance(Duration::from_secs(1));
    edge.tick();
    assert_eq!(edge.send(&request()).reason(), "forwarded", "it is due, and its token is good");
    edge.tick();
    assert_eq!(edge.calls().count(), 2, "the feed, and the key");
    edge.answer(200, page(2, &["k-1"], false).to_string());
    assert_eq!(edge.send(&request()).reason(), "revoked");
}
