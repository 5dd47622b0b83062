//! Roles and permissions: what a token is issued for, and what others are told when they ask.

use http::StatusCode;
use serde_json::{Value, json};

use crate::stage::{TestApp, part};

const ROLES: &str = "[roles]\nuser = [\"quotes:read\"]\ntrader = [\"orders:write\", \"orders:read\"]\n\
                     admin = [\"orders:*\", \"quotes:read\"]\n";

#[tokio::test]
async fn a_wildcard_reaches_the_token_as_the_permissions_that_it_stands_for() {
    let app = TestApp::with(ROLES, |_| ()).await;
    let root = app.admin("root@example.com").await;
    assert_eq!(part(&root.access_token, 1)["scope"], "quotes:read orders:read orders:write");
    let me = app.get("/v1/users/me").by(&root).await.json();
    assert_eq!(me["permissions"], json!(["quotes:read", "orders:read", "orders:write"]));
}

#[tokio::test]
async fn who_asks_is_told_what_the_caller_may_do() {
    let app = TestApp::with(ROLES, |_| ()).await;
    let ada = app.registered("ada@example.com").await;
    let root = app.admin("root@example.com").await;
    let cases = [
        (&ada, json!({"permission": "quotes:read"}), true, "granted"),
        (&ada, json!({"permission": "quotes:read", "resource": {"id": [7]}}), true, "granted"),
        (&ada, json!({"permission": "orders:read", "resource": "7"}), false, "not_granted"),
        (&root, json!({"permission": "orders:read"}), true, "granted"),
        (&root, json!({"permission": "orders:*"}), false, "unknown_permission"),
        (&root, json!({"permission": "orders"}), false, "unknown_permission"),
        (&root, json!({"permission": "orders:read quotes:read"}), false, "unknown_permission"),
        (&root, json!({"permission": "*"}), false, "unknown_permission"),
        (&root, json!({"permission": ""}), false, "unknown_permission"),
        (&root, json!({}), false, "unknown_permission"),
    ];
    for (person, question, allowed, reason) in cases {
        let answer = app.post("/v1/authz/check", question.clone()).by(person).await.expect(StatusCode::OK);
        assert_eq!(answer.json(), json!({"allowed": allowed, "reason": reason}), "{question}");
    }
}

#[tokio::test]
async fn only_a_good_token_is_answered() {
    let app = TestApp::new().await;
    let question = || json!({"permission": "quotes:read"});
    app.post("/v1/authz/check", question()).await.refused(401, "missing_token");
    let ada = app.registered("ada@example.com").await;
    app.post("/v1/authz/check", question()).bearer("x.y.z").await.expect(StatusCode::UNAUTHORIZED);
    app.post("/v1/auth/logout", json!({})).by(&ada).await.expect(StatusCode::NO_CONTENT);
    app.post("/v1/authz/check", question()).by(&ada).await.refused(401, "revoked");
}

#[tokio::test]
async fn what_was_taken_away_is_denied_at_once_and_what_was_given_with_the_next_token() {
    let app = TestApp::with(ROLES, |_| ()).await;
    let root = app.admin("root@example.com").await;
    let ada = app.registered("ada@example.com").await;
    let allowed = async |token: &str, permission: &str| {
        let answer = app.post("/v1/authz/check", json!({"permission": permission})).bearer(token).await;
        answer.expect(StatusCode::OK).json()["allowed"] == Value::Bool(true)
    };
    let set = async |roles: Value| {
        let path = format!("/v1/admin/users/{}", ada.id);
        let call = app.call(http::Method::PATCH, &path).by(&root).json(json!({"roles": roles}));
        call.await.expect(StatusCode::OK);
    };
    set(json!(["trader"])).await;
    assert!(!allowed(&ada.access_token, "quotes:read").await);
    assert!(!allowed(&ada.access_token, "orders:read").await);
    let next = app.refresh(&ada.refresh_token).await.json()["access_token"].as_str().unwrap().to_owned();
    assert!(allowed(&next, "orders:read").await);
}
