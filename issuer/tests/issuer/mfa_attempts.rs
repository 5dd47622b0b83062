//! Codes that are tried: often, too late, at the same time, at another issuer, by those who should not.

use base64ct::{Base64UrlUnpadded, Encoding as _};
use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::json;

use crate::factor::{BACKUP_CODES, DISABLE, Factor, events, verify, waiting};
use crate::stage::{Answer, TestApp};

const ADA: &str = "ada@example.com";

async fn with_factor() -> (TestApp, Factor) {
    let app = TestApp::new().await;
    let ada = app.registered(ADA).await;
    let factor = Factor::of(&app, &ada).await;
    (app, factor)
}

#[tokio::test]
async fn a_code_is_good_once_and_none_before_it_after_it() {
    let (app, factor) = with_factor().await;
    let now = app.clock.now().seconds();
    verify(&app, &waiting(&app, ADA).await, &factor.code_at(now)).await.expect(StatusCode::OK);
    let token = waiting(&app, ADA).await;
    verify(&app, &token, &factor.code_at(now)).await.refused(403, "wrong_code");
    verify(&app, &token, &factor.code_at(now + 30)).await.expect(StatusCode::OK);
    let token = waiting(&app, ADA).await;
    for used in [now - 30, now, now + 30] {
        verify(&app, &token, &factor.code_at(used)).await.refused(403, "wrong_code");
    }
    app.pass(30);
    verify(&app, &token, &factor.code_at(now + 60)).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_code_is_good_for_one_step_before_and_after_its_own() {
    let (app, factor) = with_factor().await;
    // The clock stands at the first second of a step.
    let step = app.clock.now().seconds() + 300;
    assert_eq!(step % 30, 0);
    let mut step = step;
    for (distance, good) in [(-31, false), (-30, true), (0, true), (29, true), (59, true), (60, false)] {
        app.clock.set(countersign_issuer::ambient::UnixTime::from_seconds(step + distance));
        let answer = verify(&app, &waiting(&app, ADA).await, &factor.code_at(step)).await;
        assert_eq!(answer.status == StatusCode::OK, good, "{distance}");
        step += 300;
    }
}

#[tokio::test]
async fn a_clock_set_back_lets_no_used_code_in() {
    let (app, factor) = with_factor().await;
    let now = app.clock.now();
    verify(&app, &waiting(&app, ADA).await, &factor.code(&app)).await.expect(StatusCode::OK);
    app.clock.set(now.minus(600));
    verify(&app, &waiting(&app, ADA).await, &factor.code(&app)).await.refused(403, "wrong_code");
    // Whoever is waiting for the clock to come round has the backup codes.
    verify(&app, &waiting(&app, ADA).await, &factor.backup_codes[0]).await.expect(StatusCode::OK);
}

/// How many of these answers are of a status.
fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status.as_u16() == status).count()
}

