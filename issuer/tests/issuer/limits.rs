//! How often one may fail: for an account and for a network, whoever asks and at whichever issuer.

use std::collections::BTreeSet;

use countersign_issuer::accounts::{self, Email};
use countersign_issuer::audit::Origin;
use countersign_issuer::limits;
use futures_util::future::join_all;
use http::{HeaderValue, StatusCode};
use serde_json::json;

use crate::factor::{Factor, events, verify, waiting};
use crate::stage::{Answer, Call, PASSWORD, Person, TestApp};

const ADA: &str = "ada@example.com";

fn login(app: &TestApp, email: &str, password: &str) -> Call {
    app.post("/v1/auth/login", json!({"email": email, "password": password}))
}

fn wrong(app: &TestApp, email: &str) -> Call {
    login(app, email, "wrong wrong wrong")
}

fn right(app: &TestApp, email: &str) -> Call {
    login(app, email, PASSWORD)
}

/// So many failures, none of which is one too many.
async fn fail(app: &TestApp, email: &str, times: usize) {
    for _ in 0..times {
        wrong(app, email).await.refused(401, "invalid_credentials");
    }
}

/// The seconds for which this is refused.
#[track_caller]
fn wait(answer: Answer) -> i64 {
    let answer = answer.refused(429, "rate_limited");
    assert!(!answer.headers.contains_key("www-authenticate"));
    answer.header("retry-after").parse().unwrap()
}

