//! What brokers say about credentials, and what comes of brokers that misbehave.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use super::{ENCRYPTION, Ticker, alpaca, but, kite, link, linked, listed, rotate, verify};
use crate::broker_stand_in::{ALPACA_SECRET, KITE_SECRET, KITE_TOKEN, Manner, REQUEST_TOKEN, StandIn};
use crate::stage::TestApp;

/// Long enough for any machine, and short enough for a test that fails.
const PATIENCE: Duration = Duration::from_secs(20);

async fn stage() -> (TestApp, StandIn) {
    stage_with(1000).await
}

/// With so many attempts in a minute for each user.
async fn stage_with(attempts: u32) -> (TestApp, StandIn) {
    let stand_in = StandIn::start().await;
    let lines = format!("{ENCRYPTION}{}attempts_per_minute = {attempts}\n", stand_in.config());
    (TestApp::with(&lines, |_| ()).await, stand_in)
}

fn token() -> Value {
    json!({"request_token": REQUEST_TOKEN})
}

#[tokio::test]
async fn a_request_token_proves_kites_credentials_and_brings_an_access_token_with_an_end() {
    let (app, stand_in) = stage().await;
    let ticker = Ticker::of(&app).await;
    let ada = app.registered("ada@example.com").await;
    let id = linked(&app, &ada, kite()).await;
    // Without one there is nothing to ask.
    let unasked = verify(&app, &ada, &id, json!({})).await.expect(StatusCode::OK).json();
    assert_eq!((&unasked["verified_at"], stand_in.asked()), (&Value::Null, 0));
    app.pass(5);
    let verified = verify(&app, &ada, &id, token()).await.expect(StatusCode::OK).json();
    assert_eq!(verified["status"], "active");
    assert_eq!(verified["verified_at"], "2026-11-20T12:00:05Z");
    // Six in the morning in India.
    assert_eq!(verified["access_token_expires_at"], "2026-11-21T00:30:00Z");
    let read = ticker.read(&id).await.expect(StatusCode::OK).json();
    assert_eq!(read["access_token"], KITE_TOKEN);
    assert_eq!(read["access_token_expires_at"], "2026-11-21T00:30:00Z");
    assert_eq!(read["api_secret"], KITE_SECRET);
    app.pass(12 * 3600 + 30 * 60 - 5);
    let read = ticker.read(&id).await.expect(StatusCode::OK).json();
    assert_eq!((&read["access_token"], &read["api_secret"]), (&Value::Null, &json!(KITE_SECRET)));
    let told = "SELECT COUNT(*) FROM audit_events WHERE type = 'trading_account_verified'";
    assert_eq!(app.value::<i64>(told).await, 1);
}

#[tokio::test]
async fn an_account_is_pending_until_its_broker_says_yes() {
    let (app, _stand_in) = stage().await;
    let ticker = Ticker::of(&app).await;
    let ada = app.registered("ada@example.com").await;
    let id = linked(&app, &ada, alpaca()).await;
    ticker.read(&id).await.refused(409, "trading_account_not_active");
    let verified = verify(&app, &ada, &id, json!({})).await.expect(StatusCode::OK).json();
    assert_eq!((&verified["status"], &verified["verified_at"]), (&json!("active"), &verified["updated_at"]));
    assert_eq!(ticker.read(&id).await.expect(StatusCode::OK).json()["api_secret"], ALPACA_SECRET);
}

#[tokio::test]
async fn credentials_that_the_broker_refuses_make_an_account_invalid() {
    let (app, _stand_in) = stage().await;
    let ticker = Ticker::of(&app).await;
    let wrong = [
        but(alpaca(), "api_secret", json!("wrong")),
        but(alpaca(), "api_key", json!("wrong")),
        // Good ones, of another account.
        but(alpaca(), "user_id_broker", json!("PA7654321")),
        but(kite(), "api_key", json!("wrong")),
        but(kite(), "api_secret", json!("wrong")),
        but(kite(), "user_id_broker", json!("CD5678")),
    ];
    for (n, body) in wrong.into_iter().enumerate() {
        let ada = app.registered(&format!("{n}@example.com")).await;
        let id = linked(&app, &ada, body.clone()).await;
        let judged = verify(&app, &ada, &id, token()).await.expect(StatusCode::OK).json();
        assert_eq!((&judged["status"], &judged["verified_at"]), (&json!("invalid"), &Value::Null), "{body}");
        ticker.read(&id).await.refused(409, "trading_account_not_active");
        // Others in their place help.
        let right = if body["broker"] == "kite" { kite() } else { alpaca() };
        if body["user_id_broker"] == right["user_id_broker"] {
            let right = but(right, "request_token", json!(REQUEST_TOKEN));
            let rotated = rotate(&app, &ada, &id, right).await.expect(StatusCode::OK).json();
            assert_eq!(rotated["status"], "active", "{body}");
            ticker.read(&id).await.expect(StatusCode::OK);
        }
    }
    let told =
        "SELECT COUNT(*) FROM audit_events WHERE type = 'trading_account_refused' AND outcome = 'failure'";
    assert_eq!(app.value::<i64>(told).await, 6);
}

