//! The issuer's keys: fetched once per process, kept when the issuer is away, never replaced by something worse.

use std::time::Duration;

use countersign_claims::AccessClaims;
use countersign_tests::host::{Issuer, Process, Request, START, Worker, jwks};
use serde_json::{Value, json};

use super::{edge_config, issuer};

pub(super) const SECOND: Duration = Duration::from_secs(1);
const OK: &str = "countersign_key_fetches.result.ok";
pub(super) const FAILED: &str = "countersign_key_fetches.result.failed";

pub(super) fn remote_config() -> Value {
    let mut config = edge_config();
    config["keys"] = json!({"remote": {"cluster": "issuer", "path": "/.well-known/jwks.json", "refresh": "60s", "timeout": "2s"}});
    config
}

fn workers(process: &Process, count: usize) -> Vec<Worker> {
    (0..count).map(|_| process.worker(&remote_config()).unwrap()).collect()
}

pub(super) fn send(edge: &mut Worker, token: &str) -> String {
    edge.send(&Request::get("/api/x").bearer(token)).reason()
}

/// Lets time pass in ticks, with a healthy issuer; returns how many fetches it saw.
fn pass(process: &Process, workers: &mut [Worker], time: Duration, set: &Value) -> usize {
    let tick = Duration::from_millis(200);
    let mut fetches = 0;
    for _ in 0..time.as_millis() / tick.as_millis() {
        process.advance(tick);
        for worker in workers.iter_mut() {
            worker.tick();
        }
        for worker in workers.iter_mut().filter(|worker| worker.calls().next().is_some()) {
            worker.answer(200, set.to_string());
            fetches += 1;
        }
    }
    fetches
}

#[test]
fn three_workers_make_one_fetch_per_interval_and_all_get_the_keys() {
    let process = Process::new();
    let mut workers = workers(&process, 3);
    let set = jwks([&issuer()]);
    assert_eq!(pass(&process, &mut workers, SECOND, &set), 1);
    for worker in &mut workers {
        assert_eq!(send(worker, &issuer().ada()), "forwarded");
    }
    // Jitter shortens an interval of 60 s by up to a tenth.
    let fetches = pass(&process, &mut workers, 600 * SECOND, &set);
    assert!((10..=11).contains(&fetches), "{fetches} fetches in ten intervals");
    assert_eq!(process.metric(OK), fetches as u64 + 1);
}

#[test]
fn a_worker_that_has_not_ticked_takes_the_keys_that_another_fetched() {
    let process = Process::new();
    let [mut first, mut second] = [(); 2].map(|()| process.worker(&remote_config()).unwrap());
    let (old, new) = (issuer(), Issuer::new("k2", 2));
    first.tick();
    first.answer(200, jwks([&old]).to_string());
    assert_eq!(send(&mut second, &old.ada()), "forwarded", "the first set");
    process.advance(60 * SECOND);
    first.tick();
    first.answer(200, jwks([&old, &new]).to_string());
    assert_eq!(send(&mut second, &new.ada()), "forwarded", "a rotation");
    assert_eq!(send(&mut second, &Issuer::new("k3", 3).ada()), "unknown_key");
}

#[test]
fn a_key_that_another_worker_had_fetched_is_no_reason_to_ask_again() {
    let process = Process::new();
    let [mut first, mut second] = [(); 2].map(|()| process.worker(&remote_config()).unwrap());
    first.tick();
    first.answer(200, jwks([&issuer()]).to_string());
    process.advance(10 * SECOND);
    assert_eq!(send(&mut second, &issuer().ada()), "forwarded");
    second.tick();
    assert_eq!(second.calls().count(), 0);
}