#[tokio::test]
async fn after_ten_failures_the_right_password_waits_and_then_comes_in() {
    let app = TestApp::new().await;
    app.registered(ADA).await;
    app.registered("bob@example.com").await;
    fail(&app, ADA, 10).await;
    assert_eq!(wait(right(&app, ADA).await), 30);
    assert_eq!(wait(wrong(&app, "ADA@Example.com ").await), 30);
    right(&app, "bob@example.com").await.expect(StatusCode::OK);
    app.pass(29);
    assert_eq!(wait(right(&app, ADA).await), 1);
    app.pass(1);
    right(&app, ADA).await.expect(StatusCode::OK);
    fail(&app, ADA, 9).await;
    right(&app, ADA).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn the_delay_grows_with_every_failure_to_a_quarter_of_an_hour_and_no_longer() {
    let app = TestApp::new().await;
    app.registered(ADA).await;
    fail(&app, ADA, 9).await;
    for expected in [30, 60, 120, 240, 480, 900, 900, 900] {
        fail(&app, ADA, 1).await;
        // Failing while it is locked makes it no longer.
        assert_eq!([wait(wrong(&app, ADA).await), wait(wrong(&app, ADA).await)], [expected, expected]);
        app.pass(expected);
    }
    right(&app, ADA).await.expect(StatusCode::OK);
    fail(&app, ADA, 9).await;
}

#[tokio::test]
async fn failures_that_are_far_apart_do_not_add_up() {
    let app = TestApp::new().await;
    app.registered(ADA).await;
    for _ in 0..3 {
        fail(&app, ADA, 9).await;
        app.pass(900);
    }
    right(&app, ADA).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_stranger_learns_nothing_about_an_account_from_its_limits() {
    let app = TestApp::new().await;
    app.registered(ADA).await;
    let bob = app.registered("bob@example.com").await;
    Factor::of(&app, &bob).await;
    app.registered("eve@example.com").await;
    app.deactivate("eve@example.com").await;
    let mut told = Vec::new();
    for email in [ADA, "bob@example.com", "eve@example.com", "nobody@example.com", "no address", "a\0@b"] {
        let mut answers = Vec::new();
        let hashed = app.app.hasher.figures().accepted.get();
        for _ in 0..13 {
            let mut answer = wrong(&app, email).await;
            answer.headers.remove("x-request-id");
            answers.push((answer.status, answer.body, answer.headers));
        }
        // The time that an answer takes is that of a hash, locked or not.
        assert_eq!(app.app.hasher.figures().accepted.get() - hashed, 13, "{email}");
        told.push(answers);
    }
    assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{told:?}");
    assert_eq!(told[0][9].0, StatusCode::UNAUTHORIZED);
    assert_eq!(told[0][10].0, StatusCode::TOO_MANY_REQUESTS);
    // Nor from the right password, as long as it is locked.
    assert_eq!(wait(right(&app, ADA).await), 30);
    assert_eq!(wait(right(&app, "eve@example.com").await), 30);
    // Not even from one that will be hashed again.
    let app = app.restarted(|settings| settings.hashing.passes = 2).await;
    assert_eq!(wait(right(&app, ADA).await), 30);
    assert_eq!(app.app.hasher.figures().accepted.get(), 1);
    app.pass(30);
    right(&app, ADA).await.expect(StatusCode::OK);
    assert_eq!(app.app.hasher.figures().accepted.get(), 3);
}

#[tokio::test]
async fn the_owner_with_a_second_factor_comes_in_whoever_fails_on_purpose() {
    let app = TestApp::new().await;
    let ada = app.registered(ADA).await;
    let factor = Factor::of(&app, &ada).await;
    fail(&app, ADA, 10).await;
    assert_eq!(wait(wrong(&app, ADA).await), 30);
    let token = waiting(&app, ADA).await;
    // The password alone unlocks nothing.
    assert_eq!(wait(wrong(&app, ADA).await), 30);
    verify(&app, &token, &factor.code(&app)).await.expect(StatusCode::OK);
    let unlocked = events(&app, "account_unlocked").await;
    assert_eq!(unlocked, [("success".into(), Some("issuer".into()), Some(ada.id))]);
    fail(&app, ADA, 1).await;
}

const HOME: &str = "192.0.2.7:5000";
const ELSEWHERE: &str = "198.51.100.7:5000";

#[tokio::test]
async fn the_owner_comes_in_from_where_they_were_before_whoever_fails_elsewhere() {
    let app = TestApp::new().await;
    app.registered(ADA).await;
    let ada = Person::from(&right(&app, ADA).from(HOME).await.expect(StatusCode::OK));
    // As often as it can be done, until every lock is a quarter of an hour.
    for _ in 0..9 {
        wrong(&app, ADA).from(ELSEWHERE).await.refused(401, "invalid_credentials");
    }
    for delay in [30, 60, 120, 240, 480, 900] {
        wrong(&app, ADA).from(ELSEWHERE).await.refused(401, "invalid_credentials");
        assert_eq!(wait(right(&app, ADA).from(ELSEWHERE).await), delay);
        if delay < 900 {
            app.pass(delay);
        }
    }
    // Another program at home is as strange as another place; and a wrong password is refused as everywhere.
    assert_eq!(wait(right(&app, ADA).from(HOME).header("user-agent", "curl/8.5.0").await), 900);
    assert_eq!(wait(wrong(&app, ADA).from(HOME).await), 900);
    let refreshed = app.refresh(&ada.refresh_token).await.expect(StatusCode::OK).json();
    let change = |from: &str| {
        let body = json!({"current_password": PASSWORD, "password": "velvet-tundra-adagio-31"});
        let call = app.post("/v1/auth/password/change", body).from(from);
        call.bearer(refreshed["access_token"].as_str().unwrap())
    };
    assert_eq!(wait(change(ELSEWHERE).await), 900);
    change(HOME).await.expect(StatusCode::NO_CONTENT);
    login(&app, ADA, "velvet-tundra-adagio-31").from("192.0.2.8:5000").await.expect(StatusCode::OK);
    let unlocked = events(&app, "account_unlocked").await;
    assert_eq!(unlocked, [("success".into(), Some("issuer".into()), Some(ada.id))]);
    fail(&app, ADA, 1).await;
}

#[tokio::test]
async fn whoever_guesses_where_the_owner_was_before_is_stopped_there_too_and_learns_nothing() {
    let app = TestApp::with("", |settings| settings.limits.failures_per_address = 1000).await;
    app.registered(ADA).await;
    right(&app, ADA).from(HOME).await.expect(StatusCode::OK);
    let mut told = Vec::new();
    for email in [ADA, "nobody@example.com"] {
        let mut answers = Vec::new();
        for _ in 0..20 {
            let mut answer = wrong(&app, email).from(HOME).await;
            answer.headers.remove("x-request-id");
            answers.push((answer.status, answer.body, answer.headers));
        }
        told.push(answers);
    }
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0].iter().filter(|answer| answer.0 == StatusCode::UNAUTHORIZED).count(), 10);
    // Ten until it was locked, and ten since: another address of that network is no other device.
    assert_eq!(wait(right(&app, ADA).from("192.0.2.8:5000").await), 30);
    app.pass(30);
    right(&app, ADA).from(HOME).await.expect(StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_guesses_at_once_ten_are_looked_at() {
    let app = TestApp::with("", |settings| settings.hashing.queue = 200).await;
    let other = app.beside().await;
    app.registered(ADA).await;
    let guesses = (0..100).map(|n| wrong(if n % 2 == 0 { &app } else { &other }, ADA).into_future());
    let answers = join_all(guesses).await;
    let count = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(StatusCode::UNAUTHORIZED), count(StatusCode::TOO_MANY_REQUESTS)), (10, 90));
    assert_eq!(wait(right(&app, ADA).await), 30);
}

