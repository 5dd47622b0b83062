//! Pages in a browser: cookies of any kind, tokens out of the reach of scripts, other origins.

use http::{Method, StatusCode};
use serde_json::json;

use crate::stage::{PASSWORD, TestApp, part};

const APP: &str = "[cors]\norigins = [\"https://app.example\"]\n";

fn login() -> serde_json::Value {
    json!({"email": "ada@example.com", "password": PASSWORD})
}

#[tokio::test]
async fn a_cookie_that_is_not_ascii_hides_no_other() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    let line = http::HeaderValue::from_bytes(
        &[b"nick=J\xfcrgen; refresh_token=", ada.refresh_token.as_bytes(), b"; city=K\xc3\xb6ln"].concat(),
    );
    let answer = app.call(Method::POST, "/v1/auth/refresh").value("cookie", line.unwrap()).await;
    answer.expect(StatusCode::OK);
}

#[tokio::test]
async fn of_two_cookies_the_one_that_is_ours_counts() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    let call = app.call(Method::POST, "/v1/auth/refresh").cookie("planted").cookie(&ada.refresh_token);
    call.await.expect(StatusCode::OK);
}

#[tokio::test]
async fn logging_in_over_a_live_cookie_ends_its_session() {
    let app = TestApp::new().await;
    let old = app.registered("ada@example.com").await;
    app.post("/v1/auth/login", login()).cookie(&old.refresh_token).await.expect(StatusCode::OK);
    app.get("/v1/users/me").by(&old).await.refused(401, "revoked");
    // Another site's page that carries the cookie along ends nothing.
    let old = app.logged_in("ada@example.com").await;
    let foreign = app.post("/v1/auth/login", login()).cookie(&old.refresh_token);
    foreign.header("origin", "https://evil.example").await.expect(StatusCode::OK);
    app.get("/v1/users/me").by(&old).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_page_gets_the_refresh_token_in_the_body_only_if_it_asks() {
    let app = TestApp::with(APP, |_| ()).await;
    app.registered("ada@example.com").await;
    let asking = json!({"email": "ada@example.com", "password": PASSWORD, "refresh_token_in_body": true});
    let page = |body| app.post("/v1/auth/login", body).header("origin", "https://app.example");
    let answer = page(login()).await.expect(StatusCode::OK);
    assert!(answer.json().get("refresh_token").is_none());
    let cookie = answer.set_cookie().unwrap().0;
    assert!(page(asking).await.json()["refresh_token"].is_string());
    let refresh =
        |body| app.post("/v1/auth/refresh", body).cookie(&cookie).header("sec-fetch-site", "same-origin");
    assert!(refresh(json!({})).await.expect(StatusCode::OK).json().get("refresh_token").is_none());
    let body = refresh(json!({"refresh_token_in_body": true})).await.expect(StatusCode::OK).json();
    assert!(body["refresh_token"].is_string());
    // Also if it came in the body.
    let token = body["refresh_token"].clone();
    let refresh = |body| app.post("/v1/auth/refresh", body).header("origin", "https://app.example");
    let plain = refresh(json!({"refresh_token": token})).await.expect(StatusCode::OK);
    assert!(plain.json().get("refresh_token").is_none());
    let asking = json!({"refresh_token": plain.set_cookie().unwrap().0, "refresh_token_in_body": true});
    assert!(refresh(asking).await.expect(StatusCode::OK).json()["refresh_token"].is_string());
    // A client that is no browser has no other place for it.
    assert!(app.post("/v1/auth/login", login()).await.json()["refresh_token"].is_string());
}

#[tokio::test]
async fn listed_origins_may_read_answers_and_refusals_and_no_others() {
    let app = TestApp::with(APP, |_| ()).await;
    let asked =
        app.get("/v1/users/me").header("origin", "https://app.example").await.refused(401, "missing_token");
    assert_eq!(asked.header("access-control-allow-origin"), "https://app.example");
    assert_eq!(asked.header("access-control-allow-credentials"), "true");
    assert!(asked.header("access-control-expose-headers").contains("www-authenticate"));
    assert!(asked.header("vary").to_lowercase().contains("origin"));
    let other = app.get("/v1/users/me").header("origin", "https://evil.example").await;
    assert!(!other.headers.contains_key("access-control-allow-origin"));
    let preflight = app
        .call(Method::OPTIONS, "/v1/users/me")
        .header("origin", "https://app.example")
        .header("access-control-request-method", "PATCH")
        .header("access-control-request-headers", "authorization,content-type")
        .await
        .expect(StatusCode::OK);
    assert_eq!(preflight.header("access-control-allow-methods"), "GET,POST,PATCH,DELETE");
    assert_eq!(preflight.header("access-control-allow-origin"), "https://app.example");
}

#[tokio::test]
async fn without_a_list_no_origin_may_read_anything() {
    let app = TestApp::new().await;
    let answer = app.get("/healthz").header("origin", "https://app.example").await.expect(StatusCode::OK);
    assert!(!answer.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn an_access_token_ends_with_its_session() {
    let app = TestApp::new().await;
    let mut token = app.registered("ada@example.com").await.refresh_token;
    let end = app.clock.now().plus(30 * 86_400);
    for _ in 0..29 {
        app.pass(86_400);
        token = app.refresh(&token).await.json()["refresh_token"].as_str().unwrap().to_owned();
    }
    app.pass(86_400 - 600);
    let body = app.refresh(&token).await.expect(StatusCode::OK).json();
    assert_eq!(body["expires_in"], 600);
    assert_eq!(part(body["access_token"].as_str().unwrap(), 1)["exp"], end.seconds());
}

#[tokio::test]
async fn an_empty_telephone_number_is_none() {
    let app = TestApp::new().await;
    let body = json!({"email": "ada@example.com", "password": PASSWORD, "name": "Ada", "phone": ""});
    let answer = app.post("/v1/auth/register", body).await.expect(StatusCode::CREATED).json();
    assert!(answer["user"]["phone"].is_null());
    let token = answer["access_token"].as_str().unwrap();
    let patch = |phone| app.call(Method::PATCH, "/v1/users/me").json(json!({"phone": phone})).bearer(token);
    assert_eq!(patch("+44 20 7946 0018").await.json()["phone"], "+44 20 7946 0018");
    assert!(patch("").await.expect(StatusCode::OK).json()["phone"].is_null());
}

#[tokio::test]
async fn http_1_1_without_a_host_is_refused() {
    let app = TestApp::new().await;
    app.get("/healthz").without("host").await.refused(400, "missing_host");
    app.get("/healthz").header("host", "other.example").await.refused(400, "missing_host");
}
