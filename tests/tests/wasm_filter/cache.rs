//! Remembered tokens: fast, and never more than a fresh verification would allow.

use std::time::Duration;

use countersign_claims::AccessClaims;
use countersign_tests::host::{Issuer, Process, Request, START, Worker, jwks};
use serde_json::json;

use super::{edge_config, issuer};

const CACHED: &str = "countersign_tokens.source.cache";
const VERIFIED: &str = "countersign_tokens.source.signature";

fn send(edge: &mut Worker, token: &str) -> String {
    edge.send(&Request::get("/api/x").bearer(token)).reason()
}

fn user(number: usize) -> String {
    issuer().token(&AccessClaims { sub: format!("u-{number}"), ..Issuer::claims() })
}

#[test]
fn a_token_is_verified_once() {
    let process = Process::new();
    let mut edge = process.worker(&edge_config()).unwrap();
    let token = issuer().ada();
    for _ in 0..5 {
        assert_eq!(send(&mut edge, &token), "forwarded");
    }
    edge.tick();
    assert_eq!((process.metric(VERIFIED), process.metric(CACHED)), (1, 4));
}

#[test]
fn a_remembered_token_expires_on_time() {
    let process = Process::new();
    let mut edge = process.worker(&edge_config()).unwrap();
    let token = issuer().ada();
    assert_eq!(send(&mut edge, &token), "forwarded");
    process.set_time(START + 899);
    assert_eq!(send(&mut edge, &token), "forwarded");
    process.set_time(START + 900);
    assert_eq!(send(&mut edge, &token), "token_expired");
    assert_eq!(send(&mut edge, &token), "token_expired");
}

#[test]
fn a_remembered_token_expires_on_its_second_however_long_ago_the_last_tick_was() {
    let token = issuer().ada();
    for pause in [1, 30, 59, 60] {
        let process = Process::new();
        let mut edge = process.worker(&edge_config()).unwrap();
        for second in [0, 900 - pause] {
            process.set_time(START + second);
            edge.tick();
            assert_eq!(send(&mut edge, &token), "forwarded");
        }
        process.set_time(START + 899);
        assert_eq!(send(&mut edge, &token), "forwarded");
        process.set_time(START + 900);
        assert_eq!(send(&mut edge, &token), "token_expired", "{pause} seconds after the last tick");
    }
}

#[test]
fn a_token_that_differs_in_one_character_is_not_remembered() {
    let mut edge = Process::new().worker(&edge_config()).unwrap();
    let token = issuer().ada();
    assert_eq!(send(&mut edge, &token), "forwarded");
    let (head, tail) = token.split_at(token.len() - 60);
    let swapped = |text: &str, at: usize| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    };
    // The end of the token, which picks the cache's bucket, stays as it is in the first two.
    for forged in [swapped(head, 5) + tail, swapped(head, 100) + tail, head.to_owned() + &swapped(tail, 30)] {
        assert_ne!(send(&mut edge, &forged), "forwarded");
    }
    assert_eq!(send(&mut edge, &token), "forwarded");
}

#[test]
fn a_removed_key_takes_its_tokens_along() {
    let process = Process::new();
    let (old, new) = (issuer(), Issuer::new("k2", 2));
    let mut config = edge_config();
    config["keys"] = json!({"remote": {"cluster": "issuer", "path": "/jwks", "refresh": "60s"}});
    let mut edge = process.worker(&config).unwrap();
    edge.tick();
    edge.answer(200, jwks([&old, &new]).to_string());
    let token = old.ada();
    assert_eq!(send(&mut edge, &token), "forwarded");
    assert_eq!(send(&mut edge, &token), "forwarded");
    process.advance(Duration::from_secs(60));
    edge.tick();
    edge.answer(200, jwks([&new]).to_string());
    // It may be of a key that was made since.
    let waiting = edge.begin(&Request::get("/api/x").bearer(&token));
    edge.tick();
    edge.answer(200, jwks([&new]).to_string());
    assert_eq!(edge.outcome(waiting).unwrap().reason(), "unknown_key");
    edge.end(waiting);
    assert_eq!(send(&mut edge, &token), "unknown_key");
    assert_eq!(send(&mut edge, &new.ada()), "forwarded");
}

#[test]
fn a_new_configuration_forgets_what_the_old_one_accepted() {
    let mut edge = Process::new().worker(&edge_config()).unwrap();
    let token = issuer().ada();
    assert_eq!(send(&mut edge, &token), "forwarded");
    let mut config = edge_config();
    config["audiences"] = json!(["elsewhere"]);
    edge.configure(&config).unwrap();
    assert_eq!(send(&mut edge, &token), "wrong_audience");
}

#[test]
fn forged_tokens_push_nothing_out() {
    let process = Process::new();
    let mut config = edge_config();
    config["cache"] = json!({"max_bytes": 8192});
    let mut edge = process.worker(&config).unwrap();
    let good = issuer().ada();
    assert_eq!(send(&mut edge, &good), "forwarded");
    let forger = Issuer::new("k1", 66);
    for number in 0..200 {
        let claims = AccessClaims { sub: format!("u-{number}"), ..Issuer::claims() };
        assert_eq!(send(&mut edge, &forger.token(&claims)), "bad_signature");
    }
    assert_eq!(send(&mut edge, &good), "forwarded");
    edge.tick();
    assert_eq!(process.metric(CACHED), 1);
}

#[test]
fn a_token_in_use_outlives_a_crowd_that_passes_once() {
    let process = Process::new();
    let mut config = edge_config();
    config["cache"] = json!({"max_bytes": 32_768});
    let mut edge = process.worker(&config).unwrap();
    let busy = issuer().ada();
    for number in 0..200 {
        assert_eq!(send(&mut edge, &busy), "forwarded");
        assert_eq!(send(&mut edge, &user(number)), "forwarded");
    }
    edge.tick();
    assert_eq!(process.metric(CACHED), 199);
}

#[test]
fn memory_stays_bounded_by_max_bytes() {
    const MOST: usize = 1 << 20;
    let mut config = edge_config();
    config["cache"] = json!({"max_bytes": MOST});
    let mut edge = Process::new().worker(&config).unwrap();
    let mut crowd = 0..;
    let mut fill = |edge: &mut Worker| {
        for number in crowd.by_ref().take(4000) {
            assert_eq!(send(edge, &user(number)), "forwarded");
        }
    };
    let empty = edge.memory_bytes();
    fill(&mut edge);
    let full = edge.memory_bytes();
    // Pages are of 64 KiB, and between the blocks of memory there is some that is too small for another.
    assert!(full - empty < MOST + MOST / 4, "{} bytes", full - empty);
    assert!(full - empty > MOST / 2, "{} bytes", full - empty);
    fill(&mut edge);
    assert_eq!(edge.memory_bytes(), full);
}

#[test]
fn without_a_cache_every_token_is_verified() {
    let process = Process::new();
    let mut config = edge_config();
    config["cache"] = json!({"max_bytes": 0});
    let mut edge = process.worker(&config).unwrap();
    for _ in 0..3 {
        assert_eq!(send(&mut edge, &issuer().ada()), "forwarded");
    }
    edge.tick();
    assert_eq!((process.metric(VERIFIED), process.metric(CACHED)), (3, 0));
}
