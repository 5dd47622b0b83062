//! Introspection, revocation and metadata, for clients that know OAuth.

use http::{Method, StatusCode};
use serde_json::json;

use crate::stage::{COMPAT, Call, NOON, Person, TestApp, part};

const ADA: &str = "ada@example.com";
const METADATA: &str = "/.well-known/oauth-authorization-server";

fn introspect(app: &TestApp, token: &str) -> Call {
    app.call(Method::POST, "/v1/auth/introspect").form(&[("token", token)])
}

fn revoke(app: &TestApp, token: &str) -> Call {
    app.call(Method::POST, "/v1/auth/revoke").form(&[("token", token)])
}

async fn session_id(app: &TestApp, person: &Person) -> String {
    app.get("/v1/auth/sessions").by(person).await.json()["sessions"][0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn ones_own_access_token_is_told_about() {
    let app = TestApp::new().await;
    let ada = app.registered(ADA).await;
    let answer = introspect(&app, &ada.access_token).by(&ada).await.expect(StatusCode::OK);
    assert_eq!(answer.header("cache-control"), "no-store");
    let claims = part(&ada.access_token, 1);
    let expected = json!({
        "active": true,
        "token_type": "Bearer",
        "scope": "positions:read quotes:read alerts:read alerts:write",
        "client_id": "first-party",
        "username": ADA,
        "sub": ada.id,
        "iss": "user_service",
        "aud": "trading_platform",
        "exp": NOON + 900,
        "iat": NOON,
        "jti": claims["jti"],
        "session_id": session_id(&app, &ada).await,
    });
    assert_eq!(answer.json(), expected);
}

#[tokio::test]
async fn ones_own_refresh_token_is_told_about_and_is_no_access_token() {
    let app = TestApp::new().await;
    let ada = app.registered(ADA).await;
    let expected = json!({
        "active": true,
        "token_type": "refresh_token",
        "client_id": "first-party",
        "username": ADA,
        "sub": ada.id,
        "exp": NOON + 7 * 86_400,
        "iat": NOON,
        "session_id": session_id(&app, &ada).await,
    });
    let ask = || introspect(&app, &ada.refresh_token).by(&ada);
    assert_eq!(ask().await.expect(StatusCode::OK).json(), expected);
    // To ask is not to use it.
    let next = app.refresh(&ada.refresh_token).await.expect(StatusCode::OK).json();
    app.pass(60);
    assert_eq!(ask().await.json(), json!({"active": false}));
    app.refresh(next["refresh_token"].as_str().unwrap()).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn what_is_not_good_is_not_active_and_nothing_else_is_told() {
    let app = TestApp::new().await;
    let ada = app.registered(ADA).await;
    let laptop = app.logged_in(ADA).await;
    app.post("/v1/auth/logout", json!({})).by(&laptop).await.expect(StatusCode::NO_CONTENT);
    let tampered = ada.access_token.replacen('.', ".x", 1);
    let unknown = ["x", "v1.x.y.z", &tampered, &laptop.access_token, &laptop.refresh_token, "\u{e9}\0"];
    for token in unknown {
        let answer = introspect(&app, token).by(&ada).await.expect(StatusCode::OK);
        assert_eq!(answer.json(), json!({"active": false}), "{token}");
    }
    let old = ada.access_token.clone();
    app.pass(931);
    let ada = app.logged_in(ADA).await;
    assert_eq!(introspect(&app, &old).by(&ada).await.json(), json!({"active": false}));
}

#[tokio::test]
async fn tokens_of_others_are_for_administrators_to_ask_about() {
    let app = TestApp::new().await;
    let ada = app.registered(ADA).await;
    let eve = app.registered("eve@example.com").await;
    for token in [&ada.access_token, &ada.refresh_token] {
        let answer = introspect(&app, token).by(&eve).await.expect(StatusCode::OK);
        assert_eq!(answer.json(), json!({"active": false}));
    }
    app.execute("UPDATE users SET roles = 'user admin' WHERE email = 'eve@example.com'").await;
    for token in [&ada.access_token, &ada.refresh_token] {
        let answer = introspect(&app, token).by(&eve).await.expect(StatusCode::OK).json();
        assert_eq!((&answer["active"], &answer["sub"]), (&json!(true), &json!(ada.id)));
    }
}

#[tokio::test]
async fn nobody_asks_without_an_access_token() {
    let app = TestApp::new().await;
    let ada = app.registered(ADA).await;
    let ask = || introspect(&app, &ada.access_token);
    ask().await.refused(401, "missing_token");
    ask().bearer("x.y.z").await.refused(401, "malformed_token");
    ask().bearer(&ada.refresh_token).await.refused(401, "malformed_token");
    ask().header("authorization", "Basic YTpi").await.refused(401, "missing_token");
    ask().cookie(&ada.refresh_token).await.refused(401, "missing_token");
}

#[tokio::test]
async fn a_request_without_a_token_is_told_so() {
    let app = TestApp::new().await;
    let ada = app.registered(ADA).await;
    for path in ["/v1/auth/introspect", "/v1/auth/revoke"] {
        let call = || app.call(Method::POST, path).by(&ada);
        for form in [&[][..], &[("token", "")], &[("token", "a"), ("token", "a")]] {
            call().form(form).await.refused_oauth(400, "invalid_request", "invalid_request");
        }
        let json = call().json(json!({"token": "x"})).await;
        json.refused_oauth(415, "unsupported_media_type", "invalid_request");
        app.get(path).await.refused(405, "method_not_allowed");
    }
}

#[tokio::test]
async fn whoever_has_a_token_may_end_its_session() {
    let app = TestApp::new().await;
    let phone = app.registered(ADA).await;
    let eve = app.registered("eve@example.com").await;
    for by_refresh_token in [true, false] {
        let laptop = app.logged_in(ADA).await;
        let token = if by_refresh_token { &laptop.refresh_token } else { &laptop.access_token };
        let answer = revoke(&app, token).await.expect(StatusCode::OK);
        assert!(answer.body.is_empty() && answer.set_cookie().is_none());
        app.get("/v1/users/me").by(&laptop).await.refused(401, "revoked");
        app.refresh(&laptop.refresh_token).await.refused_grant("session_revoked");
        // And again, whoever asks.
        revoke(&app, token).bearer("x").await.expect(StatusCode::OK);
        revoke(&app, token).by(&eve).await.expect(StatusCode::OK);
    }
    app.get("/v1/users/me").by(&phone).await.expect(StatusCode::OK);
    app.get("/v1/users/me").by(&eve).await.expect(StatusCode::OK);
    let logouts = "SELECT COUNT(*) FROM audit_events WHERE type = 'logout' AND subject = actor";
    assert_eq!(app.value::<i64>(logouts).await, 2);
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM revocations").await, 2);
}

#[tokio::test]
async fn a_hint_and_client_credentials_are_not_looked_at() {
    let app = TestApp::new().await;
    let ada = app.registered(ADA).await;
    let form = [
        ("token", ada.refresh_token.as_str()),
        ("token_type_hint", "access_token"),
        ("client_id", "x"),
        ("client_secret", "y"),
    ];
    let call = app.call(Method::POST, "/v1/auth/revoke").header("authorization", "Basic eDp5");
    call.form(&form).await.expect(StatusCode::OK);
    app.get("/v1/users/me").by(&ada).await.refused(401, "revoked");
}

#[tokio::test]
async fn what_is_no_token_is_revoked_already() {
    let app = TestApp::new().await;
    for token in ["x", "v1.x.y.z", "a.b.c"] {
        let answer = revoke(&app, token).await.expect(StatusCode::OK);
        assert!(answer.body.is_empty());
    }
}

#[tokio::test]
async fn a_refresh_token_that_was_rotated_away_ends_its_session() {
    let app = TestApp::new().await;
    let ada = app.registered(ADA).await;
    app.refresh(&ada.refresh_token).await.expect(StatusCode::OK);
    app.pass(60);
    revoke(&app, &ada.refresh_token).await.expect(StatusCode::OK);
    app.get("/v1/users/me").by(&ada).await.refused(401, "revoked");
}

#[tokio::test]
async fn a_token_is_not_called_ended_when_nobody_could_look() {
    let app = TestApp::new().await;
    let ada = app.registered(ADA).await;
    app.execute("ALTER TABLE sessions RENAME TO hidden").await;
    for token in [&ada.access_token, &ada.refresh_token] {
        revoke(&app, token).await.refused_oauth(500, "internal", "server_error");
    }
    app.execute("ALTER TABLE hidden RENAME TO sessions").await;
    app.get("/v1/users/me").by(&ada).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn metadata_tells_what_there_is() {
    let app = TestApp::with(COMPAT, |_| ()).await;
    let base = "https://trade.example";
    let scopes = ["alerts:read", "alerts:write", "positions:read", "quotes:read"];
    let expected = json!({
        "issuer": "user_service",
        "jwks_uri": format!("{base}/.well-known/jwks.json"),
        "token_endpoint": format!("{base}/token"),
        "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
        "grant_types_supported": ["password", "refresh_token", "client_credentials"],
        "introspection_endpoint": format!("{base}/v1/auth/introspect"),
        "introspection_endpoint_auth_methods_supported": ["Bearer"],
        "revocation_endpoint": format!("{base}/v1/auth/revoke"),
        "revocation_endpoint_auth_methods_supported": ["none"],
        "scopes_supported": scopes,
        "response_types_supported": ["none"],
    });
    assert_eq!(app.get(METADATA).await.expect(StatusCode::OK).json(), expected);
    for switched_off in [TestApp::new().await, TestApp::with("[compat]\nauth = true\n", |_| ()).await] {
        let mut expected = expected.clone();
        expected["token_endpoint"] = json!(format!("{base}/v1/auth/token"));
        expected["token_endpoint_auth_methods_supported"] =
            json!(["client_secret_basic", "client_secret_post"]);
        expected["grant_types_supported"] = json!(["client_credentials"]);
        assert_eq!(switched_off.get(METADATA).await.expect(StatusCode::OK).json(), expected);
    }
}