#[test]
fn a_worker_that_dies_while_fetching_does_not_stop_the_others() {
    let process = Process::new();
    let mut workers = workers(&process, 2);
    workers[0].tick();
    assert_eq!(workers[0].calls().count(), 1);
    drop(workers.remove(0));
    assert_eq!(
        pass(&process, &mut workers, 2 * SECOND, &jwks([&issuer()])),
        0,
        "the attempt is still somebody's"
    );
    assert_eq!(pass(&process, &mut workers, 2 * SECOND, &jwks([&issuer()])), 1);
}

#[test]
fn an_unknown_key_id_brings_the_new_key_early() {
    let process = Process::new();
    let mut workers = [(); 2].map(|()| process.worker(&remote_config()).unwrap());
    let (old, new) = (issuer(), Issuer::new("k2", 2));
    pass(&process, &mut workers, 10 * SECOND, &jwks([&old]));
    // Nobody is refused: they wait for it, in the worker that asks and in the other.
    let streams = workers.each_mut().map(|edge| {
        [
            edge.begin(&Request::get("/api/x").bearer(new.ada())),
            edge.begin(&Request::websocket(format!("/ws/q?token={}", new.ada()))),
        ]
    });
    for (edge, streams) in workers.iter_mut().zip(streams) {
        assert!(streams.into_iter().all(|stream| edge.outcome(stream).is_none()));
    }
    assert_eq!(pass(&process, &mut workers, SECOND, &jwks([&old, &new])), 1);
    for (edge, [request, socket]) in workers.iter_mut().zip(streams) {
        assert_eq!(edge.outcome(request).unwrap().upstream().get("x-user-id"), Some("u-ada"));
        assert!(edge.outcome(request).unwrap().upstream().get("authorization").is_some());
        assert_eq!(edge.outcome(socket).unwrap().upstream().get(":path"), Some("/ws/q"));
        edge.end(request);
        edge.end(socket);
    }
    for worker in &mut workers {
        assert_eq!(send(worker, &new.ada()), "forwarded");
        assert_eq!(send(worker, &old.ada()), "forwarded");
    }
}

#[test]
fn a_key_that_signs_a_moment_after_the_set_was_fetched_refuses_nobody() {
    let process = Process::new();
    let mut workers = [process.worker(&remote_config()).unwrap()];
    let (old, new) = (issuer(), Issuer::new("k2", 2));
    pass(&process, &mut workers, SECOND, &jwks([&old]));
    let stream = workers[0].begin(&Request::get("/api/x").bearer(new.ada()));
    assert!(workers[0].outcome(stream).is_none(), "it waits");
    assert_eq!(pass(&process, &mut workers, SECOND, &jwks([&old, &new])), 1);
    assert_eq!(workers[0].outcome(stream).unwrap().reason(), "forwarded");
    workers[0].end(stream);
}

#[test]
fn who_waits_for_a_key_that_does_not_come_is_refused() {
    let process = Process::new();
    let mut edge = process.worker(&remote_config()).unwrap();
    edge.tick();
    let first = edge.begin(&Request::get("/api/x").bearer(issuer().ada()));
    assert!(edge.outcome(first).is_none(), "the first set is on its way");
    edge.fail_call();
    assert_eq!(edge.outcome(first).unwrap().reason(), "unavailable");
    assert_eq!(send(&mut edge, &issuer().ada()), "unavailable", "nobody asks now");
    process.advance(10 * SECOND);
    edge.tick();
    edge.answer(200, jwks([&issuer()]).to_string());
    process.advance(10 * SECOND);
    edge.tick();
    let unknown = edge.begin(&Request::get("/api/x").bearer(Issuer::new("k9", 9).ada()));
    edge.tick();
    assert!(edge.outcome(unknown).is_none());
    edge.answer(200, jwks([&issuer()]).to_string());
    assert_eq!(edge.outcome(unknown).unwrap().reason(), "unknown_key");
    edge.end(first);
    edge.end(unknown);
}

