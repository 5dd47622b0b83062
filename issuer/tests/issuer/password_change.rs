//! Changing one's own password: by who knows it, and nobody else stays logged in.

use countersign_issuer::accounts::{self, Email};
use futures_util::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};

use crate::factor::events;
use crate::letters::MAIL;
use crate::stage::{PASSWORD, TestApp};

const ADA: &str = "ada@example.com";
const NEW: &str = "velvet-tundra-adagio-31";
const CHANGE: &str = "/v1/auth/password/change";

fn change(current: &str, password: &str) -> Value {
    json!({"current_password": current, "password": password})
}

#[tokio::test]
async fn a_change_ends_every_session_but_this_one() {
    let app = TestApp::with(MAIL, |_| ()).await;
    let other = app.registered(ADA).await;
    let ada = app.logged_in(ADA).await;
    app.post(CHANGE, change(PASSWORD, NEW)).by(&ada).await.expect(StatusCode::NO_CONTENT);
    app.get("/v1/users/me").by(&ada).await.expect(StatusCode::OK);
    app.refresh(&ada.refresh_token).await.expect(StatusCode::OK);
    app.get("/v1/users/me").by(&other).await.refused(401, "revoked");
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM revocations").await, 1);
    let login = |password: &str| app.post("/v1/auth/login", json!({"email": ADA, "password": password}));
    login(PASSWORD).await.refused(401, "invalid_credentials");
    login(NEW).await.expect(StatusCode::OK);
    let notice = app.letter_to(ADA).await;
    assert_eq!(notice.header("Subject"), "Trade: your password was changed");
    let told = "SELECT COUNT(*) FROM audit_events WHERE type = 'password_changed' AND actor = subject";
    assert_eq!(app.value::<i64>(told).await, 1);
}

#[tokio::test]
async fn it_takes_a_token_the_current_password_and_a_good_new_one() {
    let app = TestApp::new().await;
    let ada = app.registered(ADA).await;
    app.post(CHANGE, change(PASSWORD, NEW)).await.refused(401, "missing_token");
    app.post(CHANGE, change(PASSWORD, NEW)).cookie(&ada.refresh_token).await.refused(401, "missing_token");
    // Not 401: clients log in anew on that, and would try the wrong password twice.
    let wrong = app.post(CHANGE, change("wrong wrong wrong", NEW)).by(&ada).await;
    wrong.refused(403, "wrong_password");
    let fields = app.post(CHANGE, json!({})).by(&ada).await.invalid_fields();
    assert_eq!(fields, ["current_password", "password"]);
    for weak in ["short", "password1234", "some one some one some one"] {
        assert_eq!(app.post(CHANGE, change(PASSWORD, weak)).by(&ada).await.invalid_fields(), ["password"]);
    }
    app.logged_in(ADA).await;
    // Without mail nobody is told, and it works all the same.
    app.post(CHANGE, change(PASSWORD, NEW)).by(&ada).await.expect(StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_login_under_way_does_not_outlive_a_change() {
    let app = TestApp::new().await;
    let ada = app.registered(ADA).await;
    let email = Email::parse(ADA).unwrap();
    let (user, checked) = accounts::store::find_for_login(app.app.db.reads(), &email).await.unwrap().unwrap();
    app.post(CHANGE, change(PASSWORD, NEW)).by(&ada).await.expect(StatusCode::NO_CONTENT);
    let claim =
        app.app.db.write(async move |tx| accounts::store::claim_login(tx, &user.id, checked.epoch).await);
    assert!(!claim.await.unwrap());
}

#[tokio::test]
async fn a_link_that_was_sent_before_the_password_changed_is_good_no_longer() {
    let app = TestApp::with(MAIL, |_| ()).await;
    let (ada, root) = (app.registered(ADA).await, app.admin("root@example.com").await);
    let set = format!("/v1/admin/users/{}/password", ada.id);
    for change in [
        app.post(CHANGE, change(PASSWORD, NEW)).by(&ada),
        app.post(&set, json!({"password": PASSWORD})).by(&root),
    ] {
        app.pass(1);
        app.post("/v1/auth/password/forgot", json!({"email": ADA})).await.expect(StatusCode::ACCEPTED);
        let token = app.letter_to(ADA).await.token();
        change.await.expect(StatusCode::NO_CONTENT);
        app.get(&format!("/v1/auth/password/reset?token={token}")).await.expect(StatusCode::BAD_REQUEST);
        let reset = json!({"token": token, "password": "another-velvet-tundra-31"});
        app.post("/v1/auth/password/reset", reset).await.refused(400, "email_token_invalid");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_changes_at_once_one_wins() {
    let one = TestApp::with("", |settings| {
        settings.hashing.queue = 1000;
        // Whoever reads the account after the first has changed it, has a wrong password.
        settings.limits.failures_per_account = 1000;
    })
    .await;
    let two = one.beside().await;
    let ada = one.registered(ADA).await;
    let password = |n: usize| format!("{NEW}-{n}");
    let calls = (0..100).map(|n| {
        let app = if n % 2 == 0 { &one } else { &two };
        app.post(CHANGE, change(PASSWORD, &password(n))).by(&ada).into_future()
    });
    let mut winners = Vec::new();
    for (n, answer) in join_all(calls).await.into_iter().enumerate() {
        if answer.status == StatusCode::NO_CONTENT {
            winners.push(n);
        } else {
            answer.refused(403, "wrong_password");
        }
    }
    assert_eq!(winners.len(), 1);
    let body = json!({"email": ADA, "password": password(winners[0])});
    one.post("/v1/auth/login", body).await.expect(StatusCode::OK);
    assert_eq!(events(&two, "password_changed").await.len(), 1);
}

#[tokio::test]
async fn wrong_passwords_from_within_count_like_failed_logins() {
    let app = TestApp::new().await;
    let ada = app.registered(ADA).await;
    for _ in 0..10 {
        app.post(CHANGE, change("wrong wrong wrong", NEW)).by(&ada).await.refused(403, "wrong_password");
    }
    for current in ["wrong wrong wrong", PASSWORD] {
        let refused = app.post(CHANGE, change(current, NEW)).by(&ada).await.refused(429, "rate_limited");
        assert_eq!(refused.header("retry-after"), "30");
    }
    let login = || app.post("/v1/auth/login", json!({"email": ADA, "password": PASSWORD}));
    login().await.refused(429, "rate_limited");
    assert_eq!(events(&app, "login_failed").await.len(), 10);
    assert_eq!(events(&app, "account_locked").await.len(), 1);
    // The session itself goes on, and so does who knows the password, later.
    app.pass(60);
    app.post(CHANGE, change(PASSWORD, NEW)).by(&ada).await.expect(StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn whoever_changes_a_password_its_owner_is_told() {
    let app = TestApp::with(MAIL, |_| ()).await;
    let ada = app.registered(ADA).await;
    let root = app.admin("root@example.com").await;
    let set = format!("/v1/admin/users/{}/password", ada.id);
    app.post(&set, json!({"password": "short"})).by(&root).await.invalid_fields();
    assert!(app.letters().await.is_empty());
    app.post(&set, json!({"password": NEW})).by(&root).await.expect(StatusCode::NO_CONTENT);
    let notice = app.letter_to(ADA).await;
    assert_eq!(notice.header("Subject"), "Trade: your password was changed");
    assert!(!notice.0.contains(NEW) && app.letters().await.len() == 1, "{}", notice.0);
}
