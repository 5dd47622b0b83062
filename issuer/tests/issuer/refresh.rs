//! Rotation, grace, reuse, expiry.

use countersign_issuer::sessions;
use http::{Method, StatusCode};
use serde_json::json;

use crate::stage::{Answer, COMPAT, PASSWORD, TestApp, part};

const DAY: i64 = 86_400;

fn refresh_token(answer: &Answer) -> String {
    answer.json()["refresh_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn refreshing_rotates_the_refresh_token_and_renews_the_access_token() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    app.pass(600);
    let answer = app.refresh(&ada.refresh_token).await.expect(StatusCode::OK);
    let body = answer.json();
    assert_ne!(body["refresh_token"], ada.refresh_token);
    assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("bearer"), &json!(900)));
    let (before, after) = (part(&ada.access_token, 1), part(body["access_token"].as_str().unwrap(), 1));
    assert_eq!(after["session_id"], before["session_id"]);
    assert_eq!(after["auth_time"], before["auth_time"]);
    assert_ne!(after["jti"], before["jti"]);
    assert_eq!(after["exp"].as_i64(), before["exp"].as_i64().map(|exp| exp + 600));
    app.refresh(&refresh_token(&answer)).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn the_cookie_alone_refreshes_and_stays_out_of_the_body() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    let answer =
        app.call(Method::POST, "/v1/auth/refresh").cookie(&ada.refresh_token).await.expect(StatusCode::OK);
    assert!(answer.json().get("refresh_token").is_none());
    let (cookie, attributes) = answer.set_cookie().unwrap();
    assert_ne!(cookie, ada.refresh_token);
    assert_eq!(attributes, "HttpOnly; SameSite=Strict; Secure; Path=/v1/auth");
    app.refresh(&cookie).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn two_refresh_tokens_are_ambiguous() {
    let app = TestApp::new().await;
    let (ada, eve) = (app.registered("ada@example.com").await, app.registered("eve@example.com").await);
    let body = json!({"refresh_token": ada.refresh_token});
    let (one, other) = (&ada.refresh_token, &eve.refresh_token);
    let line = format!("refresh_token={one}; a=b; refresh_token={other}");
    for path in ["/v1/auth/refresh", "/v1/auth/logout"] {
        let post = || app.call(Method::POST, path);
        let answers = [
            post().cookie(one).cookie(other).await,
            post().header("cookie", &line).await,
            post().cookie(other).json(body.clone()).await,
        ];
        for answer in answers {
            if path.ends_with("refresh") {
                answer.refused_grant("ambiguous_credentials");
            } else {
                answer.expect(StatusCode::NO_CONTENT);
            }
        }
    }
    // Nobody was logged out by them.
    app.refresh(&eve.refresh_token).await.expect(StatusCode::OK);
    // The same one twice is one.
    app.post("/v1/auth/refresh", body).cookie(&ada.refresh_token).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn another_site_cannot_use_the_cookie() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    let call = |path| app.call(Method::POST, path).cookie(&ada.refresh_token);
    for path in ["/v1/auth/refresh", "/v1/auth/logout"] {
        call(path).header("origin", "https://evil.example").await.refused(403, "cross_site");
        call(path).header("sec-fetch-site", "cross-site").await.refused(403, "cross_site");
        call(path).header("sec-fetch-site", "same-site").await.refused(403, "cross_site");
    }
    call("/v1/auth/refresh").header("origin", "https://trade.example").await.expect(StatusCode::OK);
}

#[tokio::test]
async fn another_sites_page_logs_nobody_out_by_clearing_the_cookie() {
    let app = TestApp::with(COMPAT, |_| ()).await;
    for path in ["/v1/auth/logout", "/api/auth/logout", "/api/auth/logout-all"] {
        // A form of another site: the browser sends no cookie with it, and takes those of the answer.
        let post = || app.call(Method::POST, path);
        for call in [
            post().header("origin", "https://evil.example"),
            post().header("origin", "null").header("sec-fetch-site", "cross-site"),
            post().header("sec-fetch-site", "same-site"),
        ] {
            let answer = call.await;
            assert!(answer.status.is_success() && answer.set_cookie().is_none(), "{path}: {answer:?}");
        }
        for call in [
            post(),
            post().header("origin", "https://trade.example"),
            post().header("sec-fetch-site", "same-origin"),
        ] {
            let (cookie, attributes) = call.await.set_cookie().unwrap();
            assert!(cookie.is_empty() && attributes.contains("Max-Age=0"), "{path}: {attributes}");
        }
    }
}

#[tokio::test]
async fn a_retry_within_the_grace_gets_the_current_token_again() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    let first = refresh_token(&app.refresh(&ada.refresh_token).await);
    app.pass(30);
    let again = app.refresh(&ada.refresh_token).await.expect(StatusCode::OK);
    assert_eq!(refresh_token(&again), first);
    app.refresh(&first).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_retry_after_the_grace_is_reuse_and_ends_the_session() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    let current = refresh_token(&app.refresh(&ada.refresh_token).await);
    app.pass(31);
    let answer = app.refresh(&ada.refresh_token).await.refused_grant("refresh_reused");
    assert!(answer.set_cookie().unwrap().1.contains("Max-Age=0"));
    // Whoever holds the current token is out as well, and so is the access token here.
    app.refresh(&current).await.refused_grant("session_revoked");
    app.get("/v1/users/me").by(&ada).await.refused(401, "revoked");
}

