//! Requests that are wrong in form: always a clear 4xx, never a 5xx.

use http::{Method, StatusCode};
use serde_json::json;

use crate::letters::MAIL;
use crate::stage::{COMPAT, PASSWORD, TestApp};

const POSTS: [&str; 6] = [
    "/v1/auth/register",
    "/v1/auth/login",
    "/v1/auth/refresh",
    "/v1/auth/logout",
    "/v1/auth/password/forgot",
    "/v1/auth/email/resend",
];

#[tokio::test]
async fn unknown_paths_are_404() {
    let app = TestApp::new().await;
    for path in ["/", "/v1", "/v1/auth/login/", "/v1/internal/revocations", "/v1/auth/LOGIN", "/metrics"] {
        app.get(path).await.refused(404, "not_found");
    }
}

#[tokio::test]
async fn wrong_methods_are_405_and_name_the_right_ones() {
    let app = TestApp::new().await;
    let cases = [
        (Method::GET, "/v1/auth/login", "POST"),
        (Method::PUT, "/v1/users/me", "GET,HEAD,PATCH,DELETE"),
        (Method::POST, "/healthz", "GET,HEAD"),
        (Method::from_bytes(b"BREW-A-POT-OF-COFFEE").unwrap(), "/v1/auth/refresh", "POST"),
    ];
    for (method, path, allow) in cases {
        let answer = app.call(method, path).await.refused(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), allow, "{path}");
    }
}

#[tokio::test]
async fn other_content_types_are_415() {
    let app = TestApp::new().await;
    for path in POSTS {
        let call = || app.call(Method::POST, path).body("{}");
        call().await.refused(415, "unsupported_media_type");
        for content_type in
            ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "json", "\u{e9}"]
        {
            call().header("content-type", content_type).await.refused(415, "unsupported_media_type");
        }
    }
    let body = json!({"email": "a@b", "password": "wrong wrong wrong"}).to_string();
    for content_type in
        ["application/json; charset=utf-8", "Application/JSON", "application/merge-patch+json"]
    {
        let call = app.call(Method::POST, "/v1/auth/login").header("content-type", content_type);
        call.body(body.clone()).await.refused(401, "invalid_credentials");
    }
}

#[tokio::test]
async fn bodies_over_64_kib_are_413() {
    let app = TestApp::new().await;
    for path in POSTS {
        let body = json!({"padding": "x".repeat(64 * 1024)});
        app.post(path, body).await.refused(413, "body_too_large");
    }
    let padding = "x".repeat(64 * 1024 - 64);
    let body = json!({"email": "a@b", "password": "y", "padding": padding});
    app.post("/v1/auth/login", body).await.refused(401, "invalid_credentials");
}

#[tokio::test]
async fn passwords_beyond_all_bounds_are_refused_at_no_cost() {
    let app = TestApp::with(&format!("{COMPAT}{MAIL}"), |_| ()).await;
    let ada = app.registered("ada@example.com").await;
    let root = app.admin("root@example.com").await;
    app.post("/v1/auth/password/forgot", json!({"email": "ada@example.com"})).await;
    let token = app.letter_to("ada@example.com").await.token();
    let set = format!("/v1/admin/users/{}/password", ada.id);
    let email = "ada@example.com";
    let calls = |password: &str| {
        let (post, change) = (Method::POST, "/v1/auth/password/change");
        vec![
            app.post(
                "/v1/auth/register",
                json!({"email": "x@example.com", "password": password, "name": "x"}),
            ),
            app.post("/api/auth/register", json!({"email": "x@example.com", "password": password})),
            app.post(change, json!({"current_password": PASSWORD, "password": password})).by(&ada),
            app.post("/v1/auth/password/reset", json!({"token": token, "password": password})),
            app.post("/api/auth/password/reset/confirm", json!({"token": token, "new_password": password})),
            app.post(&set, json!({"password": password})).by(&root),
            // To be checked, from here on.
            app.post("/v1/auth/login", json!({"email": email, "password": password})),
            app.post("/auth/login", json!({"email": email, "password": password})),
            app.post("/api/auth/login", json!({"email": email, "password": password})),
            app.call(post, "/token").form(&[("username", email), ("password", password)]),
            app.post(change, json!({"current_password": password, "password": PASSWORD})).by(&ada),
            app.call(Method::DELETE, "/v1/users/me").json(json!({"password": password})).by(&ada),
        ]
    };
    let hashed = || app.app.hasher.figures().accepted.get();
    let before = hashed();
    for call in calls(&"x".repeat(1 << 20)) {
        let answer = call.await;
        assert_eq!((answer.status.as_u16(), &answer.json()["reason"]), (413, &json!("body_too_large")));
    }
    assert_eq!(hashed(), before);
    // Within what a body may be.
    let expected = [422, 422, 422, 422, 422, 422, 401, 401, 401, 401, 403, 422];
    for (at, (call, status)) in calls(&"x".repeat(60_000)).into_iter().zip(expected).enumerate() {
        let before = hashed();
        assert_eq!(call.await.status.as_u16(), status, "{at}");
        // A wrong password costs what a wrong password costs, whatever it is.
        assert_eq!(hashed() - before, u64::from(at >= 6), "{at}");
    }
    app.logged_in(email).await;
}