#[test]
fn tokens_that_name_unknown_keys_leave_places_for_others_that_wait() {
    let process = Process::new();
    let mut edge = process.worker(&remote_config()).unwrap();
    edge.tick();
    let waiting: Vec<_> =
        (0..256).map(|_| edge.begin(&Request::get("/api/x").bearer(issuer().ada()))).collect();
    assert_eq!(send(&mut edge, &issuer().ada()), "unavailable");
    edge.tick();
    assert_eq!(send(&mut edge, &issuer().ada()), "unavailable");
    edge.answer(200, jwks([&issuer()]).to_string());
    for stream in waiting {
        assert_eq!(edge.outcome(stream).unwrap().reason(), "forwarded");
        edge.end(stream);
    }
}

#[test]
fn a_flood_of_unknown_key_ids_is_no_flood_of_fetches() {
    let process = Process::new();
    let mut workers = workers(&process, 3);
    let set = jwks([&issuer()]);
    pass(&process, &mut workers, 10 * SECOND, &set);
    let mut fetches = 0;
    for second in 0..30_u8 {
        let mut waiting = Vec::new();
        for (at, worker) in workers.iter_mut().enumerate() {
            for n in 0..5 {
                let unknown = Issuer::new(&format!("x{second}-{n}"), 7).ada();
                let stream = worker.begin(&Request::get("/api/x").bearer(unknown));
                waiting.push((at, stream));
            }
        }
        fetches += pass(&process, &mut workers, SECOND, &set);
        for (at, stream) in waiting {
            assert_eq!(workers[at].outcome(stream).unwrap().reason(), "unknown_key");
            workers[at].end(stream);
        }
    }
    assert!((4..=7).contains(&fetches), "{fetches} fetches in 30 s of unknown keys");
}

#[test]
fn the_last_good_set_stays_while_the_issuer_is_away() {
    let process = Process::new();
    let mut edge = process.worker(&remote_config()).unwrap();
    edge.tick();
    edge.answer(200, jwks([&issuer()]).to_string());
    let mut attempts = 0;
    for _ in 0..3000 {
        process.advance(Duration::from_millis(200));
        edge.tick();
        if edge.calls().next().is_some() {
            edge.fail_call();
            attempts += 1;
        }
    }
    assert!((8..=25).contains(&attempts), "{attempts} attempts in ten minutes");
    edge.tick();
    assert_eq!(process.metric(FAILED), attempts);
    assert_eq!(send(&mut edge, &fresh(&process)), "forwarded");
    assert!(process.metric("countersign_keys_age_seconds") >= 599);
    // And it recovers within the longest backoff.
    assert!(pass(&process, std::slice::from_mut(&mut edge), 70 * SECOND, &jwks([&issuer()])) >= 1);
    assert!(process.metric("countersign_keys_age_seconds") < 70);
}

#[test]
fn an_issuer_that_is_away_for_hours_stops_nothing_unless_keys_have_a_longest_age() {
    let process = Process::new();
    let mut edge = process.worker(&remote_config()).unwrap();
    edge.tick();
    edge.answer(200, jwks([&issuer()]).to_string());
    for _ in 0..6 * 60 {
        away(&process, &mut edge, 60 * SECOND);
        assert_eq!(send(&mut edge, &fresh(&process)), "forwarded");
    }
    edge.tick();
    assert!(process.metric("countersign_keys_age_seconds") >= 6 * 3600);
}

/// A token that is good for a few seconds from now on.
fn fresh(process: &Process) -> String {
    issuer().token(&AccessClaims { exp: process.now() + 9, ..Issuer::claims() })
}

/// Lets time pass while nobody answers.
fn away(process: &Process, edge: &mut Worker, time: Duration) {
    process.advance(time);
    edge.tick();
    while edge.calls().next().is_some() {
        edge.fail_call();
    }
}

fn with_max_age() -> Value {
    let mut config = remote_config();
    config["keys"]["remote"]["max_age"] = json!("10m");
    config
}