#[tokio::test]
async fn failures_are_counted_for_all_issuers_and_outlive_a_restart() {
    let app = TestApp::new().await;
    let other = app.beside().await;
    app.registered(ADA).await;
    fail(&app, ADA, 5).await;
    fail(&other, ADA, 4).await;
    let app = app.restarted(|_| ()).await;
    fail(&app, ADA, 1).await;
    assert_eq!((wait(right(&app, ADA).await), wait(right(&other, ADA).await)), (30, 30));
}

#[tokio::test]
async fn a_network_that_fails_at_fifty_accounts_is_refused_before_it_costs_anything() {
    let app = TestApp::new().await;
    app.registered(ADA).await;
    for n in 0..50 {
        let call = wrong(&app, &format!("u{n}@example.com")).from("198.51.100.7:5000");
        call.await.refused(401, "invalid_credentials");
    }
    let (hashed, told) = (
        app.app.hasher.figures().accepted.get(),
        app.value::<i64>("SELECT COUNT(*) FROM audit_events").await,
    );
    assert_eq!(wait(right(&app, ADA).from("198.51.100.7:6000").await), 30);
    assert_eq!(app.app.hasher.figures().accepted.get(), hashed);
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM audit_events").await, told);
    assert_eq!(events(&app, "login_blocked").await, [("failure".into(), None, None)]);
    right(&app, ADA).from("198.51.100.8:5000").await.expect(StatusCode::OK);
    app.pass(30);
    right(&app, ADA).from("198.51.100.7:5000").await.expect(StatusCode::OK);
    // One's own success does not make room for more failures at others'.
    wrong(&app, ADA).from("198.51.100.7:5000").await.refused(401, "invalid_credentials");
    assert_eq!(wait(right(&app, ADA).from("198.51.100.7:5000").await), 60);
}

#[tokio::test]
async fn attempts_at_a_locked_account_count_for_the_network() {
    let app = TestApp::with("", |settings| settings.limits.failures_per_address = 15).await;
    for n in 0..15 {
        let answer = wrong(&app, ADA).from("198.51.100.7:5000").await;
        assert_eq!(answer.status == StatusCode::UNAUTHORIZED, n < 10, "{n}");
    }
    let hashed = app.app.hasher.figures().accepted.get();
    wait(wrong(&app, "bob@example.com").from("198.51.100.7:5000").await);
    assert_eq!(app.app.hasher.figures().accepted.get(), hashed);
}

