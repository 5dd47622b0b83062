//! `/api/auth/…`, line by line as its clients know it.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::stage::{Answer, COMPAT, Call, PASSWORD, Person, TestApp, lifetime};

const ADA: &str = "ada@example.com";

async fn app() -> TestApp {
    TestApp::with(COMPAT, |_| ()).await
}

fn login() -> Value {
    json!({"email": ADA, "password": PASSWORD})
}

/// The tokens of a login: the refresh token is in the cookie.
#[derive(Debug)]
struct Tokens {
    access: String,
    refresh: String,
}

impl Tokens {
    #[track_caller]
    fn of(answer: &Answer) -> Self {
        let (refresh, attributes) = answer.set_cookie().unwrap();
        assert_eq!(attributes, "HttpOnly; SameSite=Strict; Secure; Path=/api/auth");
        Self { access: answer.json()["access_token"].as_str().unwrap().to_owned(), refresh }
    }
}

async fn logged_in(app: &TestApp) -> Tokens {
    Tokens::of(&app.post("/api/auth/login", login()).await.expect(StatusCode::OK))
}

fn refresh(app: &TestApp) -> Call {
    app.call(Method::POST, "/api/auth/refresh")
}

const USER: [&str; 6] = ["created_at", "email", "id", "is_active", "is_admin", "name"];

#[track_caller]
fn is_ada(user: &Value, name: &str) {
    let mut names: Vec<&str> = user.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, USER);
    assert_eq!((&user["email"], &user["name"]), (&json!(ADA), &json!(name)));
    assert_eq!((&user["is_active"], &user["is_admin"]), (&json!(true), &json!(false)));
    assert_eq!(user["created_at"], "2026-11-20T12:00:00Z");
}

#[tokio::test]
async fn registering_is_logging_in() {
    for path in ["/api/auth/register", "/api/auth/email/register"] {
        for (given, name) in [(json!("Ada King"), "Ada King"), (json!(null), "ada"), (json!(""), "ada")] {
            let app = app().await;
            let body = json!({"email": ADA, "password": PASSWORD, "name": given});
            let answer = app.post(path, body).await.expect(StatusCode::OK);
            assert_eq!(answer.fields(), ["access_token", "token_type", "user"]);
            assert_eq!(answer.json()["token_type"], "bearer");
            is_ada(&answer.json()["user"], name);
            let tokens = Tokens::of(&answer);
            assert_eq!(lifetime(&tokens.access), 30 * 60);
            app.get("/v1/users/me").bearer(&tokens.access).await.expect(StatusCode::OK);
        }
    }
}

#[tokio::test]
async fn what_cannot_be_registered_is_told_as_everywhere() {
    let app = app().await;
    let without_name = app.post("/api/auth/register", login()).await.expect(StatusCode::OK);
    is_ada(&without_name.json()["user"], "ada");
    app.post("/api/auth/register", login()).await.refused(409, "email_taken");
    let weak = json!({"email": "bob@example.com", "password": "short"});
    assert_eq!(app.post("/api/auth/register", weak).await.invalid_fields(), ["password"]);
    let odd = json!({"email": "bob", "password": PASSWORD, "name": "Bob"});
    assert_eq!(app.post("/api/auth/email/register", odd).await.invalid_fields(), ["email"]);
    assert_eq!(
        app.post("/api/auth/register", json!({})).await.invalid_fields(),
        ["email", "name", "password"]
    );
}

#[tokio::test]
async fn a_login_answers_as_a_registration() {
    let app = app().await;
    app.registered(ADA).await;
    let answer = app.post("/api/auth/login", login()).await.expect(StatusCode::OK);
    assert_eq!(answer.fields(), ["access_token", "token_type", "user"]);
    assert_eq!(answer.json()["token_type"], "bearer");
    is_ada(&answer.json()["user"], "Some One");
    let tokens = Tokens::of(&answer);
    assert_eq!(lifetime(&tokens.access), 30 * 60);
    let mut asking = login();
    asking["refresh_token_in_body"] = json!(true);
    let asked = app.post("/api/auth/login", asking).await.expect(StatusCode::OK);
    assert_eq!(asked.json()["refresh_token"], json!(asked.set_cookie().unwrap().0));

    let wrong = json!({"email": ADA, "password": "wrong wrong wrong"});
    app.post("/api/auth/login", wrong).await.refused(401, "invalid_credentials");
    assert_eq!(app.post("/api/auth/login", json!({})).await.invalid_fields(), ["email", "password"]);
    app.deactivate(ADA).await;
    app.post("/api/auth/login", login()).await.refused(403, "account_inactive");
}

