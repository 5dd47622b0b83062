//! Deleting one's own account.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::factor::Factor;
use crate::stage::{Call, PASSWORD, Person, TestApp};

fn delete(app: &TestApp, person: &Person, body: Value) -> Call {
    app.call(Method::DELETE, "/v1/users/me").by(person).json(body)
}

#[tokio::test]
async fn an_account_goes_with_all_that_is_its_own_and_the_audit_stays() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    let laptop = app.logged_in("ada@example.com").await;
    let bob = app.registered("bob@example.com").await;
    let answer = delete(&app, &ada, json!({"password": PASSWORD})).await.expect(StatusCode::NO_CONTENT);
    assert!(answer.set_cookie().unwrap().1.contains("Max-Age=0"));
    for person in [&ada, &laptop] {
        app.get("/v1/users/me").by(person).await.refused(401, "revoked");
        app.refresh(&person.refresh_token).await.refused_grant("refresh_invalid");
    }
    let login = json!({"email": "ada@example.com", "password": PASSWORD});
    app.post("/v1/auth/login", login).await.refused(401, "invalid_credentials");
    app.get("/v1/users/me").by(&bob).await.expect(StatusCode::OK);
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM users").await, 1);
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM sessions").await, 1);
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM revocations").await, 2);
    let kept = "SELECT COUNT(*) FROM audit_events WHERE subject IN
                (SELECT subject FROM audit_events WHERE type = 'user_deleted' AND actor = subject)";
    // Registered, logged in, two sessions ended, deleted.
    assert_eq!(app.value::<i64>(kept).await, 5);
    // The address is free again, for another account.
    let again = app.registered("ada@example.com").await;
    assert_ne!(again.id, ada.id);
    let events = app.get("/v1/audit").by(&again).await.json();
    assert_eq!(events["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn nobody_deletes_an_account_without_its_password() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    for body in
        [json!({}), json!({"password": ""}), json!({"password": "wrong wrong wrong"}), json!({"password": 1})]
    {
        assert_eq!(delete(&app, &ada, body.clone()).await.invalid_fields(), ["password"], "{body}");
    }
    app.call(Method::DELETE, "/v1/users/me")
        .json(json!({"password": PASSWORD}))
        .await
        .refused(401, "missing_token");
    app.get("/v1/users/me").by(&ada).await.expect(StatusCode::OK);
    let failed = "SELECT COUNT(*) FROM audit_events WHERE type = 'login_failed' AND actor = subject";
    assert_eq!(app.value::<i64>(failed).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_deletions_at_once_one_happens() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    let calls = (0..16).map(|_| delete(&app, &ada, json!({"password": PASSWORD})).into_future());
    let answers = futures_util::future::join_all(calls).await;
    let done = answers.iter().filter(|answer| answer.status == StatusCode::NO_CONTENT).count();
    assert_eq!(done, 1, "{answers:?}");
    let others = answers.iter().filter(|answer| answer.status == StatusCode::UNAUTHORIZED).count();
    assert_eq!(others, 15, "{answers:?}");
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM audit_events WHERE type = 'user_deleted'").await, 1);
}

#[tokio::test]
async fn who_has_a_second_factor_shows_a_code_as_well() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    let factor = Factor::of(&app, &ada).await;
    for body in [json!({"password": PASSWORD}), json!({"password": PASSWORD, "code": "12"})] {
        assert_eq!(delete(&app, &ada, body.clone()).await.invalid_fields(), ["code"], "{body}");
    }
    let wrong = json!({"password": PASSWORD, "code": factor.wrong(&app)});
    delete(&app, &ada, wrong).await.refused(403, "wrong_code");
    app.get("/v1/users/me").by(&ada).await.expect(StatusCode::OK);
    let right = json!({"password": PASSWORD, "code": factor.code(&app)});
    delete(&app, &ada, right).await.expect(StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_stolen_access_token_does_not_guess_the_password_here_either() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    for _ in 0..10 {
        let guess = json!({"password": "wrong wrong wrong"});
        assert_eq!(delete(&app, &ada, guess).await.invalid_fields(), ["password"]);
    }
    let answer = delete(&app, &ada, json!({"password": PASSWORD})).await.refused(429, "rate_limited");
    assert_eq!(answer.header("retry-after"), "30");
    app.get("/v1/users/me").by(&ada).await.expect(StatusCode::OK);
}