#[tokio::test]
async fn no_header_gives_a_client_another_address() {
    let app = TestApp::with("", |settings| settings.limits.failures_per_address = 5).await;
    let attempt = |n: usize, peer: &str, forwarded: &str| {
        wrong(&app, &format!("u{n}@example.com"))
            .header("x-forwarded-for", &forwarded.replace("{n}", &n.to_string()))
            .header("x-real-ip", &format!("203.0.113.{n}"))
            .header("forwarded", &format!("for=203.0.113.{n}"))
            .from(peer)
    };
    // A stranger who pretends to be a proxy; then one behind ours, who says that there were others before.
    for (peer, forwarded) in [
        ("198.51.100.7:5000", "203.0.113.{n}"),
        ("127.0.0.1:5000", "203.0.113.{n}, 198.51.100.8"),
        ("127.0.0.1:5000", "2001:db8:{n}::1, 2001:db8:ffff:1:{n}::7"),
    ] {
        for n in 0..5 {
            attempt(n, peer, forwarded).await.refused(401, "invalid_credentials");
        }
        for n in 5..8 {
            wait(attempt(n, peer, forwarded).await);
        }
    }
    // Not even one that is no text, behind which our proxy writes whom it saw.
    let garbled = HeaderValue::from_bytes(b"\xff, 198.51.100.8").unwrap();
    let call = wrong(&app, "u9@example.com").value("x-forwarded-for", garbled).from("127.0.0.1:5000");
    wait(call.await);
    attempt(9, "127.0.0.1:5000", "203.0.113.{n}, 198.51.100.9").await.refused(401, "invalid_credentials");
    attempt(9, "127.0.0.1:5000", "2001:db8:ffff:2::7").await.refused(401, "invalid_credentials");
}

#[tokio::test]
async fn who_may_unlocks_an_account() {
    let app = TestApp::new().await;
    let ada = app.registered(ADA).await;
    fail(&app, ADA, 10).await;
    wait(right(&app, ADA).await);
    let unlock = async || {
        let email = Email::parse(ADA).unwrap();
        let (user, _) = accounts::store::find_for_login(app.app.db.reads(), &email).await.unwrap().unwrap();
        let limits = app.app.limits.clone();
        let work = app.app.db.write(async move |tx| limits.unlock(tx, &user, &Origin::command()).await);
        work.await.unwrap()
    };
    assert!(unlock().await);
    assert!(!unlock().await);
    right(&app, ADA).await.expect(StatusCode::OK);
    let told = events(&app, "account_unlocked").await;
    assert_eq!(told, [("success".into(), Some("operator".into()), Some(ada.id))]);
}

#[tokio::test]
async fn every_failure_is_written_down_with_the_account_if_there_is_one() {
    let app = TestApp::new().await;
    let ada = app.registered(ADA).await;
    for (email, subject) in [(ADA, Some(ada.id)), ("nobody@example.com", None)] {
        app.execute("DELETE FROM audit_events").await;
        fail(&app, email, 10).await;
        wait(wrong(&app, email).await);
        let failure = ("failure".to_owned(), None, subject.clone());
        assert_eq!(events(&app, "login_failed").await, vec![failure.clone(); 10]);
        assert_eq!(events(&app, "login_blocked").await, vec![failure]);
        assert_eq!(events(&app, "account_locked").await, [("success".into(), None, subject)]);
    }
}

#[tokio::test]
async fn the_table_tells_nobodys_address_and_is_swept() {
    let app = TestApp::new().await;
    app.registered(ADA).await;
    wrong(&app, ADA).from("198.51.100.7:5000").await.refused(401, "invalid_credentials");
    let counters: Vec<String> =
        sqlx::query_scalar("SELECT counter FROM failures").fetch_all(app.app.db.reads()).await.unwrap();
    assert_eq!(counters.iter().collect::<BTreeSet<_>>().len(), 2);
    assert!(counters.iter().all(|id| id.len() == 32 && !id.contains("ada") && !id.contains("198")));
    fail(&app, "nobody@example.com", 1).await;
    for (passed, left) in [(899, 3), (1, 0)] {
        app.pass(passed);
        limits::sweep(&app.app.db).await.unwrap();
        assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM failures").await, left);
    }
}

#[tokio::test]
async fn a_clock_set_back_locks_nobody_out_for_longer() {
    let app = TestApp::new().await;
    app.registered(ADA).await;
    fail(&app, ADA, 10).await;
    app.clock.set(app.clock.now().minus(7_200));
    right(&app, ADA).await.expect(StatusCode::OK);
}