#[tokio::test]
async fn the_token_before_the_last_is_reuse_even_within_the_grace() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    let second = refresh_token(&app.refresh(&ada.refresh_token).await);
    app.refresh(&second).await.expect(StatusCode::OK);
    app.refresh(&ada.refresh_token).await.refused_grant("refresh_reused");
}

#[tokio::test]
async fn reuse_ends_one_session_and_leaves_the_others() {
    let app = TestApp::new().await;
    let phone = app.registered("ada@example.com").await;
    let laptop = app.logged_in("ada@example.com").await;
    app.refresh(&phone.refresh_token).await;
    app.pass(60);
    app.refresh(&phone.refresh_token).await.refused_grant("refresh_reused");
    app.refresh(&laptop.refresh_token).await.expect(StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_concurrent_refreshes_one_rotates_and_all_get_the_same_token() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    let calls = (0..16).map(|_| app.refresh(&ada.refresh_token));
    let answers = futures_util::future::join_all(calls).await;
    let mut tokens: Vec<_> =
        answers.into_iter().map(|answer| refresh_token(&answer.expect(StatusCode::OK))).collect();
    tokens.dedup();
    assert_eq!(tokens.len(), 1);
    assert_eq!(app.value::<i64>("SELECT counter FROM sessions").await, 1);
}

#[tokio::test]
async fn an_idle_session_ends() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    app.pass(7 * DAY - 1);
    let next = refresh_token(&app.refresh(&ada.refresh_token).await.expect(StatusCode::OK));
    app.pass(7 * DAY);
    app.refresh(&next).await.refused_grant("session_expired");
}

#[tokio::test]
async fn a_busy_session_ends_too_when_its_lifetime_is_over() {
    let app = TestApp::new().await;
    let mut token = app.registered("ada@example.com").await.refresh_token;
    for _ in 0..29 {
        app.pass(DAY);
        token = refresh_token(&app.refresh(&token).await.expect(StatusCode::OK));
    }
    app.pass(DAY);
    app.refresh(&token).await.refused_grant("session_expired");
}

#[tokio::test]
async fn a_persistent_cookie_does_not_outlive_the_session() {
    let app = TestApp::new().await;
    app.registered("ada@example.com").await;
    let body = json!({"email": "ada@example.com", "password": PASSWORD, "persist_session": true});
    let mut cookie = app.post("/v1/auth/login", body).await.set_cookie().unwrap();
    for _ in 0..29 {
        app.pass(DAY);
        let answer = app.call(Method::POST, "/v1/auth/refresh").cookie(&cookie.0).await;
        cookie = answer.expect(StatusCode::OK).set_cookie().unwrap();
    }
    assert!(cookie.1.contains("Max-Age=86400"), "{}", cookie.1);
}

#[tokio::test]
async fn a_closed_account_does_not_refresh() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    app.deactivate("ada@example.com").await;
    app.refresh(&ada.refresh_token).await.refused_grant("session_revoked");
    app.execute("UPDATE sessions SET revoked_at = NULL").await;
    app.refresh(&ada.refresh_token).await.refused_grant("account_inactive");
}

#[tokio::test]
async fn what_we_did_not_sign_is_refused() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    let forged = ada.refresh_token.replacen(".0.", ".1.", 1);
    for token in [forged.as_str(), "", "v1...", &"x".repeat(10_000), &ada.access_token, "v1.\u{0}.0.x"] {
        app.refresh(token).await.refused_grant("refresh_invalid");
    }
    let answer =
        app.call(Method::POST, "/v1/auth/refresh").cookie(&forged).await.refused_grant("refresh_invalid");
    assert!(answer.set_cookie().unwrap().1.contains("Max-Age=0"));
    app.call(Method::POST, "/v1/auth/refresh").await.refused_grant("missing_token");
    app.call(Method::POST, "/v1/auth/refresh").cookie("").await.refused_grant("missing_token");
    app.refresh(&ada.refresh_token).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn another_secret_ends_every_session() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    app.folder.write("current.secret", "another secret, as after a leak of the first");
    let secrets = app.folder.settings().secrets;
    let app = app.restarted(|settings| settings.secrets = secrets).await;
    app.refresh(&ada.refresh_token).await.refused_grant("refresh_invalid");
}

#[tokio::test]
async fn a_secret_that_was_replaced_ends_no_session() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    std::fs::rename(app.folder.path("current.secret"), app.folder.path("previous.secret")).unwrap();
    app.folder.write("current.secret", "another secret, from which tokens are made now");
    let text = std::fs::read_to_string(app.folder.config()).unwrap();
    let line = "current_file = \"current.secret\"\n";
    let both = format!("{line}previous_files = [\"previous.secret\"]\n");
    app.folder.write("countersign.toml", &text.replace(line, &both));
    let secrets = app.folder.settings().secrets;
    let app = app.restarted(|settings| settings.secrets = secrets).await;
    app.refresh(&ada.refresh_token).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn sessions_that_have_ended_are_swept_out() {
    let app = TestApp::new().await;
    let old = app.registered("ada@example.com").await;
    app.pass(20 * DAY);
    let new = app.logged_in("ada@example.com").await;
    assert_eq!(sessions::sweep(&app.app.db, app.clock.now()).await.unwrap(), 1);
    app.pass(7 * DAY);
    // Remembered for a day, so that its holder is told why.
    assert_eq!(sessions::sweep(&app.app.db, app.clock.now()).await.unwrap(), 0);
    app.refresh(&old.refresh_token).await.refused_grant("refresh_invalid");
    app.refresh(&new.refresh_token).await.refused_grant("session_expired");
}
