//! Sessions that have ended: refused at once by every worker, whatever is remembered, and whatever the feed says.

use std::time::Duration;

use countersign_claims::AccessClaims;
use countersign_tests::host::{Issuer, Process, Request, START, Worker};
use serde_json::{Value, json};

use super::{edge_config, issuer};

const TICK: Duration = Duration::from_millis(200);
const TOKEN: &str = "cs_service_0123456789";
const OK: &str = "countersign_revocation_fetches.result.ok";
const FAILED: &str = "countersign_revocation_fetches.result.failed";

pub(super) fn config() -> Value {
    let mut config = edge_config();
    config["revocations"] = json!({"cluster": "issuer-internal", "path": "/v1/internal/revocations"});
    config
}

/// A process in which the feed can be asked for.
pub(super) fn process() -> Process {
    let process = Process::new();
    process.add_cluster("issuer-internal");
    process.set_env("COUNTERSIGN_SERVICE_TOKEN", TOKEN);
    process
}

pub(super) fn page(sequence: u64, sessions: &[&str], reset: bool) -> Value {
    let entries: Vec<_> = sessions.iter().map(|id| json!({"session_id": id, "exp": START + 900})).collect();
    json!({"epoch": "e1", "sequence": sequence, "entries": entries, "reset": reset, "complete": true})
}

/// Lets a worker ask and answers it.
pub(super) fn feed(worker: &mut Worker, page: &Value) {
    worker.tick();
    assert_eq!(worker.calls().count(), 1, "the worker asks");
    worker.answer(200, page.to_string());
}

fn user(name: &str) -> String {
    let claims = AccessClaims { sub: name.into(), session_id: Some(format!("s-{name}")), ..Issuer::claims() };
    issuer().token(&claims)
}

fn send(worker: &mut Worker, name: &str) -> String {
    worker.send(&Request::get("/api/x").bearer(user(name))).reason()
}

fn asked(worker: &Worker) -> String {
    worker.calls().next().unwrap().headers.get(":path").unwrap().to_owned()
}

#[test]
fn a_session_that_has_ended_is_refused_by_every_worker_within_a_tick() {
    let process = process();
    let [mut first, mut second] = [(); 2].map(|()| process.worker(&config()).unwrap());
    feed(&mut first, &page(10, &["s-eve"], true));
    second.tick();
    for worker in [&mut first, &mut second] {
        assert_eq!(send(worker, "eve"), "revoked");
        for name in ["ada", "bob", "ada", "bob"] {
            assert_eq!(send(worker, name), "forwarded");
        }
    }
    // Remembered by both, and forgotten by both.
    process.advance(TICK);
    feed(&mut first, &page(11, &["s-bob"], false));
    second.tick();
    for worker in [&mut first, &mut second] {
        assert_eq!((send(worker, "bob"), send(worker, "ada")), ("revoked".into(), "forwarded".into()));
    }
    let outcome = first.send(&Request::get("/api/x").bearer(user("bob")));
    assert_eq!(outcome.refused().status, 401);
    assert_eq!(outcome.refused().problem()["detail"], "Authentication required");
}

#[test]
fn what_one_worker_has_read_the_others_know_within_a_tenth_of_a_second() {
    let edge = process().worker(&config()).unwrap();
    assert!(edge.tick_period().unwrap() <= Duration::from_millis(100));
}

#[test]
fn one_worker_asks_with_the_service_token_and_nobody_logs_it() {
    let process = process();
    let [mut first, mut second] = [(); 2].map(|()| process.worker(&config()).unwrap());
    first.tick();
    second.tick();
    assert_eq!(second.calls().count(), 0);
    let call = first.calls().next().unwrap().clone();
    assert_eq!(call.cluster, "issuer-internal");
    assert_eq!(call.headers.get("x-service-token"), Some(TOKEN));
    assert_eq!(call.headers.get(":path"), Some("/v1/internal/revocations?wait=0"));
    first.answer(200, page(10, &[], true).to_string());
    process.advance(Duration::from_secs(1));
    first.tick();
    assert_eq!(asked(&first), "/v1/internal/revocations?since=10&epoch=e1&wait=20");
    assert!(first.calls().next().unwrap().timeout > Duration::from_secs(20));
    first.answer(500, format!("no: {TOKEN}"));
    assert!(process.log().iter().all(|line| !line.message.contains(TOKEN)));
    assert!(
        !process
            .shared_data()
            .values()
            .any(|value| value.windows(TOKEN.len()).any(|w| w == TOKEN.as_bytes()))
    );
}