#[tokio::test]
async fn a_request_token_that_is_refused_says_nothing_about_the_credentials() {
    let (app, _stand_in) = stage().await;
    let ada = app.registered("ada@example.com").await;
    let id = linked(&app, &ada, kite()).await;
    let old = json!({"request_token": "an-old-one"});
    assert_eq!(verify(&app, &ada, &id, old).await.invalid_fields(), ["request_token"]);
    assert_eq!(listed(&app, &ada).await[0]["status"], "active");
}

#[tokio::test]
async fn the_old_credentials_stay_in_force_until_the_new_ones_are_proved() {
    let (app, stand_in) = stage().await;
    let ticker = Ticker::of(&app).await;
    let ada = app.registered("ada@example.com").await;
    let id = linked(&app, &ada, alpaca()).await;
    verify(&app, &ada, &id, json!({})).await.expect(StatusCode::OK);
    let before = listed(&app, &ada).await;
    let wrong = but(alpaca(), "api_secret", json!("wrong"));
    assert_eq!(rotate(&app, &ada, &id, wrong).await.invalid_fields(), ["api_key"]);
    stand_in.behave(Manner::Status(502));
    rotate(&app, &ada, &id, alpaca()).await.refused(503, "broker_unavailable");
    assert_eq!(listed(&app, &ada).await, before);
    assert_eq!(ticker.read(&id).await.json()["api_secret"], ALPACA_SECRET);
    stand_in.behave(Manner::Well);
    app.pass(60);
    let rotated = rotate(&app, &ada, &id, alpaca()).await.expect(StatusCode::OK).json();
    assert_eq!((&rotated["status"], &rotated["verified_at"]), (&json!("active"), &rotated["updated_at"]));
}

#[tokio::test]
async fn what_a_broker_says_about_credentials_that_were_replaced_meanwhile_changes_nothing() {
    let (app, stand_in) = stage().await;
    let ticker = Ticker::of(&app).await;
    let ada = app.registered("ada@example.com").await;
    let id = linked(&app, &ada, but(kite(), "api_secret", json!("wrong"))).await;
    stand_in.behave(Manner::Slow);
    let asking = tokio::spawn(verify(&app, &ada, &id, token()).into_future());
    stand_in.arrived().await;
    let rotated = rotate(&app, &ada, &id, kite()).await.expect(StatusCode::OK).json();
    stand_in.go_on();
    asking.await.unwrap().refused(503, "busy");
    assert_eq!(listed(&app, &ada).await, [rotated]);
    assert_eq!(ticker.read(&id).await.json()["api_secret"], KITE_SECRET);
}

#[tokio::test]
async fn what_a_broker_gives_once_is_kept_though_nobody_waits_for_it_any_more() {
    let (app, stand_in) = stage().await;
    let ticker = Ticker::of(&app).await;
    let ada = app.registered("ada@example.com").await;
    let id = linked(&app, &ada, kite()).await;
    stand_in.behave(Manner::Slow);
    let asking = tokio::spawn(verify(&app, &ada, &id, token()).into_future());
    stand_in.arrived().await;
    // As a caller that hangs up, or a call whose time is over.
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    stand_in.go_on();
    let kept = async {
        while listed(&app, &ada).await[0]["verified_at"].is_null() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, kept).await.expect("the access token is lost");
    assert_eq!(ticker.read(&id).await.expect(StatusCode::OK).json()["access_token"], KITE_TOKEN);
}

