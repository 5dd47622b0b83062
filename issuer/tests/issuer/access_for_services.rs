//! What services ask about users.

use countersign_issuer::services::Scope;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::services::service;
use crate::stage::{Answer, TestApp};

const CHECK: &str = "/v1/internal/authz/check";

async fn ask(app: &TestApp, token: &str, question: Value) -> Answer {
    app.internally(Method::POST, CHECK).header("x-service-token", token).json(question).await
}

#[tokio::test]
async fn a_service_asks_about_a_user_by_id_and_is_told_for_how_long_that_holds() {
    let app = TestApp::new().await;
    let token = service(&app, &[Scope::AuthzCheck]).await;
    let ada = app.registered("ada@example.com").await;
    let answer =
        ask(&app, &token, json!({"user_id": ada.id, "permission": "alerts:write", "resource": {"id": 7}}))
            .await;
    let answer = answer.expect(StatusCode::OK);
    assert_eq!(answer.header("cache-control"), "private, max-age=30");
    assert_eq!(answer.json(), json!({"allowed": true, "reason": "granted", "expires_in": 30}));
    for (user_id, permission, reason) in [
        (ada.id.as_str(), "orders:write", "unknown_permission"),
        (&ada.id, "", "unknown_permission"),
        (&ada.id, "alerts", "unknown_permission"),
        ("01940000-0000-7000-8000-000000000001", "alerts:write", "unknown_user"),
        ("service:edge", "alerts:write", "unknown_user"),
        ("", "alerts:write", "unknown_user"),
        ("\u{0}", "alerts:write", "unknown_user"),
    ] {
        let answer = ask(&app, &token, json!({"user_id": user_id, "permission": permission})).await;
        let expected = json!({"allowed": false, "reason": reason, "expires_in": 30});
        assert_eq!(answer.expect(StatusCode::OK).json(), expected, "{user_id:?} {permission}");
    }
    app.execute("UPDATE users SET roles = 'nothing'").await;
    let question = json!({"user_id": ada.id, "permission": "alerts:write"});
    assert_eq!(ask(&app, &token, question.clone()).await.json()["reason"], "not_granted");
    app.deactivate("ada@example.com").await;
    assert_eq!(ask(&app, &token, question).await.json()["reason"], "user_inactive");
}

#[tokio::test]
async fn several_questions_are_answered_in_their_order_and_there_is_an_end() {
    let app = TestApp::new().await;
    let token = service(&app, &Scope::ALL).await;
    let ada = app.registered("ada@example.com").await;
    let check = |user_id: &str, permission: &str| json!({"user_id": user_id, "permission": permission});
    let checks = [check(&ada.id, "alerts:write"), check("nobody", "alerts:write"), check(&ada.id, "x")];
    let answer = ask(&app, &token, json!({"checks": checks})).await.expect(StatusCode::OK);
    let result = |allowed: bool, reason: &str| json!({"allowed": allowed, "reason": reason});
    let results =
        [result(true, "granted"), result(false, "unknown_user"), result(false, "unknown_permission")];
    assert_eq!(answer.json(), json!({"results": results, "expires_in": 30}));
    let many = |count: usize| json!({"checks": vec![check(&ada.id, "alerts:read"); count]});
    let most = ask(&app, &token, many(100)).await.expect(StatusCode::OK).json();
    assert_eq!(most["results"].as_array().unwrap().len(), 100);
    for count in [0, 101] {
        assert_eq!(ask(&app, &token, many(count)).await.invalid_fields(), ["checks"]);
    }
    // One question in a list is answered in a list.
    assert!(ask(&app, &token, many(1)).await.json()["results"].is_array());
}

#[tokio::test]
async fn a_question_that_is_none_is_told_where_it_is_wrong() {
    let app = TestApp::new().await;
    let token = service(&app, &Scope::ALL).await;
    for (question, field) in [
        (json!({}), "user_id"),
        (json!({"permission": "x"}), "user_id"),
        (json!({"user_id": 7}), "user_id"),
        (json!({"user_id": "x", "checks": []}), "checks"),
        (json!({"checks": [{"permission": "x"}]}), "checks[0].user_id"),
    ] {
        assert_eq!(ask(&app, &token, question.clone()).await.invalid_fields(), [field], "{question}");
    }
}

#[tokio::test]
async fn only_services_of_that_scope_ask_about_users() {
    let app = TestApp::new().await;
    let root = app.admin("root@example.com").await;
    let question = || json!({"user_id": root.id, "permission": "alerts:read"});
    let other = service(&app, &[Scope::CredentialsRead, Scope::TradingAccountsRead]).await;
    ask(&app, &other, question()).await.refused(403, "service_scope_missing");
    let call = || app.internally(Method::POST, CHECK).json(question());
    call().await.refused(401, "service_token_missing");
    call().by(&root).await.refused(401, "credential_misplaced");
    app.post(CHECK, question()).await.refused(404, "not_found");
}