#[test]
fn without_a_service_token_the_configuration_is_refused() {
    for token in [None, Some(""), Some("a b"), Some("a\nb")] {
        let process = Process::new();
        if let Some(token) = token {
            process.set_env("COUNTERSIGN_SERVICE_TOKEN", token);
        }
        let error = process.worker(&config()).unwrap_err();
        assert!(error.contains("configuration refused: revocations: needs the service token"), "{error}");
        assert!(error.contains("COUNTERSIGN_SERVICE_TOKEN") && !error.contains("a b"), "{error}");
        assert!(process.worker(&edge_config()).is_ok(), "nobody else needs it");
    }
}

#[test]
fn a_service_token_from_a_file_is_good_with_the_newline_at_its_end() {
    for end in ["\n", "\r\n"] {
        let process = process();
        process.set_env("COUNTERSIGN_SERVICE_TOKEN", &format!("{TOKEN}{end}"));
        let mut edge = process.worker(&config()).unwrap();
        edge.tick();
        assert_eq!(edge.calls().next().unwrap().headers.get("x-service-token"), Some(TOKEN));
    }
}

#[test]
fn a_worker_that_ends_is_replaced_and_one_that_is_configured_anew_at_once() {
    let process = process();
    let [mut first, mut second] = [(); 2].map(|()| process.worker(&config()).unwrap());
    first.tick();
    assert_eq!(first.calls().count(), 1);
    // Its answer never comes.
    first.configure(&config()).unwrap();
    first.tick();
    first.tick();
    assert_eq!(first.calls().count(), 2, "the new configuration asks");
    drop(first);
    let mut ticks = 0;
    while second.calls().count() == 0 {
        process.advance(TICK);
        second.tick();
        ticks += 1;
    }
    assert!(ticks <= 12, "{ticks} ticks");
}

#[test]
fn a_new_worker_begins_with_everything_that_is_known() {
    let process = process();
    let mut first = process.worker(&config()).unwrap();
    feed(&mut first, &page(10, &["s-eve"], true));
    process.advance(TICK);
    feed(&mut first, &page(11, &["s-bob"], false));
    let mut late = process.worker(&config()).unwrap();
    assert_eq!((send(&mut late, "eve"), send(&mut late, "bob")), ("revoked".into(), "revoked".into()));
    first.configure(&config()).unwrap();
    assert_eq!(send(&mut first, "bob"), "revoked", "a new configuration as well");
}

#[test]
fn a_whole_set_takes_the_place_of_what_was_known_when_its_last_part_is_there() {
    let process = process();
    let [mut first, mut second] = [(); 2].map(|()| process.worker(&config()).unwrap());
    feed(&mut first, &page(10, &["s-eve", "s-bob"], true));
    second.tick();
    process.advance(TICK);
    let part = |mut page: Value, complete| {
        (page["epoch"], page["complete"]) = (json!("e2"), json!(complete));
        page
    };
    feed(&mut first, &part(page(1, &["s-ada"], true), false));
    assert_eq!((send(&mut first, "ada"), send(&mut first, "eve")), ("forwarded".into(), "revoked".into()));
    assert_eq!(asked(&first), "/v1/internal/revocations?since=1&epoch=e2&wait=0", "at once");
    first.answer(200, part(page(2, &["s-eve"], false), true).to_string());
    second.tick();
    for worker in [&mut first, &mut second] {
        let reasons = ["ada", "bob", "eve"].map(|name| send(worker, name));
        assert_eq!(reasons, ["revoked", "forwarded", "revoked"]);
    }
}

#[test]
fn a_broken_feed_changes_nothing_and_is_asked_for_everything() {
    let huge = format!("{}{}", " ".repeat(1 << 20), page(12, &[], false));
    let mut jumped = page(12, &["s-ada"], false);
    jumped["epoch"] = json!("e9");
    let mut odd = page(12, &["s-ada"], false);
    odd["entries"][0]["exp"] = json!("soon");
    for (status, body) in [
        (200, String::new()),
        (200, "{".into()),
        (200, "[".repeat(50_000)),
        (200, huge),
        (200, page(9, &["s-ada"], false).to_string()),
        (200, jumped.to_string()),
        (200, odd.to_string()),
        (401, page(12, &["s-ada"], false).to_string()),
        (500, page(12, &[], true).to_string()),
        (302, String::new()),
    ] {
        let process = process();
        let mut edge = process.worker(&config()).unwrap();
        feed(&mut edge, &page(10, &["s-eve"], true));
        process.advance(Duration::from_secs(1));
        edge.tick();
        edge.answer(status, &body);
        assert_eq!((send(&mut edge, "eve"), send(&mut edge, "ada")), ("revoked".into(), "forwarded".into()));
        edge.tick();
        assert_eq!((process.metric(OK), process.metric(FAILED)), (1, 1), "{status} {body:.40}");
        assert_eq!(edge.calls().count(), 0, "not at once");
        process.advance(Duration::from_secs(6));
        feed(&mut edge, &page(12, &["s-bob"], true));
        assert_eq!((send(&mut edge, "eve"), send(&mut edge, "bob")), ("forwarded".into(), "revoked".into()));
    }
}

