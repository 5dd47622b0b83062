//! Register, and oneself.

use http::Method;
use serde_json::{Value, json};

use crate::stage::{NOON, PASSWORD, TestApp, part};

fn form(email: &str, password: &str, name: &str) -> Value {
    json!({"email": email, "password": password, "name": name})
}

#[tokio::test]
async fn registering_answers_with_the_user_and_tokens() {
    let app = TestApp::new().await;
    let body = json!({"email": " Ada@Example.COM ", "password": PASSWORD, "name": " Ada Lovelace ",
                      "phone": "+44 20 7946 0018", "referrer": "ignored"});
    let answer = app.post("/v1/auth/register", body).await.expect(http::StatusCode::CREATED);
    assert_eq!(answer.header("cache-control"), "no-store");
    let body = answer.json();
    assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("bearer"), &json!(900)));
    let user = &body["user"];
    assert_eq!(user["user_id"], user["id"]);
    assert_eq!(user["email"], "ada@example.com");
    assert_eq!(user["name"], "Ada Lovelace");
    assert_eq!(user["phone"], "+44 20 7946 0018");
    assert_eq!(user["roles"], json!(["user"]));
    assert_eq!(user["permissions"], json!(["positions:read", "quotes:read", "alerts:read", "alerts:write"]));
    assert_eq!(user["is_active"], true);
    for flag in ["is_admin", "mfa_enabled", "email_verified"] {
        assert_eq!(user[flag], false, "{flag}");
    }
    assert_eq!(user["created_at"], "2026-11-20T12:00:00Z");
    assert!(!answer.body.windows(5).any(|bytes| bytes == b"argon"));
}

#[tokio::test]
async fn the_access_token_says_what_the_contract_says() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    let header = part(&ada.access_token, 0);
    assert_eq!(header, json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "one"}));
    let claims = part(&ada.access_token, 1);
    assert_eq!(claims["iss"], "user_service");
    assert_eq!(claims["aud"], "trading_platform");
    assert_eq!(claims["sub"], ada.id);
    assert_eq!((&claims["iat"], &claims["exp"]), (&json!(NOON), &json!(NOON + 900)));
    assert_eq!(claims["auth_time"], NOON);
    assert_eq!(claims["client_id"], "first-party");
    assert_eq!(claims["email"], "ada@example.com");
    assert_eq!(claims["name"], "Some One");
    assert_eq!(claims["roles"], json!(["user"]));
    assert_eq!(claims["scope"], "positions:read quotes:read alerts:read alerts:write");
    assert_eq!(claims["amr"], json!(["pwd"]));
    for id in ["jti", "session_id"] {
        assert_eq!(uuid::Uuid::try_parse(claims[id].as_str().unwrap()).unwrap().get_version_num(), 7, "{id}");
    }
}

#[tokio::test]
async fn an_address_has_one_account_in_whatever_case() {
    let app = TestApp::new().await;
    app.registered("ada@example.com").await;
    app.post("/v1/auth/register", form("ADA@example.com ", PASSWORD, "Other"))
        .await
        .refused(409, "email_taken");
}

#[tokio::test]
async fn every_wrong_field_is_told_at_once() {
    let app = TestApp::new().await;
    let bad = json!({"email": "ada", "password": "short", "name": " ", "phone": "call me"});
    let fields = app.post("/v1/auth/register", bad).await.invalid_fields();
    assert_eq!(fields, ["email", "name", "password", "phone"]);
    assert_eq!(
        app.post("/v1/auth/register", json!({})).await.invalid_fields(),
        ["email", "name", "password"]
    );
}

#[tokio::test]
async fn invalid_fields_never_reach_the_hashing_threads() {
    let app = TestApp::new().await;
    let endless = "ab12 ".repeat(12_000);
    for body in [
        form("ada@example.com", PASSWORD, &endless),
        form(&format!("{endless}@example.com"), PASSWORD, "Ada"),
        form("ada@example.com", "short", "Ada"),
        json!({"email": "ada@example.com", "password": PASSWORD, "name": "Ada", "phone": "x"}),
    ] {
        assert_eq!(app.post("/v1/auth/register", body).await.invalid_fields().len(), 1);
    }
    assert_eq!(app.app.hasher.figures().accepted.get(), 0);
}

#[tokio::test]
async fn weak_and_personal_passwords_are_refused() {
    let app = TestApp::new().await;
    for password in ["password1234", "lovelace lovelace lovelace", "kQ7!ada.lovelace!x9", &"x".repeat(129)] {
        let answer =
            app.post("/v1/auth/register", form("ada.lovelace@example.com", password, "Ada Lovelace")).await;
        assert_eq!(answer.invalid_fields(), ["password"], "{password}");
    }
}

#[tokio::test]
async fn look_alike_and_hostile_addresses_are_refused() {
    let app = TestApp::new().await;
    for email in
        ["\u{212A}ate@example.com", "ada\0@example.com", "a@b\r\nBcc: c@d", "аda@example.com", "a@b@c"]
    {
        let answer = app.post("/v1/auth/register", form(email, PASSWORD, "Kate")).await;
        assert_eq!(answer.invalid_fields(), ["email"], "{email:?}");
    }
}

#[tokio::test]
async fn one_sees_and_changes_oneself() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    let me = app.get("/v1/users/me").by(&ada).await.expect(http::StatusCode::OK).json();
    assert_eq!((&me["id"], &me["phone"]), (&json!(ada.id), &Value::Null));

    app.pass(60);
    let change = |body| app.call(Method::PATCH, "/v1/users/me").by(&ada).json(body);
    let me = change(json!({"name": "Ada King", "phone": "+44 20 7946 0018"})).await.json();
    assert_eq!((&me["name"], &me["phone"]), (&json!("Ada King"), &json!("+44 20 7946 0018")));
    assert_eq!(me["updated_at"], "2026-11-20T12:01:00Z");
    assert_eq!(me["created_at"], "2026-11-20T12:00:00Z");
    let me = change(json!({"name": "Ada"})).await.json();
    assert_eq!((&me["name"], &me["phone"]), (&json!("Ada"), &json!("+44 20 7946 0018")));
    let me = change(json!({"phone": null})).await.json();
    assert_eq!((&me["name"], &me["phone"]), (&json!("Ada"), &Value::Null));
}

#[tokio::test]
async fn nobody_promotes_themselves() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    let body = json!({"roles": ["admin"], "is_admin": true, "is_active": false, "email": "root@example.com"});
    let me = app.call(Method::PATCH, "/v1/users/me").by(&ada).json(body).await.json();
    assert_eq!(me["roles"], json!(["user"]));
    assert_eq!(me["email"], "ada@example.com");
    let body = json!({"email": "eve@example.com", "password": PASSWORD, "name": "Eve", "roles": ["admin"]});
    assert_eq!(app.post("/v1/auth/register", body).await.json()["user"]["roles"], json!(["user"]));
}

#[tokio::test]
async fn changes_are_checked_like_new_values() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    let body = json!({"name": "Ada \u{202e}nimda", "phone": "x"});
    let answer = app.call(Method::PATCH, "/v1/users/me").by(&ada).json(body).await;
    assert_eq!(answer.invalid_fields(), ["name", "phone"]);
}

#[tokio::test]
async fn a_closed_account_is_out_at_once() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    app.deactivate("ada@example.com").await;
    app.get("/v1/users/me").by(&ada).await.refused(401, "revoked");
}