#[tokio::test]
async fn what_is_no_json_is_400() {
    let app = TestApp::new().await;
    let deep = "[".repeat(60_000);
    let bodies: [&[u8]; 9] = [
        b"{",
        b"nonsense",
        b"{\"email\": \"a@b\"} trailing",
        b"{\"email\": \"\xff\xfe\"}",
        b"{\"email\": \"\\ud800\", \"refresh_token\": \"\\ud800\"}",
        b"{\"email\": 1e999, \"refresh_token\": 1e999}",
        b"{'email': 'a'}",
        b"\xef\xbb\xbf{}",
        deep.as_bytes(),
    ];
    for path in POSTS {
        for body in bodies {
            let call = app.call(Method::POST, path).header("content-type", "application/json");
            call.body(body.to_vec()).await.refused(400, "invalid_json");
        }
    }
    app.call(Method::POST, "/v1/auth/login")
        .header("content-type", "application/json")
        .await
        .refused(400, "invalid_json");
}

#[tokio::test]
async fn wrong_types_are_422_and_never_quoted() {
    let app = TestApp::new().await;
    for value in [json!(5), json!(null), json!(["secret-value"]), json!({"a": "secret-value"}), json!(true)] {
        let body = json!({"email": "ada@example.com", "password": value, "name": "Ada"});
        for path in ["/v1/auth/register", "/v1/auth/login"] {
            let answer = app.post(path, body.clone()).await;
            assert!(!answer.body.windows(12).any(|bytes| bytes == b"secret-value"));
            assert_eq!(answer.invalid_fields(), ["password"], "{value}");
        }
    }
    for body in [json!([]), json!(["ada@example.com", "x"]), json!("text"), json!(5)] {
        for path in POSTS {
            assert_eq!(app.post(path, body.clone()).await.invalid_fields(), [""], "{body}");
        }
    }
    for path in ["/v1/auth/register", "/v1/auth/login"] {
        assert_eq!(app.post(path, json!(null)).await.invalid_fields(), [""]);
    }
    let deep = format!("{{\"email\": {}", "[".repeat(60_000));
    let call = app.call(Method::POST, "/v1/auth/login").header("content-type", "application/json");
    assert_eq!(call.body(deep).await.invalid_fields(), ["email"]);
    let ada = app.registered("ada@example.com").await;
    let body = json!({"all_devices": "yes"});
    assert_eq!(app.post("/v1/auth/logout", body).by(&ada).await.invalid_fields(), ["all_devices"]);
    let twice = app.call(Method::POST, "/v1/auth/login").header("content-type", "application/json");
    twice.body(r#"{"email":"a@b","email":"c@d","password":"x"}"#).await.refused(422, "invalid_fields");
}

#[tokio::test]
async fn where_a_body_may_be_missing_null_is_as_good_as_none() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    let missing = app.post("/v1/auth/refresh", json!(null)).await.refused(400, "missing_token");
    assert_eq!(missing.json()["error"], "invalid_grant");
    app.post("/v1/auth/logout", json!(null)).bearer(&ada.access_token).await.expect(StatusCode::NO_CONTENT);
    app.get("/v1/users/me").bearer(&ada.access_token).await.refused(401, "revoked");
}

#[tokio::test]
async fn bearer_refusals_say_why() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    let me = |value: &str| app.get("/v1/users/me").header("authorization", value);
    app.get("/v1/users/me").await.refused(401, "missing_token");
    me("Basic YTpi").await.refused(401, "missing_token");
    me("Bearer nonsense").await.refused(401, "malformed_token");
    me(&format!("Bearer {}", "x".repeat(60_000))).await.refused(401, "token_too_large");
    let tampered = format!("Bearer {}", ada.access_token.replacen('.', ".x", 1));
    assert_eq!(me(&tampered).await.status, StatusCode::UNAUTHORIZED);
    let good = format!("Bearer {}", ada.access_token);
    me(&good).header("authorization", &good).await.refused(400, "ambiguous_credentials");
    me(&good).await.expect(StatusCode::OK);
    me(&good.replace(' ', "  ")).await.expect(StatusCode::OK);
    for separator in ["\t", " \t", "\t "] {
        me(&good.replace(' ', separator)).await.refused(401, "malformed_token");
    }

    app.pass(900 + 29);
    me(&good).await.expect(StatusCode::OK);
    app.pass(1);
    let answer = me(&good).await.refused(401, "token_expired");
    assert_eq!(answer.json()["detail"], "Token expired");
    assert!(answer.header("www-authenticate").contains("error=\"invalid_token\""));
}

#[tokio::test]
async fn a_refresh_token_is_no_access_token() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    app.get("/v1/users/me").bearer(&ada.refresh_token).await.refused(401, "malformed_token");
}

#[tokio::test]
async fn a_sane_request_id_is_kept_and_another_replaced() {
    let app = TestApp::new().await;
    let answer = app.get("/healthz").header("x-request-id", "edge-1.a_B").await;
    assert_eq!(answer.header("x-request-id"), "edge-1.a_B");
    for hostile in ["a b", "a\"b", "{}", &"x".repeat(65), "a;drop"] {
        let answer = app.get("/healthz").header("x-request-id", hostile).await;
        assert_eq!(
            uuid::Uuid::try_parse(answer.header("x-request-id")).unwrap().get_version_num(),
            7,
            "{hostile}"
        );
    }
}

#[tokio::test]
async fn answers_are_not_stored_and_not_sniffed() {
    let app = TestApp::new().await;
    let body = json!({"email": "a@b", "password": PASSWORD});
    for answer in
        [app.get("/nowhere").await, app.post("/v1/auth/login", body).await, app.get("/v1/users/me").await]
    {
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
}
