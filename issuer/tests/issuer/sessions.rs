//! Logout, and the list of where one is logged in.

use http::{Method, StatusCode};
use serde_json::json;

use crate::stage::{Answer, Person, TestApp};

async fn sessions(app: &TestApp, person: &Person) -> Vec<serde_json::Value> {
    let answer = app.get("/v1/auth/sessions").by(person).await.expect(StatusCode::OK);
    answer.json()["sessions"].as_array().unwrap().clone()
}

fn cleared(answer: &Answer) -> bool {
    answer.set_cookie().is_some_and(|(value, rest)| {
        value.is_empty() && rest.contains("Max-Age=0") && rest.contains("Path=/v1/auth")
    })
}

#[tokio::test]
async fn logging_out_ends_this_session_only() {
    let app = TestApp::new().await;
    let phone = app.registered("ada@example.com").await;
    let laptop = app.logged_in("ada@example.com").await;
    let answer = app.call(Method::POST, "/v1/auth/logout").by(&phone).await.expect(StatusCode::NO_CONTENT);
    assert!(cleared(&answer) && answer.body.is_empty());
    app.get("/v1/users/me").by(&phone).await.refused(401, "revoked");
    app.refresh(&phone.refresh_token).await.refused_grant("session_revoked");
    app.get("/v1/users/me").by(&laptop).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn logging_out_everywhere_ends_all_of_mine_and_none_of_others() {
    let app = TestApp::new().await;
    let phone = app.registered("ada@example.com").await;
    let laptop = app.logged_in("ada@example.com").await;
    let bob = app.registered("bob@example.com").await;
    app.post("/v1/auth/logout", json!({"all_devices": true})).by(&phone).await.expect(StatusCode::NO_CONTENT);
    for ada in [&phone, &laptop] {
        app.refresh(&ada.refresh_token).await.refused_grant("session_revoked");
    }
    app.refresh(&bob.refresh_token).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn the_refresh_token_logs_out_when_the_access_token_is_gone() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    let answer = app.call(Method::POST, "/v1/auth/logout").cookie(&ada.refresh_token).await;
    assert!(cleared(&answer.expect(StatusCode::NO_CONTENT)));
    app.refresh(&ada.refresh_token).await.refused_grant("session_revoked");

    let ada = app.logged_in("ada@example.com").await;
    app.pass(3_600);
    let body = json!({"refresh_token": ada.refresh_token});
    app.post("/v1/auth/logout", body).by(&ada).await.expect(StatusCode::NO_CONTENT);
    app.refresh(&ada.refresh_token).await.refused_grant("session_revoked");
}

#[tokio::test]
async fn logging_out_twice_is_no_error() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    for _ in 0..2 {
        let call = app.call(Method::POST, "/v1/auth/logout").cookie(&ada.refresh_token);
        call.await.expect(StatusCode::NO_CONTENT);
    }
}

#[tokio::test]
async fn logging_out_without_a_good_credential_is_no_error() {
    let app = TestApp::new().await;
    let log_out = || app.call(Method::POST, "/v1/auth/logout");
    for call in [log_out(), log_out().bearer("x.y.z"), log_out().cookie("v1.x")] {
        assert!(cleared(&call.await.expect(StatusCode::NO_CONTENT)));
    }
}

#[tokio::test]
async fn a_stale_refresh_token_cannot_log_out_other_devices() {
    let app = TestApp::new().await;
    let phone = app.registered("ada@example.com").await;
    let laptop = app.logged_in("ada@example.com").await;
    app.refresh(&phone.refresh_token).await.expect(StatusCode::OK);
    app.pass(60);
    let body = json!({"refresh_token": phone.refresh_token, "all_devices": true});
    app.post("/v1/auth/logout", body).await.expect(StatusCode::NO_CONTENT);
    app.refresh(&laptop.refresh_token).await.expect(StatusCode::OK);
    app.get("/v1/users/me").by(&phone).await.refused(401, "revoked");
}

#[tokio::test]
async fn the_list_shows_my_live_sessions_newest_first() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    app.registered("bob@example.com").await;
    app.pass(60);
    let body = json!({"email": "ada@example.com", "password": crate::stage::PASSWORD});
    let login = app
        .post("/v1/auth/login", body)
        .header("user-agent", "Firefox")
        .header("x-forwarded-for", "203.0.113.9");
    login.from("127.0.0.1:5000").await.expect(StatusCode::OK);
    let list = sessions(&app, &ada).await;
    assert_eq!(list.len(), 2);
    assert_eq!((&list[0]["device"], &list[0]["ip"]), (&json!("Firefox"), &json!("203.0.113.9")));
    assert_eq!((&list[0]["current"], &list[1]["current"]), (&json!(false), &json!(true)));
    assert_eq!(list[0]["created_at"], "2026-11-20T12:01:00Z");
    assert_eq!(list[0]["last_used_at"], "2026-11-20T12:01:00Z");
    assert_eq!(list[0]["expires_at"], "2026-11-27T12:01:00Z");
}

#[tokio::test]
async fn a_session_can_be_ended_from_another_device() {
    let app = TestApp::new().await;
    let phone = app.registered("ada@example.com").await;
    let laptop = app.logged_in("ada@example.com").await;
    let other =
        sessions(&app, &laptop).await.into_iter().find(|session| session["current"] == false).unwrap();
    let path = format!("/v1/auth/sessions/{}", other["id"].as_str().unwrap());
    app.call(Method::DELETE, &path).by(&laptop).await.expect(StatusCode::NO_CONTENT);
    app.refresh(&phone.refresh_token).await.refused_grant("session_revoked");
    assert_eq!(sessions(&app, &laptop).await.len(), 1);
    app.call(Method::DELETE, &path).by(&laptop).await.refused(404, "not_found");
}

#[tokio::test]
async fn nobody_ends_the_session_of_another() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    let eve = app.registered("eve@example.com").await;
    let id = sessions(&app, &ada).await[0]["id"].as_str().unwrap().to_owned();
    let unknown = "01940000-0000-7000-8000-000000000001";
    for id in [id.as_str(), unknown, "x", "%ff", "%00", "a%2fb"] {
        let path = format!("/v1/auth/sessions/{id}");
        app.call(Method::DELETE, &path).by(&eve).await.refused(404, "not_found");
    }
    app.refresh(&ada.refresh_token).await.expect(StatusCode::OK);
}
