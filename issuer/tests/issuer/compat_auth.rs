//! `/auth/login` and `/health`, among other routes and alone.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::stage::{COMPAT, PASSWORD, TestApp, lifetime};

const ADA: &str = "ada@example.com";

fn login() -> Value {
    json!({"email": ADA, "password": PASSWORD})
}

#[tokio::test]
async fn a_login_gives_an_access_token_and_nothing_else() {
    let app = TestApp::with(COMPAT, |_| ()).await;
    let ada = app.registered(ADA).await;
    let answer = app.post("/auth/login", login()).cookie(&ada.refresh_token).await.expect(StatusCode::OK);
    assert_eq!(answer.fields(), ["access_token", "token_type"]);
    assert_eq!(answer.json()["token_type"], "bearer");
    assert_eq!(
        (answer.header("content-type"), answer.header("cache-control")),
        ("application/json", "no-store")
    );
    assert!(answer.set_cookie().is_none());
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(lifetime(&token), 60 * 60);
    app.get("/v1/users/me").bearer(&token).await.expect(StatusCode::OK);
    // A cookie is not theirs, and so it ends nothing.
    app.get("/v1/users/me").by(&ada).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_wrong_password_is_told_in_words_that_clients_know() {
    let app = TestApp::with(COMPAT, |_| ()).await;
    app.registered(ADA).await;
    for email in [ADA, "nobody@example.com"] {
        let body = json!({"email": email, "password": "wrong wrong wrong"});
        let answer = app.post("/auth/login", body).await.refused(401, "invalid_credentials");
        assert_eq!(answer.json()["detail"], "Invalid credentials");
        assert!(answer.set_cookie().is_none());
    }
    app.deactivate(ADA).await;
    app.post("/auth/login", login()).await.refused(403, "account_inactive");
}

#[tokio::test]
async fn credentials_in_the_query_are_422() {
    let app = TestApp::with(COMPAT, |_| ()).await;
    app.registered(ADA).await;
    let path = format!("/auth/login?email=ada%40example.com&password={PASSWORD}");
    let answer = app.call(Method::POST, &path).await;
    assert_eq!(answer.invalid_fields(), ["email", "password"]);
    assert_eq!(app.post(&path, json!({})).await.invalid_fields(), ["email", "password"]);
    assert_eq!(app.post("/auth/login", json!({"email": ADA})).await.invalid_fields(), ["password"]);
    let form = app.call(Method::POST, "/auth/login").form(&[("email", ADA), ("password", PASSWORD)]);
    form.await.refused(415, "unsupported_media_type");
}

#[tokio::test]
async fn health_is_a_sign_of_life() {
    let app = TestApp::with(COMPAT, |_| ()).await;
    assert_eq!(app.get("/health").await.expect(StatusCode::OK).json(), json!({"status": "ok"}));
}

#[tokio::test]
async fn a_group_that_is_off_has_no_routes() {
    for others in ["", "[compat]\ntoken = true\napi_auth = true\n"] {
        let app = TestApp::with(others, |_| ()).await;
        app.post("/auth/login", login()).await.refused(404, "not_found");
        app.get("/health").await.refused(404, "not_found");
    }
}

#[tokio::test]
async fn served_alone_there_is_nothing_else_but_keys_and_probes() {
    let full = TestApp::with(COMPAT, |_| ()).await;
    let document = full.get("/v1/openapi.json").await.json();
    full.registered(ADA).await;
    // Other groups may be on: named alone, one is alone.
    let app = full.restarted(|settings| settings.serve.only = vec!["auth".into()]).await;
    let answer = app.post("/auth/login", login()).await.expect(StatusCode::OK);
    assert_eq!(answer.fields(), ["access_token", "token_type"]);
    let there =
        ["/health", "/.well-known/jwks.json", "/v1/auth/.well-known/jwks.json", "/healthz", "/readyz"];
    for path in there {
        app.get(path).await.expect(StatusCode::OK);
    }
    for (path, methods) in document["paths"].as_object().unwrap() {
        if there.contains(&path.as_str()) || path == "/auth/login" {
            continue;
        }
        for method in methods.as_object().unwrap().keys() {
            let call = app.call(method.to_uppercase().parse().unwrap(), &path.replace("{id}", "0"));
            call.await.refused(404, "not_found");
        }
    }
    for path in ["/docs", "/docs/", "/v1/openapi.json", "/api/auth/docs", "/api/auth/openapi.json"] {
        app.get(path).await.refused(404, "not_found");
    }
    app.internally(Method::GET, "/metrics").await.expect(StatusCode::OK);
}

#[tokio::test]
async fn served_alone_it_needs_no_switch() {
    let app = TestApp::with("[serve]\nonly = [\"auth\"]\n", |_| ()).await;
    app.post("/auth/login", login()).await.refused(401, "invalid_credentials");
}

#[tokio::test]
async fn a_revocation_is_remembered_as_long_as_the_longest_token() {
    let app = TestApp::with(COMPAT, |_| ()).await;
    app.registered(ADA).await;
    let token = app.post("/auth/login", login()).await.json()["access_token"].as_str().unwrap().to_owned();
    app.post("/v1/auth/logout", json!({})).bearer(&token).await.expect(StatusCode::NO_CONTENT);
    // A lifetime, the skew, and as long as signing a token may take.
    for (passed, left) in [(3659, 1), (1, 0)] {
        app.pass(passed);
        countersign_issuer::sessions::sweep(&app.app.db, app.clock.now()).await.unwrap();
        assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM revocations").await, left);
    }
}