/// A hundred waiting logins of Ada.
async fn hundred(app: &TestApp) -> Vec<String> {
    let mut tokens = Vec::new();
    for _ in 0..100 {
        tokens.push(waiting(app, ADA).await);
    }
    tokens
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_who_show_one_code_at_once_one_comes_in() {
    let (app, factor) = with_factor().await;
    let other = app.beside().await;
    for code in [factor.code(&app), factor.backup_codes[0].clone()] {
        let tokens = hundred(&app).await;
        let calls = tokens
            .iter()
            .enumerate()
            .map(|(n, token)| verify(if n % 2 == 0 { &app } else { &other }, token, &code).into_future());
        let answers = join_all(calls).await;
        assert_eq!(count(&answers, 200), 1, "{answers:?}");
        assert_eq!(count(&answers, 403) + count(&answers, 429), 99);
        // The next kind of code finds the account unlocked.
        app.pass(3_600);
    }
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM backup_codes").await, 9);
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM sessions").await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_waiting_login_is_finished_once_and_tried_five_times_however_many_try() {
    let (app, factor) = with_factor().await;
    let (right, wrong) = (factor.code(&app), factor.wrong(&app));
    let token = waiting(&app, ADA).await;
    let answers = join_all((0..100).map(|_| verify(&app, &token, &wrong).into_future())).await;
    assert_eq!((count(&answers, 403), count(&answers, 401)), (5, 95));
    verify(&app, &token, &right).await.refused(401, "login_expired");
    let token = waiting(&app, ADA).await;
    let answers = join_all((0..100).map(|_| verify(&app, &token, &right).into_future())).await;
    assert_eq!((count(&answers, 200), count(&answers, 401) + count(&answers, 403)), (1, 99));
}

#[tokio::test]
async fn the_sixth_code_is_not_looked_at_and_malformed_ones_do_not_count() {
    let (app, factor) = with_factor().await;
    let token = waiting(&app, ADA).await;
    for _ in 0..5 {
        for malformed in ["", "12345", "12345a", "1234567"] {
            assert_eq!(verify(&app, &token, malformed).await.invalid_fields(), ["code"]);
        }
        verify(&app, &token, &factor.wrong(&app)).await.refused(403, "wrong_code");
    }
    verify(&app, &token, &factor.code(&app)).await.refused(401, "login_expired");
    assert_eq!(events(&app, "mfa_failed").await.len(), 5);
    verify(&app, &waiting(&app, ADA).await, &factor.code(&app)).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_login_waits_five_minutes_and_is_then_forgotten() {
    let (app, factor) = with_factor().await;
    let token = waiting(&app, ADA).await;
    let late = waiting(&app, ADA).await;
    app.pass(299);
    verify(&app, &token, &factor.code(&app)).await.expect(StatusCode::OK);
    verify(&app, &token, &factor.backup_codes[0]).await.refused(401, "login_expired");
    app.pass(1);
    verify(&app, &late, &factor.backup_codes[0]).await.refused(401, "login_expired");
    countersign_issuer::login::sweep(&app.app.db).await.unwrap();
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM waiting_logins").await, 0);
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM backup_codes").await, 10);
}

#[tokio::test]
async fn a_login_is_finished_at_whichever_issuer() {
    let (app, factor) = with_factor().await;
    let other = app.beside().await;
    let token = waiting(&app, ADA).await;
    verify(&other, &token, &factor.wrong(&app)).await.refused(403, "wrong_code");
    verify(&other, &token, &factor.code(&app)).await.expect(StatusCode::OK);
    verify(&app, &token, &factor.backup_codes[0]).await.refused(401, "login_expired");
}

#[tokio::test]
async fn what_ends_logins_ends_those_that_wait() {
    let (app, factor) = with_factor().await;
    let person = verify(&app, &waiting(&app, ADA).await, &factor.code(&app)).await.expect(StatusCode::OK);
    let bearer = person.json()["access_token"].as_str().unwrap().to_owned();
    let token = waiting(&app, ADA).await;
    app.post("/v1/auth/logout", json!({"all_devices": true}))
        .bearer(&bearer)
        .await
        .expect(StatusCode::NO_CONTENT);
    verify(&app, &token, &factor.backup_codes[0]).await.refused(401, "login_expired");
    let token = waiting(&app, ADA).await;
    app.deactivate(ADA).await;
    verify(&app, &token, &factor.backup_codes[0]).await.refused(401, "login_expired");
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM backup_codes").await, 10);
}

#[tokio::test]
async fn a_token_that_was_guessed_or_changed_finishes_nothing() {
    let (app, factor) = with_factor().await;
    let token = waiting(&app, ADA).await;
    let mut changed = Base64UrlUnpadded::decode_vec(&token).unwrap();
    changed[0] ^= 1;
    for other in [&Base64UrlUnpadded::encode_string(&changed), &token[..42], "", " ", "' OR 1=1 --"] {
        let answer = verify(&app, other, &factor.code(&app)).await;
        assert_ne!(answer.status, StatusCode::OK, "{other}");
    }
    verify(&app, &token, &factor.code(&app)).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn too_many_wrong_codes_lock_the_codes_and_not_the_password() {
    let (app, factor) = with_factor().await;
    for _ in 0..2 {
        let token = waiting(&app, ADA).await;
        for _ in 0..5 {
            verify(&app, &token, &factor.wrong(&app)).await.refused(403, "wrong_code");
        }
    }
    let token = waiting(&app, ADA).await;
    for _ in 0..7 {
        // Not looked at, and so not one of the five.
        let answer = verify(&app, &token, &factor.code(&app)).await.refused(429, "rate_limited");
        assert_eq!(answer.header("retry-after"), "30");
    }
    app.pass(30);
    verify(&app, &token, &factor.code(&app)).await.expect(StatusCode::OK);
    let told = [events(&app, "account_locked").await.len(), events(&app, "account_unlocked").await.len()];
    assert_eq!(told, [1, 1]);
}

#[tokio::test]
async fn codes_shown_from_within_are_counted_too() {
    let app = TestApp::new().await;
    let ada = app.registered(ADA).await;
    let factor = Factor::of(&app, &ada).await;
    for n in 0..10 {
        let path = [DISABLE, BACKUP_CODES][n % 2];
        app.post(path, json!({"code": factor.wrong(&app)})).by(&ada).await.refused(403, "wrong_code");
    }
    for path in [DISABLE, BACKUP_CODES] {
        let call = app.post(path, json!({"code": factor.code(&app)})).by(&ada);
        assert_eq!(call.await.refused(429, "rate_limited").header("retry-after"), "30");
    }
    verify(&app, &waiting(&app, ADA).await, &factor.code(&app)).await.refused(429, "rate_limited");
    app.call(Method::GET, "/v1/users/me").by(&ada).await.expect(StatusCode::OK);
}
