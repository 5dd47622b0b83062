//! Login, and what the front door tells strangers.

use countersign_issuer::ambient::UnixTime;
use countersign_issuer::config::Settings;
use http::StatusCode;
use serde_json::json;

use crate::stage::{ON_A_FILE, PASSWORD, TestApp};

#[tokio::test]
async fn logging_in_answers_with_tokens_user_and_cookie() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    let body = json!({"email": "ADA@example.com", "password": PASSWORD});
    let answer = app.post("/v1/auth/login", body).await.expect(StatusCode::OK);
    let (cookie, attributes) = answer.set_cookie().unwrap();
    let body = answer.json();
    assert_eq!(body["user"]["id"], ada.id);
    assert_eq!(body["refresh_token"], cookie);
    assert_eq!(attributes, "HttpOnly; SameSite=Strict; Secure; Path=/v1/auth");
    app.get("/v1/users/me").bearer(body["access_token"].as_str().unwrap()).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn the_cookie_lasts_only_if_asked_to() {
    let app = TestApp::new().await;
    app.registered("ada@example.com").await;
    let body = json!({"email": "ada@example.com", "password": PASSWORD, "persist_session": true});
    let answer = app.post("/v1/auth/login", body).await;
    let (cookie, attributes) = answer.set_cookie().unwrap();
    assert!(attributes.contains("Max-Age=604800"), "{attributes}");
    // It goes on lasting when it is renewed.
    let answer =
        app.call(http::Method::POST, "/v1/auth/refresh").cookie(&cookie).await.expect(StatusCode::OK);
    assert!(answer.set_cookie().unwrap().1.contains("Max-Age=604800"));
}

#[tokio::test]
async fn plain_http_development_may_do_without_secure() {
    let app = TestApp::with("[cookies]\nsecure = false\n", |_| ()).await;
    app.registered("ada@example.com").await;
    let answer = app.post("/v1/auth/login", json!({"email": "ada@example.com", "password": PASSWORD})).await;
    assert_eq!(answer.set_cookie().unwrap().1, "HttpOnly; SameSite=Strict; Path=/v1/auth");
}