#[tokio::test]
async fn a_refresh_takes_the_token_from_body_header_or_cookie() {
    let app = app().await;
    app.registered(ADA).await;
    let tokens = logged_in(&app).await;
    let in_body = |token: &str| refresh(&app).json(json!({"refresh_token": token}));
    let by_bearer = |token: &str| refresh(&app).bearer(token);
    let calls: [&dyn Fn(&str) -> Call; 2] = [&in_body, &by_bearer];
    let mut token = tokens.refresh;
    for call in calls {
        let answer = call(&token).await.expect(StatusCode::OK);
        assert_eq!(answer.fields(), ["access_token", "expires_in", "refresh_token", "token_type"]);
        assert_eq!(answer.json()["expires_in"], 30 * 60);
        token = Tokens::of(&answer).refresh;
        assert_eq!(answer.json()["refresh_token"], json!(token));
    }
    let answer = refresh(&app).cookie(&token).await.expect(StatusCode::OK);
    assert_eq!(answer.json()["token_type"], "bearer");
    let next = Tokens::of(&answer);
    app.get("/api/auth/me").bearer(&next.access).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_page_in_a_browser_has_the_refresh_token_in_the_cookie_only() {
    let app = app().await;
    app.registered(ADA).await;
    let tokens = logged_in(&app).await;
    let own = refresh(&app).cookie(&tokens.refresh).header("sec-fetch-site", "same-origin");
    let answer = own.await.expect(StatusCode::OK);
    assert_eq!(answer.fields(), ["access_token", "expires_in", "token_type"]);
    let foreign = refresh(&app).cookie(&Tokens::of(&answer).refresh).header("origin", "https://evil.example");
    foreign.await.refused(403, "cross_site");
}

#[tokio::test]
async fn an_access_token_does_not_refresh() {
    let app = app().await;
    app.registered(ADA).await;
    let tokens = logged_in(&app).await;
    refresh(&app).bearer(&tokens.access).await.refused(401, "wrong_type");
    // Also if the right one is beside it in the cookie, and if it has expired.
    refresh(&app).bearer(&tokens.access).cookie(&tokens.refresh).await.refused(401, "wrong_type");
    app.pass(30 * 60 + 30);
    refresh(&app).bearer(&tokens.access).await.refused(401, "token_expired");
    // The body says which one is meant.
    let body = json!({"refresh_token": tokens.refresh});
    refresh(&app).json(body).bearer(&tokens.access).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_refresh_that_is_refused_is_not_to_be_tried_again() {
    let app = app().await;
    app.registered(ADA).await;
    let tokens = logged_in(&app).await;
    refresh(&app).await.refused_grant("missing_token");
    for forged in ["x", "v1.x.y.z"] {
        refresh(&app).bearer(forged).await.refused_grant("refresh_invalid");
    }
    let two = json!({"refresh_token": "other"});
    refresh(&app).json(two).cookie(&tokens.refresh).await.refused_grant("ambiguous_credentials");
    refresh(&app).cookie(&tokens.refresh).await.expect(StatusCode::OK);
    app.pass(60);
    let reused = refresh(&app).cookie(&tokens.refresh).await.refused_grant("refresh_reused");
    let (value, attributes) = reused.set_cookie().unwrap();
    assert!(value.is_empty() && attributes.contains("Path=/api/auth") && attributes.contains("Max-Age=0"));
}

#[tokio::test]
async fn one_knows_who_one_is() {
    let app = app().await;
    let ada = app.registered(ADA).await;
    let tokens = logged_in(&app).await;
    let get = |path: &str| app.get(path).bearer(&tokens.access);
    let me = get("/api/auth/me").await.expect(StatusCode::OK).json();
    is_ada(&me, "Some One");
    assert_eq!(me["id"], json!(ada.id));
    let verified = get("/api/auth/verify").await.expect(StatusCode::OK);
    assert_eq!(verified.json(), json!({"user": me}));
    let protected = get("/api/auth/test/protected").await.expect(StatusCode::OK);
    assert_eq!(protected.json()["user"], me);
    let public = app.get("/api/auth/test/public").await.expect(StatusCode::OK);
    assert_eq!(public.fields(), ["message"]);
    for path in ["me", "verify", "test/protected", "sessions", "admin/users"] {
        let path = format!("/api/auth/{path}");
        app.get(&path).await.refused(401, "missing_token");
        app.get(&path).bearer("x.y.z").await.refused(401, "malformed_token");
    }
    // Tokens of other routes are as good.
    app.get("/api/auth/me").by(&ada).await.expect(StatusCode::OK);
}

#[track_caller]
fn logged_out(answer: Answer) {
    let answer = answer.expect(StatusCode::OK);
    assert_eq!(answer.json(), json!({"message": "Logged out"}));
    let (value, attributes) = answer.set_cookie().unwrap();
    assert!(value.is_empty(), "{value}");
    assert_eq!(attributes, "HttpOnly; SameSite=Strict; Secure; Path=/api/auth; Max-Age=0");
}

#[tokio::test]
async fn logging_out_ends_this_session_only() {
    let app = app().await;
    let phone = app.registered(ADA).await;
    let out = || app.call(Method::POST, "/api/auth/logout");
    let tokens = logged_in(&app).await;
    logged_out(out().bearer(&tokens.access).await);
    app.get("/api/auth/me").bearer(&tokens.access).await.refused(401, "revoked");
    refresh(&app).cookie(&tokens.refresh).await.refused_grant("session_revoked");
    let tokens = logged_in(&app).await;
    // Whatever else is in the header.
    logged_out(out().cookie(&tokens.refresh).bearer("x.y.z").await);
    app.get("/api/auth/me").bearer(&tokens.access).await.refused(401, "revoked");
    let tokens = logged_in(&app).await;
    logged_out(out().bearer(&tokens.refresh).await);
    app.get("/api/auth/me").bearer(&tokens.access).await.refused(401, "revoked");
    let tokens = logged_in(&app).await;
    logged_out(out().json(json!({"refresh_token": tokens.refresh})).await);
    app.get("/api/auth/me").bearer(&tokens.access).await.refused(401, "revoked");
    app.get("/api/auth/me").by(&phone).await.expect(StatusCode::OK);
    // Without a token, and with one that is not good.
    logged_out(out().await);
    logged_out(out().bearer(&tokens.access).await);
    logged_out(app.call(Method::POST, "/api/auth/logout-all").await);
    app.get("/api/auth/me").by(&phone).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn logging_out_everywhere_ends_every_session() {
    let app = app().await;
    let phone = app.registered(ADA).await;
    let tokens = logged_in(&app).await;
    logged_out(app.call(Method::POST, "/api/auth/logout-all").bearer(&tokens.access).await);
    app.get("/v1/users/me").by(&phone).await.refused(401, "revoked");
    app.refresh(&phone.refresh_token).await.refused_grant("session_revoked");
}

#[tokio::test]
async fn sessions_are_listed_and_ended() {
    let app = app().await;
    let phone = app.registered(ADA).await;
    app.pass(60);
    let tokens = logged_in(&app).await;
    let list = app.get("/api/auth/sessions").bearer(&tokens.access).await.expect(StatusCode::OK);
    assert_eq!(list.fields(), ["sessions"]);
    let list = list.json()["sessions"].as_array().unwrap().clone();
    assert_eq!((list.len(), &list[0]["current"], &list[1]["current"]), (2, &json!(true), &json!(false)));
    let path = format!("/api/auth/sessions/{}", list[1]["id"].as_str().unwrap());
    app.call(Method::DELETE, &path).bearer(&tokens.access).await.expect(StatusCode::NO_CONTENT);
    app.get("/v1/users/me").by(&phone).await.refused(401, "revoked");
    app.call(Method::DELETE, &path).bearer(&tokens.access).await.refused(404, "not_found");
    let eve = app.registered("eve@example.com").await;
    let path = format!("/api/auth/sessions/{}", list[0]["id"].as_str().unwrap());
    app.call(Method::DELETE, &path).by(&eve).await.refused(404, "not_found");
}

/// Someone who logged in as an administrator.
async fn admin(app: &TestApp) -> Person {
    app.registered("admin@example.com").await;
    let promote = "UPDATE users SET roles = 'user admin' WHERE email = 'admin@example.com'";
    assert_eq!(app.execute(promote).await, 1);
    app.logged_in("admin@example.com").await
}

#[tokio::test]
async fn administrators_see_who_has_an_account_and_nobody_else_does() {
    let app = app().await;
    let ada = app.registered(ADA).await;
    let admin = admin(&app).await;
    let answer = app.get("/api/auth/admin/users").by(&ada).await.refused(403, "permission_denied");
    assert_eq!(answer.json()["detail"], "Permission denied");
    let all = app.get("/api/auth/admin/users").by(&admin).await.expect(StatusCode::OK);
    assert_eq!(all.fields(), ["items", "next_cursor"]);
    let all = all.json();
    assert_eq!(all["next_cursor"], Value::Null);
    assert_eq!((all["items"].as_array().unwrap().len(), &all["items"][1]["is_admin"]), (2, &json!(true)));
    is_ada(&all["items"][0], "Some One");

    let page = app.get("/api/auth/admin/users?limit=1").by(&admin).await.expect(StatusCode::OK).json();
    assert_eq!(page["items"][0]["email"], ADA);
    let path = format!("/api/auth/admin/users?limit=1&cursor={}", page["next_cursor"].as_str().unwrap());
    let next = app.get(&path).by(&admin).await.expect(StatusCode::OK).json();
    assert_eq!(
        (&next["items"][0]["email"], &next["next_cursor"]),
        (&json!("admin@example.com"), &Value::Null)
    );
    for wrong in ["limit=0", "limit=-1", "limit=1000000", "limit=x", "cursor=forged", "cursor=YQ"] {
        let path = format!("/api/auth/admin/users?{wrong}");
        let answer = app.get(&path).by(&admin).await;
        assert_eq!(answer.invalid_fields(), [wrong.split('=').next().unwrap()], "{wrong}");
    }
    // A cursor is good for the list that gave it, and for no other.
    let lists = ["/api/auth/admin/users", "/v1/admin/users"];
    for (one, other) in [(lists[0], lists[1]), (lists[1], lists[0])] {
        let page = app.get(&format!("{one}?limit=1")).by(&admin).await.expect(StatusCode::OK).json();
        let cursor = page["next_cursor"].as_str().unwrap().to_owned();
        app.get(&format!("{one}?cursor={cursor}")).by(&admin).await.expect(StatusCode::OK);
        let answer = app.get(&format!("{other}?cursor={cursor}")).by(&admin).await;
        assert_eq!(answer.invalid_fields(), ["cursor"], "{other}");
    }
}

#[tokio::test]
async fn the_group_describes_itself_to_anyone() {
    let app = app().await;
    let document = app.get("/api/auth/openapi.json").await.expect(StatusCode::OK);
    assert_eq!(document.header("content-type"), "application/json");
    let moved = app.get("/api/auth/docs").await;
    assert!(moved.status.is_redirection());
    assert_eq!(moved.header("location"), "/api/auth/docs/");
    let page = app.get("/api/auth/docs/").await.expect(StatusCode::OK);
    assert!(String::from_utf8_lossy(&page.body).contains("swagger"));
    let script = app.get("/api/auth/docs/swagger-initializer.js").await.expect(StatusCode::OK);
    assert!(String::from_utf8_lossy(&script.body).contains("/api/auth/openapi.json"));
}

#[tokio::test]
async fn each_cookie_is_for_its_own_routes() {
    let app = app().await;
    let phone = app.registered(ADA).await;
    let tokens = logged_in(&app).await;
    // A browser would send neither; the token is the same kind, whoever carries it.
    let answer = refresh(&app).cookie(&phone.refresh_token).await.expect(StatusCode::OK);
    assert!(answer.set_cookie().unwrap().1.contains("Path=/api/auth"));
    let answer = app.call(Method::POST, "/v1/auth/refresh").cookie(&tokens.refresh).await;
    assert!(answer.expect(StatusCode::OK).set_cookie().unwrap().1.contains("Path=/v1/auth"));
}

#[tokio::test]
async fn logging_in_over_a_live_cookie_ends_its_session() {
    let app = app().await;
    app.registered(ADA).await;
    let old = logged_in(&app).await;
    app.post("/api/auth/login", login()).cookie(&old.refresh).await.expect(StatusCode::OK);
    app.get("/api/auth/me").bearer(&old.access).await.refused(401, "revoked");
}

#[tokio::test]
async fn a_lifetime_is_the_groups_own() {
    let app = TestApp::with(&format!("{COMPAT}api_auth_access_lifetime = \"45m\"\n"), |_| ()).await;
    app.registered(ADA).await;
    let tokens = logged_in(&app).await;
    assert_eq!(lifetime(&tokens.access), 45 * 60);
    let answer = refresh(&app).cookie(&tokens.refresh).await.expect(StatusCode::OK).json();
    assert_eq!(
        (&answer["expires_in"], lifetime(answer["access_token"].as_str().unwrap())),
        (&json!(2700), 2700)
    );
    assert_eq!(lifetime(&app.logged_in(ADA).await.access_token), 900);
}

#[tokio::test]
async fn a_group_that_is_off_has_no_routes() {
    let document = app().await.get("/api/auth/openapi.json").await.json();
    for others in ["", "[compat]\ntoken = true\nauth = true\n"] {
        let app = TestApp::with(others, |_| ()).await;
        for (path, methods) in document["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                let call = app.call(method.to_uppercase().parse().unwrap(), &path.replace("{id}", "0"));
                call.await.refused(404, "not_found");
            }
        }
        app.get("/api/auth/docs").await.refused(404, "not_found");
        app.get("/api/auth/openapi.json").await.refused(404, "not_found");
    }
}