#[tokio::test]
async fn a_broker_that_has_enough_is_left_alone_for_as_long_as_it_says() {
    let (app, stand_in) = stage().await;
    let ada = app.registered("ada@example.com").await;
    let bob = app.registered("bob@example.com").await;
    for body in [kite(), alpaca()] {
        stand_in.behave(Manner::Limited);
        let ids = [linked(&app, &ada, body.clone()).await, linked(&app, &bob, body).await];
        let wait = async || {
            let answer = verify(&app, &ada, &ids[0], token()).await.refused(429, "rate_limited");
            answer.header("retry-after").to_owned()
        };
        assert_eq!(wait().await, "17");
        let asked = stand_in.asked();
        stand_in.behave(Manner::Well);
        app.pass(7);
        assert_eq!((wait().await.as_str(), stand_in.asked()), ("10", asked));
        // It may be that one key was asked about too often, which is no reason for others to wait.
        verify(&app, &bob, &ids[1], token()).await.expect(StatusCode::OK);
        app.pass(10);
        verify(&app, &ada, &ids[0], token()).await.expect(StatusCode::OK);
    }
}

#[tokio::test]
async fn one_user_asks_so_often_in_a_minute_and_keeps_nobody_else_out() {
    let (app, stand_in) = stage_with(3).await;
    let (ada, bob) = (app.registered("ada@example.com").await, app.registered("bob@example.com").await);
    let id = linked(&app, &ada, alpaca()).await;
    verify(&app, &ada, &id, json!({})).await.expect(StatusCode::OK);
    let stolen = but(alpaca(), "api_secret", json!("stolen"));
    assert_eq!(rotate(&app, &ada, &id, stolen.clone()).await.invalid_fields(), ["api_key"]);
    app.pass(20);
    let asked = stand_in.asked();
    for call in
        [verify(&app, &ada, &id, json!({})), rotate(&app, &ada, &id, stolen), link(&app, &ada, kite())]
    {
        assert_eq!(call.await.refused(429, "rate_limited").header("retry-after"), "40");
    }
    assert_eq!((stand_in.asked(), listed(&app, &ada).await.len()), (asked, 1));
    let theirs = linked(&app, &bob, alpaca()).await;
    verify(&app, &bob, &theirs, json!({})).await.expect(StatusCode::OK);
    app.pass(40);
    verify(&app, &ada, &id, json!({})).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn whatever_a_broker_answers_that_is_no_answer_nothing_changes_and_nothing_else_suffers() {
    let (app, stand_in) = stage().await;
    let ada = app.registered("ada@example.com").await;
    let ids = [linked(&app, &ada, kite()).await, linked(&app, &ada, alpaca()).await];
    let before = listed(&app, &ada).await;
    for manner in [
        Manner::Silent,
        Manner::Status(500),
        Manner::Status(204),
        Manner::Status(404),
        // Of a proxy on the way, which knows nothing about credentials.
        Manner::Status(401),
        Manner::Status(403),
        Manner::Refuses(403, "<html><h1>403 Forbidden</h1></html>"),
        Manner::Refuses(401, "{}"),
        Manner::Refuses(403, "{\"message\":null}"),
        Manner::Says(""),
        Manner::Says("<html>"),
        Manner::Says("[]"),
        Manner::Says(
            "{\"status\":\"success\",\"data\":{\"user_id\":\"AB1234\",\"access_token\":\"a\\r\\nb\"}}",
        ),
        Manner::Says(
            "{\"status\":\"success\",\"data\":{\"user_id\":7,\"access_token\":true},\"account_number\":null}",
        ),
        Manner::Endless,
        Manner::Redirect,
    ] {
        stand_in.behave(manner);
        for id in &ids {
            let asked = stand_in.asked();
            verify(&app, &ada, id, token()).await.refused(503, "broker_unavailable");
            // No redirect was followed, and nothing was tried twice.
            assert_eq!(stand_in.asked(), asked + 1, "{manner:?}");
        }
    }
    assert_eq!(listed(&app, &ada).await, before);
    app.logged_in("ada@example.com").await;
}

#[tokio::test]
async fn a_broker_without_a_certificate_that_is_trusted_is_told_nothing() {
    // It speaks no TLS at all, which is as far as a stranger without a certificate comes.
    let (app, stand_in) = stage().await;
    let port = stand_in.port;
    let https = format!("{ENCRYPTION}[trading_accounts]\nalpaca_url = \"https://127.0.0.1:{port}/alpaca\"\n");
    drop(app);
    let app = TestApp::with(&https, |_| ()).await;
    let ada = app.registered("ada@example.com").await;
    let id = linked(&app, &ada, alpaca()).await;
    verify(&app, &ada, &id, json!({})).await.refused(503, "broker_unavailable");
    assert_eq!(stand_in.asked(), 0);
}
