//! A forgotten password: a link by mail, a new password, and nobody else stays logged in.

use countersign_issuer::accounts::{self, Email};
use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::json;

use crate::factor::{self, Factor, events};
use crate::letters::{MAIL, VERIFY};
use crate::stage::{COMPAT, Call, PASSWORD, TestApp};

const ADA: &str = "ada@example.com";
const NEW: &str = "velvet-tundra-adagio-31";

fn forgot(app: &TestApp, email: &str) -> Call {
    app.post("/v1/auth/password/forgot", json!({"email": email}))
}

fn reset(app: &TestApp, token: &str, password: &str) -> Call {
    app.post("/v1/auth/password/reset", json!({"token": token, "password": password}))
}

fn login(app: &TestApp, password: &str) -> Call {
    app.post("/v1/auth/login", json!({"email": ADA, "password": password}))
}

/// The token of a link just asked for.
async fn token(app: &TestApp) -> String {
    forgot(app, ADA).await.expect(StatusCode::ACCEPTED);
    app.letter_to(ADA).await.token()
}

#[tokio::test]
async fn a_reset_replaces_the_password_and_ends_every_session() {
    let app = TestApp::with(MAIL, |_| ()).await;
    let ada = app.registered(ADA).await;
    let other = app.logged_in(ADA).await;
    let token = token(&app).await;
    // To have asked for it changes nothing.
    app.get("/v1/users/me").by(&ada).await.expect(StatusCode::OK);
    let letter = app.letter_to(ADA).await;
    assert_eq!(letter.header("Subject"), "Trade: choose a new password");
    assert_eq!(letter.link(), format!("https://trade.example/v1/auth/password/reset?token={token}"));
    app.pass(1);
    reset(&app, &token, NEW).await.expect(StatusCode::NO_CONTENT);
    for person in [&ada, &other] {
        app.get("/v1/users/me").by(person).await.refused(401, "revoked");
        app.refresh(&person.refresh_token).await.refused_grant("session_revoked");
    }
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM revocations").await, 2);
    login(&app, PASSWORD).await.refused(401, "invalid_credentials");
    let user = login(&app, NEW).await.expect(StatusCode::OK).json()["user"].clone();
    // Who reads what is sent there has shown that it is theirs.
    assert_eq!(user["email_verified"], true);
    let notice = app.letter_to(ADA).await;
    assert_eq!(notice.header("Subject"), "Trade: your password was changed");
    assert!(notice.text().contains("2026-11-20T12:00:01Z"), "{}", notice.text());
    for (kind, count) in
        [("password_reset_requested", 1), ("password_reset", 1), ("email_verified", 1), ("session_ended", 2)]
    {
        let events =
            format!("SELECT COUNT(*) FROM audit_events WHERE type = '{kind}' AND subject IS NOT NULL");
        let found: i64 =
            sqlx::query_scalar(sqlx::AssertSqlSafe(events)).fetch_one(app.app.db.reads()).await.unwrap();
        assert_eq!(found, count, "{kind}");
    }
}