#[test]
fn an_issuer_that_does_not_wait_or_is_away_is_not_flooded() {
    let process = process();
    let mut edge = process.worker(&config()).unwrap();
    feed(&mut edge, &page(10, &[], true));
    let pass = |edge: &mut Worker, status: u16| {
        let mut asked = 0;
        for _ in 0..300 {
            process.advance(TICK);
            edge.tick();
            if edge.calls().next().is_some() {
                asked += 1;
                edge.answer(status, page(10, &[], false).to_string());
            }
        }
        asked
    };
    let asked = pass(&mut edge, 200);
    assert!((50..=61).contains(&asked), "{asked} questions in a minute to an issuer that answers at once");
    let asked = pass(&mut edge, 503);
    assert!((10..=20).contains(&asked), "{asked} questions in a minute to an issuer that is away");
    process.advance(Duration::from_secs(5));
    edge.tick();
    edge.fail_call();
}

#[test]
fn what_is_stale_refuses_or_not_as_configured() {
    for (when_stale, reason) in
        [(None, "forwarded"), (Some("allow"), "forwarded"), (Some("refuse"), "unavailable")]
    {
        let process = process();
        let mut config = config();
        config["revocations"]["max_staleness"] = json!("1m");
        if let Some(when_stale) = when_stale {
            config["revocations"]["when_stale"] = json!(when_stale);
        }
        let mut edge = process.worker(&config).unwrap();
        assert_eq!(send(&mut edge, "ada"), reason, "before the first answer");
        edge.tick();
        assert_eq!(send(&mut edge, "ada"), reason);
        edge.answer(200, page(10, &["s-eve"], true).to_string());
        assert_eq!(send(&mut edge, "ada"), "forwarded");
        process.advance(Duration::from_secs(60));
        edge.tick();
        assert_eq!(send(&mut edge, "ada"), "forwarded");
        process.advance(TICK);
        edge.tick();
        assert_eq!(send(&mut edge, "ada"), reason, "stale");
        assert_eq!(send(&mut edge, "eve"), if reason == "forwarded" { "revoked" } else { "unavailable" });
        assert_eq!(process.metric("countersign_revocations_age_seconds"), 60);
        edge.answer(200, page(10, &[], false).to_string());
        assert_eq!(send(&mut edge, "ada"), "forwarded", "and current again");
    }
}

#[test]
fn a_clock_that_was_ahead_for_a_while_lets_no_ended_session_in() {
    let process = process();
    let mut config = config();
    config["revocations"]["when_stale"] = json!("refuse");
    let [mut first, mut second] = [(); 2].map(|()| process.worker(&config).unwrap());
    feed(&mut first, &page(10, &["s-eve"], true));
    second.tick();
    // By this clock the token has ended, and its revocation with it.
    process.advance(Duration::from_secs(3600));
    feed(&mut first, &page(10, &[], false));
    second.tick();
    process.advance(Duration::from_secs(1));
    first.tick();
    assert_eq!(first.calls().count(), 1, "the long poll");
    process.set_time(START + 1);
    for worker in [&mut first, &mut second] {
        worker.tick();
        assert_eq!(send(worker, "eve"), "unavailable", "what is revoked is not known");
    }
    let newest = first.calls().last().unwrap().headers.get(":path").map(str::to_owned);
    assert_eq!(newest.as_deref(), Some("/v1/internal/revocations?wait=0"));
    // What was asked before says nothing of what was forgotten.
    first.answer(200, page(10, &[], false).to_string());
    assert_eq!(send(&mut first, "eve"), "unavailable");
    first.answer(200, page(10, &["s-eve"], true).to_string());
    second.tick();
    for worker in [&mut first, &mut second] {
        assert_eq!((send(worker, "eve"), send(worker, "ada")), ("revoked".into(), "forwarded".into()));
    }
}

