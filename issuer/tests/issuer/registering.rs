//! How many accounts one may ask for from one network, whoever asks, by whichever route and at whichever issuer.

use futures_util::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};

use crate::factor::events;
use crate::letters::VERIFY;
use crate::stage::{Answer, COMPAT, Call, PASSWORD, TestApp};

const REGISTER: &str = "/v1/auth/register";
const PEER: &str = "198.51.100.7:5000";

fn body(n: usize) -> Value {
    json!({"email": format!("u{n}@example.com"), "password": PASSWORD, "name": "Some One"})
}

fn register(app: &TestApp, n: usize) -> Call {
    app.post(REGISTER, body(n)).from(PEER)
}

/// The seconds for which this is refused.
#[track_caller]
fn wait(answer: Answer) -> i64 {
    answer.refused(429, "rate_limited").header("retry-after").parse().unwrap()
}

/// As many as a network may in an hour.
async fn twenty(app: &TestApp) {
    for n in 0..20 {
        register(app, n).await.expect(StatusCode::CREATED);
    }
}

fn hashed(app: &TestApp) -> u64 {
    app.app.hasher.figures().accepted.get()
}

#[tokio::test]
async fn a_network_that_registers_too_often_is_refused_before_it_costs_anything() {
    let app = TestApp::new().await;
    twenty(&app).await;
    let before = (hashed(&app), app.value::<i64>("SELECT COUNT(*) FROM audit_events").await);
    assert_eq!(wait(register(&app, 20).await), 30);
    // What cannot be an account at all is told first, at no cost.
    app.post(REGISTER, json!({})).from(PEER).await.invalid_fields();
    assert_eq!((hashed(&app), app.value::<i64>("SELECT COUNT(*) FROM audit_events").await), before);
    app.post(REGISTER, body(21)).from("198.51.100.8:5000").await.expect(StatusCode::CREATED);
    // Who has an account comes in.
    let login = json!({"email": "u0@example.com", "password": PASSWORD});
    app.post("/v1/auth/login", login).from(PEER).await.expect(StatusCode::OK);
    // Then one at a time, and less and less often.
    for (n, wait_after) in [(22, 60), (23, 120), (24, 240), (25, 480), (26, 900), (27, 900)] {
        app.pass(wait_after);
        register(&app, n).await.expect(StatusCode::CREATED);
        assert_eq!(wait(register(&app, 50).await), wait_after);
    }
    app.pass(900 + 3600);
    for n in 60..79 {
        register(&app, n).await.expect(StatusCode::CREATED);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_registrations_at_once_at_two_issuers_twenty_are_looked_at() {
    let one = TestApp::with("", |settings| settings.hashing.queue = 200).await;
    let two = one.beside().await;
    let calls = (0..100).map(|n| register(if n % 2 == 0 { &one } else { &two }, n).into_future());
    let answers = join_all(calls).await;
    let count = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(StatusCode::CREATED), count(StatusCode::TOO_MANY_REQUESTS)), (20, 80));
    // Each is judged and hashed.
    assert_eq!(hashed(&one) + hashed(&two), 40);
    assert_eq!(events(&one, "registered").await.len(), 20);
    let (one, two) = (one.restarted(|_| ()).await, two);
    assert_eq!((wait(register(&one, 0).await), wait(register(&two, 0).await)), (30, 30));
}

#[tokio::test]
async fn whatever_comes_of_it_counts_and_what_is_refused_at_once_does_not() {
    let app = TestApp::new().await;
    for _ in 0..30 {
        let body = json!({"email": "no address", "password": "short", "name": ""});
        app.post(REGISTER, body).from(PEER).await.invalid_fields();
    }
    register(&app, 0).await.expect(StatusCode::CREATED);
    // Finding out who has an account is limited by this, too.
    for _ in 0..9 {
        register(&app, 0).await.refused(409, "email_taken");
    }
    for _ in 0..10 {
        let body = json!({"email": "ada@example.com", "password": "password1234", "name": "Ada"});
        app.post(REGISTER, body).from(PEER).await.invalid_fields();
    }
    assert_eq!(wait(register(&app, 1).await), 30);
}

#[tokio::test]
async fn every_route_and_every_address_of_a_64_counts_together_and_no_header_helps() {
    let app = TestApp::with(&format!("{COMPAT}{VERIFY}"), |settings| {
        settings.limits.registrations_per_address = 3;
    })
    .await;
    let routes = [(REGISTER, 202), ("/api/auth/register", 403), ("/api/auth/email/register", 403)];
    for (case, peers) in [
        ["198.51.100.7:5000"; 4],
        ["[2001:db8::1]:5000", "[2001:db8::2]:5000", "[2001:db8::ffff:1]:1", "[2001:db8::8:0:0:1]:1"],
        ["127.0.0.1:5000"; 4],
    ]
    .into_iter()
    .enumerate()
    {
        let call = |n: usize, path: &str| {
            // Behind our proxy, who says whom it saw; what the client says itself stands before that.
            let forwarded = format!("203.0.113.{n}, 198.51.100.9");
            let call = app.post(path, body(100 * case + n)).from(peers[n]);
            call.header("x-forwarded-for", &forwarded).header("x-real-ip", &format!("203.0.113.{n}"))
        };
        for (n, (path, status)) in routes.into_iter().enumerate() {
            assert_eq!(call(n, path).await.status.as_u16(), status, "{case} {path}");
        }
        for (path, _) in routes {
            assert_eq!(wait(call(3, path).await), 30, "{case} {path}");
        }
    }
    let other = app.post(REGISTER, body(1000)).from("[2001:db8:0:1::1]:5000");
    other.await.expect(StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_stranger_sees_no_difference_between_addresses_when_it_is_too_often() {
    let app = TestApp::with(VERIFY, |settings| settings.limits.registrations_per_address = 2).await;
    for _ in 0..2 {
        register(&app, 0).await.expect(StatusCode::ACCEPTED);
    }
    let mut answers = Vec::new();
    for n in [0, 1] {
        let mut answer = register(&app, n).await;
        answer.headers.remove("x-request-id");
        answers.push((answer.status, answer.headers, answer.body));
    }
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test]
async fn a_clock_set_back_keeps_nobody_from_registering() {
    let app = TestApp::new().await;
    twenty(&app).await;
    wait(register(&app, 20).await);
    app.clock.set(app.clock.now().minus(86_400));
    register(&app, 21).await.expect(StatusCode::CREATED);
}