#[tokio::test]
async fn the_page_behind_the_link_does_it_without_scripts() {
    let app = TestApp::with(MAIL, |_| ()).await;
    app.registered(ADA).await;
    let token = token(&app).await;
    for _ in 0..2 {
        let page = app.get(&format!("/v1/auth/password/reset?token={token}")).await.expect(StatusCode::OK);
        let html = String::from_utf8(page.body.to_vec()).unwrap();
        assert!(html.contains("<form method=\"post\" action=\"/v1/auth/password/reset\">"), "{html}");
        assert!(html.contains("autocomplete=\"new-password\"") && html.contains(&token), "{html}");
        assert_eq!(page.header("referrer-policy"), "no-referrer");
    }
    login(&app, PASSWORD).await.expect(StatusCode::OK);
    let post = |password: &str, again: &str| {
        let body = format!("token={token}&password={password}&password_again={again}");
        let call = app.call(Method::POST, "/v1/auth/password/reset").body(body);
        call.header("content-type", "application/x-www-form-urlencoded")
    };
    // A slip leaves the form, and the link good.
    for (password, again) in [("short", "short"), (NEW, "another"), ("password1234", "password1234")] {
        let page = post(password, again).await.expect(StatusCode::UNPROCESSABLE_ENTITY);
        let html = String::from_utf8(page.body.to_vec()).unwrap();
        assert!(html.contains("<form") && html.contains(&token) && html.contains("The field"), "{html}");
    }
    let done = post(NEW, NEW).await.expect(StatusCode::OK);
    assert!(String::from_utf8_lossy(&done.body).contains("log in with your new password"));
    login(&app, NEW).await.expect(StatusCode::OK);
    post(NEW, NEW).await.expect(StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_resets_with_one_token_one_wins() {
    let one = TestApp::with(MAIL, |settings| settings.hashing.queue = 1000).await;
    let two = one.beside().await;
    one.registered(ADA).await;
    let token = token(&one).await;
    let password = |n: usize| format!("{NEW}-{n}");
    let calls = (0..100).map(|n| {
        let app = if n % 2 == 0 { &one } else { &two };
        reset(app, &token, &password(n)).into_future()
    });
    let mut winners = Vec::new();
    for (n, answer) in join_all(calls).await.into_iter().enumerate() {
        if answer.status == StatusCode::NO_CONTENT {
            winners.push(n);
        } else {
            answer.refused(400, "email_token_invalid");
        }
    }
    assert_eq!(winners.len(), 1);
    login(&one, &password(winners[0])).await.expect(StatusCode::OK);
    assert_eq!(one.value::<i64>("SELECT COUNT(*) FROM audit_events WHERE type = 'password_reset'").await, 1);
}

#[tokio::test]
async fn a_password_that_is_not_good_enough_does_not_cost_the_link() {
    let app = TestApp::with(MAIL, |_| ()).await;
    app.registered(ADA).await;
    let token = token(&app).await;
    for password in ["", "short", "password1234", "ada.lovelace ada.lovelace some one", &"x".repeat(129)] {
        assert_eq!(reset(&app, &token, password).await.invalid_fields(), ["password"], "{password}");
    }
    reset(&app, &token, NEW).await.expect(StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn only_the_newest_link_is_good_and_for_half_an_hour() {
    let app = TestApp::with(MAIL, |_| ()).await;
    app.registered(ADA).await;
    let first = token(&app).await;
    app.pass(1);
    let second = token(&app).await;
    reset(&app, &first, NEW).await.refused(400, "email_token_invalid");
    app.pass(1800);
    reset(&app, &second, NEW).await.refused(400, "email_token_invalid");
    let third = token(&app).await;
    app.pass(1799);
    app.post("/v1/auth/email/verify", json!({"token": third})).await.refused(400, "email_token_invalid");
    reset(&app, &third, NEW).await.expect(StatusCode::NO_CONTENT);
    reset(&app, &third, PASSWORD).await.refused(400, "email_token_invalid");
}

#[tokio::test]
async fn a_login_under_way_does_not_outlive_a_reset() {
    let app = TestApp::with(MAIL, |_| ()).await;
    app.registered(ADA).await;
    let email = Email::parse(ADA).unwrap();
    let (user, checked) = accounts::store::find_for_login(app.app.db.reads(), &email).await.unwrap().unwrap();
    reset(&app, &token(&app).await, NEW).await.expect(StatusCode::NO_CONTENT);
    let claim =
        app.app.db.write(async move |tx| accounts::store::claim_login(tx, &user.id, checked.epoch).await);
    assert!(!claim.await.unwrap());
}

#[tokio::test]
async fn a_closed_account_gets_no_link_and_stays_closed() {
    let app = TestApp::with(MAIL, |_| ()).await;
    app.registered(ADA).await;
    let token = token(&app).await;
    app.deactivate(ADA).await;
    reset(&app, &token, NEW).await.refused(400, "email_token_invalid");
    app.pass(1);
    forgot(&app, ADA).await.expect(StatusCode::ACCEPTED);
    assert_eq!(app.letters().await.len(), 1);
    login(&app, PASSWORD).await.refused(403, "account_inactive");
}

#[tokio::test]
async fn a_reset_opens_an_account_whose_address_was_not_verified() {
    let app = TestApp::with(VERIFY, |_| ()).await;
    let body = json!({"email": ADA, "password": PASSWORD, "name": "Ada"});
    app.post("/v1/auth/register", body).await.expect(StatusCode::ACCEPTED);
    app.pass(1);
    reset(&app, &token(&app).await, NEW).await.expect(StatusCode::NO_CONTENT);
    login(&app, NEW).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn links_come_from_the_configuration_whatever_the_request_says() {
    let app = TestApp::with(&format!("{COMPAT}{VERIFY}"), |_| ()).await;
    let evil = async |path: &str, email: &str, status: StatusCode| {
        let body = json!({"email": email, "password": PASSWORD, "name": "Ada"});
        let call = app
            .post(path, body)
            .without("host")
            .header("host", "evil.example")
            .header("x-forwarded-host", "evil.example")
            .header("x-forwarded-proto", "http")
            .header("x-forwarded-port", "666")
            .header("x-original-url", "https://evil.example/")
            .header("forwarded", "host=evil.example")
            .header("origin", "https://evil.example")
            .header("referer", "https://evil.example/");
        call.await.expect(status);
        app.pass(1);
    };
    evil("/v1/auth/register", ADA, StatusCode::ACCEPTED).await;
    evil("/api/auth/register", "bob@example.com", StatusCode::FORBIDDEN).await;
    evil("/v1/auth/register", ADA, StatusCode::ACCEPTED).await;
    evil("/v1/auth/email/resend", ADA, StatusCode::ACCEPTED).await;
    evil("/v1/auth/password/forgot", ADA, StatusCode::ACCEPTED).await;
    evil("/api/auth/password/reset/request", ADA, StatusCode::ACCEPTED).await;
    let letters = app.letters().await;
    assert_eq!(letters.len(), 6);
    for letter in letters {
        assert!(letter.link().starts_with("https://trade.example/v1/auth/"), "{}", letter.0);
        assert!(!letter.0.contains("evil.example"), "{}", letter.0);
    }
}

#[tokio::test]
async fn hostile_names_are_words_and_nothing_else() {
    let app = TestApp::with(MAIL, |_| ()).await;
    let name = "<script>alert(1)</script> \"><img src=x> {{ token }} Bcc: eve@example.com";
    let body = json!({"email": ADA, "password": PASSWORD, "name": name});
    app.post("/v1/auth/register", body).await.expect(StatusCode::CREATED);
    // Whose address is not verified has a stranger's words for a name: they are not sent in our name.
    forgot(&app, ADA).await.expect(StatusCode::ACCEPTED);
    assert!(!app.letter_to(ADA).await.0.contains("script"));
    // As a row of another system's might be.
    app.execute(
        "UPDATE users SET email_verified = 1, name = name || '\r\nBcc: eve@example.com\r\n\r\n.\r\n'",
    )
    .await;
    app.pass(1);
    forgot(&app, ADA).await.expect(StatusCode::ACCEPTED);
    let letter = app.letter_to(ADA).await;
    assert!(letter.text().contains("<script>alert(1)</script>") && letter.text().contains("{{ token }}"));
    let html = letter.html();
    assert!(html.contains("&lt;script&gt;") && !html.contains("<script") && !html.contains("<img"), "{html}");
    assert!(!letter.0.lines().any(|line| line.starts_with("Bcc") || line == "."), "{}", letter.0);
}

#[tokio::test]
async fn a_reset_forgives_wrong_passwords_and_no_wrong_codes() {
    let app = TestApp::with(MAIL, |_| ()).await;
    let ada = app.registered(ADA).await;
    let factor = Factor::of(&app, &ada).await;
    for _ in 0..2 {
        let waiting = factor::waiting(&app, ADA).await;
        for _ in 0..5 {
            factor::verify(&app, &waiting, &factor.wrong(&app)).await.refused(403, "wrong_code");
        }
    }
    for _ in 0..10 {
        login(&app, "wrong wrong wrong").await.refused(401, "invalid_credentials");
    }
    login(&app, "wrong wrong wrong").await.refused(429, "rate_limited");
    reset(&app, &token(&app).await, NEW).await.expect(StatusCode::NO_CONTENT);
    login(&app, "wrong wrong wrong").await.refused(401, "invalid_credentials");
    let waiting = factor::token(&login(&app, NEW).await.expect(StatusCode::OK));
    factor::verify(&app, &waiting, &factor.wrong(&app)).await.refused(429, "rate_limited");
    let unlocked = events(&app, "account_unlocked").await;
    assert_eq!(unlocked, [("success".into(), Some("issuer".into()), Some(ada.id))]);
}