#[test]
fn a_process_that_stood_still_asks_at_once_and_waits_for_no_answer_from_before() {
    let process = process();
    let mut edge = process.worker(&config()).unwrap();
    feed(&mut edge, &page(10, &[], true));
    process.advance(TICK);
    edge.tick();
    assert_eq!(edge.calls().count(), 1, "the long poll");
    process.advance(Duration::from_secs(300));
    edge.tick();
    assert_eq!(edge.calls().count(), 2);
    // Of the old question nothing comes any more, whatever is said.
    edge.answer(200, page(11, &["s-ada"], false).to_string());
    assert_eq!(send(&mut edge, "ada"), "forwarded");
    edge.answer(200, page(11, &["s-bob"], false).to_string());
    assert_eq!(send(&mut edge, "bob"), "revoked");
}

#[test]
fn an_entry_vanishes_when_its_tokens_have_and_size_and_age_are_gauges() {
    let process = process();
    let mut config = config();
    config["clock_skew"] = json!("30s");
    let mut edge = process.worker(&config).unwrap();
    feed(&mut edge, &page(10, &["s-eve", "s-bob"], true));
    edge.tick();
    assert_eq!(process.metric("countersign_revocations"), 2);
    let pass_to = |edge: &mut Worker, time: i64| {
        while edge.calls().next().is_some() {
            edge.answer(200, page(10, &[], false).to_string());
        }
        process.set_time(time);
        edge.tick();
        edge.tick();
    };
    pass_to(&mut edge, START + 929);
    assert_eq!(send(&mut edge, "eve"), "revoked", "tokens are taken a little after their end");
    assert_eq!(process.metric("countersign_revocations"), 2);
    pass_to(&mut edge, START + 940);
    assert_eq!(process.metric("countersign_revocations"), 0);
    assert_eq!(send(&mut edge, "eve"), "token_expired");
}

#[test]
fn a_thousand_more_than_what_is_passed_on_by_parts_reach_every_worker() {
    let process = process();
    let [mut first, mut second] = [(); 2].map(|()| process.worker(&config()).unwrap());
    feed(&mut first, &page(10, &[], true));
    second.tick();
    for round in 0..8_u64 {
        process.advance(TICK);
        let ids: Vec<_> = (0..300).map(|n| format!("s-{round}-{n}")).collect();
        let ids: Vec<_> = ids.iter().map(String::as_str).collect();
        feed(&mut first, &page(11 + round, &ids, false));
        if round % 2 == 1 {
            second.tick();
        }
    }
    let mut late = process.worker(&config()).unwrap();
    for worker in [&mut first, &mut second, &mut late] {
        for name in ["0-0", "3-299", "7-0", "7-299"] {
            assert_eq!(send(worker, name), "revoked", "{name}");
        }
        assert_eq!(send(worker, "8-0"), "forwarded");
    }
}

/// What a request with a remembered token costs: with a set, and with a large one.
#[test]
fn a_warm_request_costs_what_it_did() {
    let with = |config: Value, count: usize| {
        let process = process();
        let mut edge = process.worker(&config).unwrap();
        if count > 0 {
            let ids: Vec<_> = (0..count).map(|n| format!("s-{n}")).collect();
            let ids: Vec<_> = ids.iter().map(String::as_str).collect();
            feed(&mut edge, &page(10, &ids, true));
        }
        edge.tick();
        let request = Request::get("/api/x").bearer(user("ada"));
        edge.send(&request).upstream();
        let outcome = edge.send(&request);
        (outcome.cost, outcome.host_calls)
    };
    let (without, calls) = with(edge_config(), 0);
    for count in [1, 10_000] {
        let (cost, calls_with) = with(config(), count);
        assert_eq!(calls_with, calls);
        assert!(
            cost < without + without / 100,
            "{cost} instructions with {count} revocations, {without} without"
        );
    }
}

/// 100,000 of them in 16 MB, with the shared records beside.
#[test]
fn a_hundred_thousand_revocations_take_little_memory_and_a_page_of_them_little_time() {
    let process = Process::alone(countersign_tests::host::Build::Own);
    process.add_cluster("issuer-internal");
    process.set_env("COUNTERSIGN_SERVICE_TOKEN", TOKEN);
    let mut edge = process.worker(&config()).unwrap();
    let empty = edge.memory_bytes();
    edge.tick();
    for part in 0..20_u64 {
        let ids: Vec<_> =
            (0..5000).map(|n| format!("01940000-0000-7000-8000-{:012}", part * 5000 + n)).collect();
        let ids: Vec<_> = ids.iter().map(String::as_str).collect();
        let mut page = page(part + 1, &ids, part == 0);
        page["complete"] = json!(part == 19);
        edge.answer(200, page.to_string());
    }
    edge.tick();
    assert_eq!(process.metric("countersign_revocations"), 100_000);
    let shared: usize = process.shared_data().values().map(Vec::len).sum();
    let held = edge.memory_bytes() - empty + shared;
    assert!(held <= 16 << 20, "{held} bytes");
}