#[test]
fn keys_that_are_older_than_their_longest_age_are_no_longer_trusted() {
    let process = Process::new();
    let mut config = with_max_age();
    let inline = Issuer::new("inline", 9);
    config["keys"]["inline"] = jwks([&inline]);
    let [mut edge, mut other] = [(); 2].map(|()| process.worker(&config).unwrap());
    edge.tick();
    edge.answer(200, jwks([&issuer()]).to_string());
    other.tick();
    away(&process, &mut edge, 600 * SECOND);
    assert_eq!(send(&mut edge, &issuer().ada()), "forwarded", "as old as it may be");
    away(&process, &mut edge, SECOND);
    other.tick();
    for edge in [&mut edge, &mut other] {
        assert_eq!(send(edge, &issuer().ada()), "unavailable", "cached tokens, too");
        assert_eq!(send(edge, &inline.ada()), "forwarded", "what the configuration says has no age");
    }
    edge.tick();
    assert_eq!(process.metric("countersign_keys"), 1);
    assert_eq!(process.metric("countersign_keys_age_seconds"), 601, "its age goes on");
    assert_eq!(process.log().iter().filter(|line| line.message.contains("keys.remote.max_age")).count(), 2);
    // A new configuration does not bring them back, and a new set does.
    edge.configure(&config).unwrap();
    assert_eq!(send(&mut edge, &issuer().ada()), "unavailable");
    pass(&process, std::slice::from_mut(&mut edge), 70 * SECOND, &jwks([&issuer()]));
    assert_eq!(send(&mut edge, &issuer().ada()), "forwarded");
}

#[test]
fn keys_grow_old_from_the_moment_at_which_the_clock_is_set_back() {
    let process = Process::new();
    process.advance(86_400 * SECOND);
    let mut edge = process.worker(&with_max_age()).unwrap();
    edge.tick();
    edge.answer(200, jwks([&issuer()]).to_string());
    process.set_time(START);
    away(&process, &mut edge, SECOND);
    away(&process, &mut edge, 600 * SECOND);
    assert_eq!(send(&mut edge, &fresh(&process)), "forwarded", "as old as it may be");
    away(&process, &mut edge, SECOND);
    assert_eq!(send(&mut edge, &fresh(&process)), "unavailable");
}

#[test]
fn keys_that_are_fetched_again_in_time_never_grow_too_old() {
    let process = Process::new();
    let mut edge = process.worker(&with_max_age()).unwrap();
    for _ in 0..4 {
        pass(&process, std::slice::from_mut(&mut edge), 300 * SECOND, &jwks([&issuer()]));
        assert_eq!(send(&mut edge, &fresh(&process)), "forwarded");
    }
}

/// An edge that reaches no issuer at all.
#[test]
fn inline_keys_need_nobody_and_never_grow_old() {
    let process = Process::new();
    let mut edge = process.worker(&edge_config()).unwrap();
    for _ in 0..24 {
        process.advance(3600 * SECOND);
        edge.tick();
        assert_eq!(send(&mut edge, &fresh(&process)), "forwarded");
        assert_eq!(edge.calls().count(), 0);
    }
    assert_eq!(process.metric("countersign_keys"), 1);
}

#[test]
fn an_answer_that_is_no_sound_set_changes_nothing() {
    let good = jwks([&issuer()]).to_string();
    let twice = jwks([&issuer(), &Issuer::new("k1", 2)]).to_string();
    let weak =
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k9", "x": "A".repeat(43)}]}).to_string();
    let huge = format!("{}{good}", " ".repeat(64 * 1024));
    for (status, body) in [
        (200, "".into()),
        (200, "not json".into()),
        (200, "{}".into()),
        (200, twice),
        (200, weak),
        (200, huge),
        (200, "[".repeat(50_000)),
        (500, good.clone()),
        (404, good.clone()),
        (302, good.clone()),
        (204, String::new()),
    ] {
        let process = Process::new();
        let mut edge = process.worker(&remote_config()).unwrap();
        edge.tick();
        edge.answer(200, &good);
        process.advance(60 * SECOND);
        edge.tick();
        edge.answer(status, &body);
        assert_eq!(send(&mut edge, &issuer().ada()), "forwarded", "{status} {:.40}", body);
        edge.tick();
        assert_eq!((process.metric(OK), process.metric(FAILED)), (1, 1), "{status} {:.40}", body);
        assert!(process.log().iter().any(|line| line.message.contains("not taken")));
    }
}