#[tokio::test]
async fn a_stranger_cannot_tell_a_wrong_password_from_an_unknown_address() {
    let app = TestApp::new().await;
    app.registered("ada@example.com").await;
    app.deactivate("ada@example.com").await;
    app.registered("bob@example.com").await;
    let mut answers = Vec::new();
    for email in ["bob@example.com", "ada@example.com", "nobody@example.com", "no address", "a\0@b"] {
        let answer =
            app.post("/v1/auth/login", json!({"email": email, "password": "wrong wrong wrong"})).await;
        let answer = answer.refused(401, "invalid_credentials");
        let mut headers = answer.headers.clone();
        headers.remove("x-request-id");
        answers.push((answer.body, headers));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
}

#[tokio::test]
async fn an_unknown_address_costs_a_hash_too() {
    let app = TestApp::new().await;
    app.registered("ada@example.com").await;
    for email in ["ada@example.com", "nobody@example.com"] {
        let before = app.app.hasher.figures().accepted.get();
        app.post("/v1/auth/login", json!({"email": email, "password": "wrong wrong wrong"})).await;
        assert_eq!(app.app.hasher.figures().accepted.get() - before, 1, "{email}");
    }
}

#[tokio::test]
async fn a_closed_account_is_told_only_to_who_knows_its_password() {
    let app = TestApp::new().await;
    app.registered("ada@example.com").await;
    app.deactivate("ada@example.com").await;
    let login = |password: &str| {
        app.post("/v1/auth/login", json!({"email": "ada@example.com", "password": password}))
    };
    login(PASSWORD).await.refused(403, "account_inactive");
    login("wrong wrong wrong").await.refused(401, "invalid_credentials");
}

#[tokio::test]
async fn missing_fields_are_named() {
    let app = TestApp::new().await;
    assert_eq!(app.post("/v1/auth/login", json!({})).await.invalid_fields(), ["email", "password"]);
    assert_eq!(app.post("/v1/auth/login", json!({"email": "a@b"})).await.invalid_fields(), ["password"]);
}

#[tokio::test]
async fn a_password_is_hashed_again_when_the_cost_rises() {
    let app = TestApp::new().await;
    app.registered("ada@example.com").await;
    let stored = async |app: &TestApp| -> String { app.value("SELECT password_hash FROM users").await };
    assert!(stored(&app).await.contains("m=16,t=1,p=1"));
    let app = app.restarted(|settings| settings.hashing.passes = 2).await;
    let wrong = json!({"email": "ada@example.com", "password": "wrong wrong wrong"});
    app.post("/v1/auth/login", wrong).await.refused(401, "invalid_credentials");
    assert!(stored(&app).await.contains("m=16,t=1,p=1"));
    app.logged_in("ada@example.com").await;
    assert!(stored(&app).await.contains("m=16,t=2,p=1"));
    app.logged_in("ada@example.com").await;
    // Never downwards.
    let app = app.restarted(|settings| settings.hashing.passes = 1).await;
    app.logged_in("ada@example.com").await;
    assert!(stored(&app).await.contains("m=16,t=2,p=1"));
}

#[tokio::test]
async fn a_password_is_the_same_from_every_keyboard() {
    let app = TestApp::new().await;
    let password = |text: &str| json!({"email": "ada@example.com", "password": text, "name": "Some One"});
    let composed = password("tundra-\u{E5}d\u{E4}gio-velvet-97");
    app.post("/v1/auth/register", composed).await.expect(StatusCode::CREATED);
    let decomposed = password("tundra-a\u{30A}da\u{308}gio-velvet-\u{FF19}\u{FF17}");
    app.post("/v1/auth/login", decomposed).await.expect(StatusCode::OK);
    app.post("/v1/auth/login", password("tundra-adagio-velvet-97")).await.refused(401, "invalid_credentials");
}

#[tokio::test]
async fn a_stored_hash_that_cannot_be_used_is_a_wrong_password() {
    let app = TestApp::new().await;
    app.registered("ada@example.com").await;
    app.execute("UPDATE users SET password_hash = 'spoiled'").await;
    let body = json!({"email": "ada@example.com", "password": PASSWORD});
    app.post("/v1/auth/login", body).await.refused(401, "invalid_credentials");
    assert_eq!(app.app.hasher.figures().unusable.get(), 1);
}

#[tokio::test]
async fn a_full_queue_answers_503_with_retry_after() {
    let slow = |settings: &mut Settings| (settings.hashing.memory_kib, settings.hashing.queue) = (8_192, 1);
    let app = TestApp::with("", slow).await;
    app.registered("ada@example.com").await;
    let body = || json!({"email": "ada@example.com", "password": PASSWORD});
    let logins = (0..40).map(|_| app.post("/v1/auth/login", body()).into_future());
    let answers = futures_util::future::join_all(logins).await;
    let (served, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == StatusCode::OK);
    assert!(!served.is_empty() && !refused.is_empty(), "{} {}", served.len(), refused.len());
    for answer in refused {
        assert_eq!(answer.refused(503, "busy").header("retry-after"), "1");
    }
}

#[tokio::test]
async fn without_a_signing_key_nobody_logs_in_and_no_session_is_left() {
    let app = TestApp::new().await;
    app.registered("ada@example.com").await;
    app.clock.set(UnixTime::from_seconds(0));
    let body = json!({"email": "ada@example.com", "password": PASSWORD});
    app.post("/v1/auth/login", body).await.refused(503, "unavailable");
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM sessions").await, 1);
}

#[tokio::test]
async fn a_full_disk_is_a_503_and_passes() {
    let app = TestApp::with(ON_A_FILE, |_| ()).await;
    app.registered("ada@example.com").await;
    // The file may not grow from here on.
    app.execute("PRAGMA max_page_count = 1").await;
    let login = || app.post("/v1/auth/login", json!({"email": "ada@example.com", "password": PASSWORD}));
    let mut answer = login().await;
    for _ in 0..100 {
        if answer.status != StatusCode::OK {
            break;
        }
        answer = login().await;
    }
    answer.refused(503, "busy");
    app.execute("PRAGMA max_page_count = 1000000").await;
    login().await.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_rehash_that_fails_does_not_fail_the_login() {
    let app = TestApp::with(ON_A_FILE, |_| ()).await;
    app.registered("ada@example.com").await;
    let app = app.restarted(|settings| settings.hashing.passes = 2).await;
    let fail =
        "CREATE TRIGGER fail BEFORE UPDATE OF password_hash ON users BEGIN SELECT RAISE(ABORT, 'no'); END";
    app.execute(fail).await;
    app.logged_in("ada@example.com").await;
    assert!(app.value::<String>("SELECT password_hash FROM users").await.contains("m=16,t=1,p=1"));
}
