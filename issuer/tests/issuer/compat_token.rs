//! The token endpoint, for clients that know the password form and for those that know OAuth.

use http::{Method, StatusCode};
use serde_json::json;

use crate::factor::Factor;
use crate::letters::MAIL;
use crate::stage::{Answer, COMPAT, Call, PASSWORD, TestApp, lifetime, part};

const ADA: &str = "ada@example.com";
const LOGIN: [(&str, &str); 2] = [("username", ADA), ("password", PASSWORD)];

async fn app() -> TestApp {
    TestApp::with(COMPAT, |_| ()).await
}

fn token(app: &TestApp, parameters: &[(&str, &str)]) -> Call {
    app.call(Method::POST, "/token").form(parameters)
}

fn refresh(app: &TestApp, refresh_token: &str) -> Call {
    token(app, &[("grant_type", "refresh_token"), ("refresh_token", refresh_token)])
}

/// Exactly what these clients know.
#[track_caller]
fn plain(answer: &Answer) -> String {
    assert_eq!(answer.fields(), ["access_token", "token_type"]);
    assert_eq!(answer.json()["token_type"], "bearer");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
    assert!(answer.set_cookie().is_none());
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_password_gives_an_access_token_and_nothing_else() {
    let app = app().await;
    app.registered(ADA).await;
    let more = [("scope", "everything"), ("client_id", "x"), ("client_secret", "y"), ("unknown", "z")];
    let forms = [
        LOGIN.to_vec(),
        [&LOGIN[..], &[("grant_type", "password")]].concat(),
        [&LOGIN[..], &[("grant_type", ""), ("scope", "")]].concat(),
        [&LOGIN[..], &more].concat(),
    ];
    for form in forms {
        let answer = token(&app, &form).header("authorization", "Basic eDp5").await.expect(StatusCode::OK);
        let access_token = plain(&answer);
        assert_eq!(part(&access_token, 0)["typ"], "at+jwt");
        assert_eq!(part(&access_token, 1)["amr"], json!(["pwd"]));
        assert_eq!(lifetime(&access_token), 30 * 60);
        app.get("/v1/users/me").bearer(&access_token).await.expect(StatusCode::OK);
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_in_words_that_clients_know() {
    let app = app().await;
    app.registered(ADA).await;
    for username in [ADA, "nobody@example.com", "no address"] {
        let form = [("username", username), ("password", "wrong wrong wrong")];
        let answer = token(&app, &form).await.refused_oauth(401, "invalid_credentials", "invalid_grant");
        assert_eq!(answer.json()["detail"], "Incorrect username or password");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    let failed = "SELECT COUNT(*) FROM audit_events WHERE type = 'login_failed'";
    assert_eq!(app.value::<i64>(failed).await, 3);
}

#[tokio::test]
async fn a_closed_account_is_told_only_to_who_knows_its_password() {
    let app = app().await;
    app.registered(ADA).await;
    app.deactivate(ADA).await;
    token(&app, &LOGIN).await.refused_oauth(403, "account_inactive", "invalid_grant");
    let wrong = [("username", ADA), ("password", "wrong wrong wrong")];
    token(&app, &wrong).await.refused_oauth(401, "invalid_credentials", "invalid_grant");
}

#[tokio::test]
async fn what_is_wrong_with_the_form_is_told_as_oauth_has_it() {
    let app = app().await;
    app.registered(ADA).await;
    let missing: [&[(&str, &str)]; 5] = [
        &[],
        &[("username", ADA)],
        &[("password", PASSWORD)],
        &[("username", ""), ("password", PASSWORD)],
        &[("grant_type", "refresh_token")],
    ];
    for form in missing {
        token(&app, form).await.refused_oauth(400, "invalid_request", "invalid_request");
    }
    let twice = [&LOGIN[..], &LOGIN[..1]].concat();
    token(&app, &twice).await.refused_oauth(400, "invalid_request", "invalid_request");
    for other in ["authorization_code", "Client_credentials", "Password"] {
        let form = [&LOGIN[..], &[("grant_type", other)]].concat();
        token(&app, &form).await.refused_oauth(400, "invalid_request", "unsupported_grant_type");
    }
    let json = json!({"username": ADA, "password": PASSWORD});
    app.post("/token", json).await.refused_oauth(415, "unsupported_media_type", "invalid_request");
    let long = "x".repeat(70_000);
    let answer = token(&app, &[("username", ADA), ("password", &long)]).await;
    answer.refused_oauth(413, "body_too_large", "invalid_request");
    app.get("/token").await.refused(405, "method_not_allowed");
}

#[tokio::test]
async fn credentials_in_the_query_are_not_read() {
    let app = app().await;
    app.registered(ADA).await;
    let path = format!("/token?username=ada%40example.com&password={PASSWORD}");
    let answer = app.call(Method::POST, &path).form(&[]).await;
    answer.refused_oauth(400, "invalid_request", "invalid_request");
}

#[tokio::test]
async fn a_refresh_token_gives_the_next_tokens() {
    let app = app().await;
    let ada = app.registered(ADA).await;
    let answer = refresh(&app, &ada.refresh_token).await.expect(StatusCode::OK);
    assert_eq!(answer.fields(), ["access_token", "expires_in", "refresh_token", "token_type"]);
    let body = answer.json();
    assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("bearer"), &json!(900)));
    assert!(answer.set_cookie().is_none());
    assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
    let next = body["refresh_token"].as_str().unwrap();
    assert_ne!(next, ada.refresh_token);
    app.get("/v1/users/me").bearer(body["access_token"].as_str().unwrap()).await.expect(StatusCode::OK);
    // What was granted is said to who asked for something else (RFC 6749 §5.1).
    let form = [("grant_type", "refresh_token"), ("refresh_token", next), ("scope", "alerts:read")];
    let asked = token(&app, &form).await.expect(StatusCode::OK).json();
    assert_eq!(asked["scope"], "positions:read quotes:read alerts:read alerts:write");
}

#[tokio::test]
async fn a_refresh_token_that_is_not_good_is_an_invalid_grant() {
    let app = app().await;
    let ada = app.registered(ADA).await;
    for forged in ["x", "v1.x", &ada.access_token] {
        refresh(&app, forged).await.refused_oauth(400, "refresh_invalid", "invalid_grant");
    }
    refresh(&app, &ada.refresh_token).await.expect(StatusCode::OK);
    app.pass(60);
    refresh(&app, &ada.refresh_token).await.refused_oauth(400, "refresh_reused", "invalid_grant");
    app.get("/v1/users/me").by(&ada).await.refused(401, "revoked");
    let ada = app.logged_in(ADA).await;
    app.pass(8 * 86_400);
    let answer = refresh(&app, &ada.refresh_token).await;
    assert!(!answer.headers.contains_key("www-authenticate"));
    answer.refused_oauth(400, "session_expired", "invalid_grant");
}

#[tokio::test]
async fn a_cookie_counts_for_nothing_here() {
    let app = app().await;
    let ada = app.registered(ADA).await;
    let form = [("grant_type", "refresh_token")];
    let answer = token(&app, &form).cookie(&ada.refresh_token).await;
    answer.refused_oauth(400, "invalid_request", "invalid_request");
    token(&app, &LOGIN).cookie(&ada.refresh_token).await.expect(StatusCode::OK);
    app.get("/v1/users/me").by(&ada).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_session_without_a_refresh_token_ends_with_its_access_token() {
    let app = TestApp::with(&format!("{COMPAT}token_access_lifetime = \"20m\"\n"), |_| ()).await;
    let phone = app.registered(ADA).await;
    let access_token = plain(&token(&app, &LOGIN).await.expect(StatusCode::OK));
    assert_eq!(lifetime(&access_token), 20 * 60);
    let live = async || {
        let phone = app.logged_in(ADA).await;
        app.get("/v1/auth/sessions").by(&phone).await.json()["sessions"].as_array().unwrap().len()
    };
    assert_eq!(live().await, 3);
    app.pass(20 * 60);
    assert_eq!(live().await, 3);
    app.get("/v1/users/me").bearer(&access_token).await.refused(401, "revoked");
    app.refresh(&phone.refresh_token).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_group_that_is_off_has_no_routes() {
    for others in ["", "[compat]\nauth = true\napi_auth = true\n"] {
        let app = TestApp::with(others, |_| ()).await;
        token(&app, &LOGIN).await.refused(404, "not_found");
    }
}

/// Wrong passwords for this user name, until no more are looked at.
async fn lock(app: &TestApp, username: &str) {
    let wrong = || token(app, &[("username", username), ("password", "wrong wrong wrong")]);
    for _ in 0..10 {
        assert_eq!(wrong().await.status, StatusCode::UNAUTHORIZED, "{username}");
    }
    assert_eq!(wrong().await.status, StatusCode::TOO_MANY_REQUESTS, "{username}");
}

#[tokio::test]
async fn an_imported_user_logs_in_by_user_name_and_is_forgiven_under_either_name() {
    let app = TestApp::with(&format!("{COMPAT}{MAIL}"), |_| ()).await;
    let (ada, root) = (app.registered(ADA).await, app.admin("root@example.com").await);
    app.execute("UPDATE users SET username = 'Ada.L' WHERE email = 'ada@example.com'").await;
    let by_name = [("username", "Ada.L"), ("password", PASSWORD)];
    token(&app, &by_name).await.expect(StatusCode::OK);
    // Each has a count of its own; who comes in by one has both forgiven.
    lock(&app, "Ada.L").await;
    assert_eq!(token(&app, &by_name).await.status, StatusCode::TOO_MANY_REQUESTS);
    token(&app, &LOGIN).await.expect(StatusCode::OK);
    token(&app, &by_name).await.expect(StatusCode::OK);
    lock(&app, ADA).await;
    token(&app, &by_name).await.expect(StatusCode::OK);
    lock(&app, "Ada.L").await;
    token(&app, &LOGIN).await.expect(StatusCode::OK);
    // So do an administrator and a new password.
    for name in [ADA, "Ada.L"] {
        lock(&app, name).await;
    }
    let unlock = format!("/v1/admin/users/{}/unlock", ada.id);
    app.call(Method::POST, &unlock).by(&root).await.expect(StatusCode::NO_CONTENT);
    for name in [ADA, "Ada.L"] {
        lock(&app, name).await;
    }
    app.post("/v1/auth/password/forgot", json!({"email": ADA})).await.expect(StatusCode::ACCEPTED);
    let reset = json!({"token": app.letter_to(ADA).await.token(), "password": "velvet-tundra-adagio-31"});
    app.post("/v1/auth/password/reset", reset).await.expect(StatusCode::NO_CONTENT);
    for name in [ADA, "Ada.L"] {
        lock(&app, name).await;
    }
}

#[tokio::test]
async fn who_has_a_second_factor_gets_no_token_where_no_code_is_known() {
    let app = TestApp::with(COMPAT, |_| ()).await;
    let ada = app.registered(ADA).await;
    Factor::of(&app, &ada).await;
    let login = || serde_json::json!({"email": ADA, "password": PASSWORD});
    for answer in [
        token(&app, &LOGIN).await,
        app.post("/auth/login", login()).await,
        app.post("/api/auth/login", login()).await,
    ] {
        assert_eq!(
            (answer.status, &answer.json()["reason"]),
            (StatusCode::FORBIDDEN, &"mfa_required".into())
        );
        assert!(answer.set_cookie().is_none() && answer.json().get("access_token").is_none());
    }
    // Nothing waits for a code that nobody will show.
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM waiting_logins").await, 0);
    assert!(app.app.metrics.text().contains("countersign_logins_total{outcome=\"code_required\"} 3"));
}