#[test]
fn a_set_without_a_usable_key_withdraws_nothing() {
    let signs_only = {
        let mut set = jwks([&issuer()]);
        set["keys"][0]["key_ops"] = json!(["sign"]);
        set
    };
    let foreign = json!({"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "r"}]});
    for set in [json!({"keys": []}), foreign, signs_only] {
        let process = Process::new();
        let mut edge = process.worker(&remote_config()).unwrap();
        edge.tick();
        edge.answer(200, jwks([&issuer()]).to_string());
        process.advance(60 * SECOND);
        edge.tick();
        edge.answer(200, set.to_string());
        assert_eq!(send(&mut edge, &issuer().ada()), "forwarded", "{set}");
        edge.tick();
        assert_eq!((process.metric(OK), process.metric(FAILED)), (1, 1), "{set}");
    }
}

#[test]
fn the_wish_for_an_unknown_key_outlives_the_window_in_which_nobody_may_ask() {
    let process = Process::new();
    let mut workers = workers(&process, 1);
    let (old, new) = (issuer(), Issuer::new("k2", 2));
    pass(&process, &mut workers, SECOND, &jwks([&old]));
    let first = workers[0].begin(&Request::get("/api/x").bearer(new.ada()));
    assert_eq!(pass(&process, &mut workers, SECOND, &jwks([&old])), 1);
    assert_eq!(workers[0].outcome(first).unwrap().reason(), "unknown_key");
    workers[0].end(first);
    assert_eq!(send(&mut workers[0], &new.ada()), "unknown_key");
    assert_eq!(pass(&process, &mut workers, 3 * SECOND, &jwks([&old, &new])), 0, "too early to ask again");
    assert_eq!(pass(&process, &mut workers, 2 * SECOND, &jwks([&old, &new])), 1);
    assert_eq!(send(&mut workers[0], &new.ada()), "forwarded");
}

#[test]
fn a_set_is_read_once_by_the_worker_that_fetched_it() {
    let process = Process::new();
    let [mut fetching, mut other] = [(); 2].map(|()| process.worker(&remote_config()).unwrap());
    let many: Vec<_> = (0..100).map(|n| Issuer::new(&format!("k{n}"), n)).collect();
    fetching.tick();
    fetching.answer(200, jwks(&many).to_string());
    let [again, first] = [&mut fetching, &mut other].map(|worker| {
        worker.tick();
        worker.last_cost()
    });
    assert!(again < first / 20, "{again} instructions with the set in force, {first} to read it");
}

#[test]
fn a_clock_that_is_set_back_does_not_stop_fetching() {
    let process = Process::new();
    let mut edge = process.worker(&remote_config()).unwrap();
    edge.tick();
    edge.answer(200, jwks([&issuer()]).to_string());
    process.set_time(process.now() - 86_400);
    assert!(pass(&process, std::slice::from_mut(&mut edge), SECOND, &jwks([&issuer()])) >= 1);
}

#[test]
fn the_number_of_keys_is_a_gauge() {
    let process = Process::new();
    let mut edge = process.worker(&remote_config()).unwrap();
    edge.tick();
    assert_eq!(process.metric("countersign_keys"), 0);
    edge.answer(200, jwks([&issuer(), &Issuer::new("k2", 2)]).to_string());
    edge.tick();
    assert_eq!(process.metric("countersign_keys"), 2);
}
