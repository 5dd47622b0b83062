//! Verifying addresses: by what is sent to them, and by nothing else.

use countersign_issuer::ambient::UnixTime;
use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::letters::{MAIL, VERIFY};
use crate::stage::{Answer, Call, PASSWORD, TestApp};

const ADA: &str = "ada@example.com";

fn registration(email: &str) -> Value {
    json!({"email": email, "password": PASSWORD, "name": "Some One"})
}

async fn register(app: &TestApp, email: &str) -> Answer {
    app.post("/v1/auth/register", registration(email)).await
}

fn login(app: &TestApp, password: &str) -> Call {
    app.post("/v1/auth/login", json!({"email": ADA, "password": password}))
}

fn verify(app: &TestApp, token: &str) -> Call {
    app.post("/v1/auth/email/verify", json!({"token": token}))
}

fn resend(app: &TestApp, email: &str) -> Call {
    app.post("/v1/auth/email/resend", json!({"email": email}))
}

/// As a browser sends the form of the page, which tells no referrer.
fn submit(app: &TestApp, token: &str, password: &str) -> Call {
    let call = app.call(Method::POST, "/v1/auth/email/verify").header("origin", "null");
    call.form(&[("token", token), ("password", password)])
}

/// All of an answer that a stranger can compare.
fn seen(answer: Answer) -> (StatusCode, http::HeaderMap, Vec<u8>) {
    let mut headers = answer.headers;
    headers.remove("x-request-id");
    (answer.status, headers, answer.body.to_vec())
}

#[tokio::test]
async fn an_account_opens_once_its_address_is_verified() {
    let app = TestApp::with(VERIFY, |_| ()).await;
    let answer = register(&app, ADA).await.expect(StatusCode::ACCEPTED);
    assert_eq!(answer.json(), json!({"status": "verification_required"}));
    assert!(answer.set_cookie().is_none());
    login(&app, PASSWORD).await.refused(403, "email_not_verified");
    login(&app, "wrong wrong wrong").await.refused(401, "invalid_credentials");
    let letter = app.letter_to(ADA).await;
    assert_eq!(letter.header("Subject"), "Trade: confirm your e-mail address");
    assert_eq!(letter.header("From"), "Trade <no-reply@trade.example>");
    assert_eq!(letter.header("Date"), "Fri, 20 Nov 2026 12:00:00 +0000");
    assert_eq!(letter.header("Auto-Submitted"), "auto-generated");
    let token = letter.token();
    assert_eq!(letter.link(), format!("https://trade.example/v1/auth/email/verify?token={token}"));
    assert!(letter.html().contains(&token));
    verify(&app, &token).await.expect(StatusCode::NO_CONTENT);
    let user = login(&app, PASSWORD).await.expect(StatusCode::OK).json()["user"].clone();
    assert_eq!(user["email_verified"], true);
    verify(&app, &token).await.refused(400, "email_token_invalid");
    let told = "SELECT COUNT(*) FROM audit_events WHERE type = 'email_verified' AND actor = subject";
    assert_eq!(app.value::<i64>(told).await, 1);
}

#[tokio::test]
async fn while_an_account_is_locked_nobody_learns_that_a_password_is_right() {
    let app = TestApp::with(VERIFY, |_| ()).await;
    register(&app, ADA).await.expect(StatusCode::ACCEPTED);
    for _ in 0..10 {
        // To know the password is no failure, as for an account that is closed.
        login(&app, PASSWORD).await.refused(403, "email_not_verified");
        login(&app, "wrong wrong wrong").await.refused(401, "invalid_credentials");
    }
    let answers = [seen(login(&app, PASSWORD).await), seen(login(&app, "wrong wrong wrong").await)];
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0].0, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn opening_the_link_changes_nothing_and_its_form_does() {
    let app = TestApp::with(VERIFY, |_| ()).await;
    register(&app, ADA).await.expect(StatusCode::ACCEPTED);
    let token = app.letter_to(ADA).await.token();
    for method in [Method::GET, Method::HEAD, Method::GET] {
        let page = app.call(method, &format!("/v1/auth/email/verify?token={token}")).await;
        assert_eq!(page.status, StatusCode::OK);
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(page.header("cache-control"), "no-store");
        assert_eq!(page.header("referrer-policy"), "no-referrer");
        let policy = page.header("content-security-policy").to_owned();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        assert!(policy.contains("form-action 'self'; frame-ancestors 'none'"), "{policy}");
    }
    login(&app, PASSWORD).await.refused(403, "email_not_verified");
    let page = app.get(&format!("/v1/auth/email/verify?token={token}")).await;
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(html.contains("<form method=\"post\" action=\"/v1/auth/email/verify\">"), "{html}");
    assert!(
        html.contains(&format!("name=\"token\" value=\"{token}\"")) && !html.contains("<script"),
        "{html}"
    );
    let post = |token: &str| submit(&app, token, PASSWORD);
    let done = post(&token).await.expect(StatusCode::OK);
    assert!(String::from_utf8_lossy(&done.body).contains("is confirmed"));
    login(&app, PASSWORD).await.expect(StatusCode::OK);
    let again = post(&token).await.expect(StatusCode::BAD_REQUEST);
    assert_eq!(again.header("content-type"), "text/html; charset=utf-8");
    let gone = app.get(&format!("/v1/auth/email/verify?token={token}")).await;
    assert_eq!(gone.status, StatusCode::BAD_REQUEST);
    assert!(!String::from_utf8_lossy(&gone.body).contains("<form"));
}

#[tokio::test]
async fn a_careless_click_opens_no_account_that_a_stranger_has_made() {
    let app = TestApp::with(VERIFY, |_| ()).await;
    // With Ada's address, and with a password of his own.
    register(&app, ADA).await.expect(StatusCode::ACCEPTED);
    let token = app.letter_to(ADA).await.token();
    for guess in ["", "what Ada would choose"] {
        let page = submit(&app, &token, guess).await.expect(StatusCode::UNPROCESSABLE_ENTITY);
        let html = String::from_utf8(page.body.to_vec()).unwrap();
        assert!(
            html.contains("<form") && html.contains("type=\"password\"") && html.contains(&token),
            "{html}"
        );
    }
    let json =
        |password: &str| app.post("/v1/auth/email/verify", json!({"token": token, "password": password}));
    assert_eq!(json("what Ada would choose").await.invalid_fields(), ["password"]);
    login(&app, PASSWORD).await.refused(403, "email_not_verified");
    // She wants an account herself: by what is sent to her then, she chooses the password.
    app.pass(1);
    const HERS: &str = "velvet-tundra-adagio-31";
    let body = json!({"email": ADA, "password": HERS, "name": "Ada"});
    app.post("/v1/auth/register", body).await.expect(StatusCode::ACCEPTED);
    let link = app.letter_to(ADA).await;
    assert!(link.link().contains("/v1/auth/password/reset?token="), "{}", link.link());
    let reset = json!({"token": link.token(), "password": HERS});
    app.post("/v1/auth/password/reset", reset).await.expect(StatusCode::NO_CONTENT);
    login(&app, PASSWORD).await.refused(401, "invalid_credentials");
    login(&app, HERS).await.expect(StatusCode::OK);
    // What was sent first leads nowhere any more, not even by the right password.
    json(HERS).await.refused(400, "email_token_invalid");
}

#[tokio::test]
async fn who_registers_after_the_owner_does_not_come_between() {
    let app = TestApp::with(VERIFY, |_| ()).await;
    register(&app, ADA).await.expect(StatusCode::ACCEPTED);
    let token = app.letter_to(ADA).await.token();
    app.pass(1);
    let stranger = json!({"email": ADA, "password": "velvet-tundra-adagio-31", "name": "Eve"});
    app.post("/v1/auth/register", stranger).await.expect(StatusCode::ACCEPTED);
    let page = submit(&app, &token, PASSWORD).await.expect(StatusCode::OK);
    assert!(String::from_utf8_lossy(&page.body).contains("is confirmed"));
    login(&app, "velvet-tundra-adagio-31").await.refused(401, "invalid_credentials");
    login(&app, PASSWORD).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn guesses_at_the_page_count_like_failed_logins() {
    let app = TestApp::with(VERIFY, |_| ()).await;
    register(&app, ADA).await.expect(StatusCode::ACCEPTED);
    let token = app.letter_to(ADA).await.token();
    // Without a token, nothing is looked at.
    let hashed = app.app.hasher.figures().accepted.get();
    submit(&app, &"x".repeat(43), "a guess").await.expect(StatusCode::BAD_REQUEST);
    assert_eq!(app.app.hasher.figures().accepted.get(), hashed);
    for _ in 0..10 {
        submit(&app, &token, "a guess").await.expect(StatusCode::UNPROCESSABLE_ENTITY);
    }
    let page = submit(&app, &token, PASSWORD).await.expect(StatusCode::TOO_MANY_REQUESTS);
    assert!(String::from_utf8_lossy(&page.body).contains("<form"));
    login(&app, PASSWORD).await.refused(429, "rate_limited");
    app.pass(30);
    submit(&app, &token, PASSWORD).await.expect(StatusCode::OK);
    let nobody = "SELECT COUNT(*) FROM audit_events WHERE type = 'login_failed' AND actor IS NULL";
    assert_eq!(app.value::<i64>(nobody).await, 10);
}

#[tokio::test]
async fn hostile_links_are_answered_with_a_page_that_quotes_nothing() {
    let app = TestApp::with(MAIL, |_| ()).await;
    for path in ["/v1/auth/email/verify", "/v1/auth/password/reset"] {
        for query in
            ["", "?token=", "?token=%22%3E%3Cscript%3E", "?token=a&token=b", "?token=%FF", "?%00", "?token"]
        {
            let page = app.get(&format!("{path}{query}")).await;
            assert_eq!(page.status, StatusCode::BAD_REQUEST, "{path}{query}");
            assert_eq!(page.header("content-type"), "text/html; charset=utf-8", "{path}{query}");
            assert!(!String::from_utf8_lossy(&page.body).contains("script"), "{path}{query}");
        }
        for body in [json!({}), json!({"token": ""}), json!({"token": "x".repeat(43)})] {
            app.post(path, body).await.refused(400, "email_token_invalid");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_who_bring_one_token_one_is_heard() {
    let one = TestApp::with(VERIFY, |_| ()).await;
    let two = one.beside().await;
    register(&one, ADA).await.expect(StatusCode::ACCEPTED);
    let token = one.letter_to(ADA).await.token();
    let calls = (0..100).map(|n| verify(if n % 2 == 0 { &one } else { &two }, &token).into_future());
    let answers = join_all(calls).await;
    let (won, lost): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == StatusCode::NO_CONTENT);
    assert_eq!((won.len(), lost.len()), (1, 99));
    for answer in lost {
        answer.refused(400, "email_token_invalid");
    }
    let told = "SELECT COUNT(*) FROM audit_events WHERE type = 'email_verified'";
    assert_eq!(one.value::<i64>(told).await, 1);
}

#[tokio::test]
async fn only_the_newest_token_is_good_and_not_for_ever() {
    let app = TestApp::with(VERIFY, |_| ()).await;
    register(&app, ADA).await.expect(StatusCode::ACCEPTED);
    let first = app.letter_to(ADA).await.token();
    app.pass(1);
    resend(&app, ADA).await.expect(StatusCode::ACCEPTED);
    let second = app.letter_to(ADA).await.token();
    assert_ne!(first, second);
    verify(&app, &first).await.refused(400, "email_token_invalid");
    app.pass(24 * 3600);
    verify(&app, &second).await.refused(400, "email_token_invalid");
    resend(&app, ADA).await.expect(StatusCode::ACCEPTED);
    let third = app.letter_to(ADA).await.token();
    app.pass(24 * 3600 - 1);
    // What it is good for is part of it.
    let reset = json!({"token": third, "password": "velvet-tundra-adagio-31"});
    app.post("/v1/auth/password/reset", reset).await.refused(400, "email_token_invalid");
    verify(&app, &third).await.expect(StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_stranger_cannot_tell_by_asking_for_mail_whether_there_is_an_account() {
    let app = TestApp::with(VERIFY, |_| ()).await;
    for email in [ADA, "bob@example.com", "eve@example.com"] {
        register(&app, email).await.expect(StatusCode::ACCEPTED);
    }
    verify(&app, &app.letter_to("bob@example.com").await.token()).await.expect(StatusCode::NO_CONTENT);
    app.deactivate("eve@example.com").await;
    let rows = async || -> [i64; 4] {
        [
            app.value("SELECT COUNT(*) FROM mail_outbox").await,
            app.value("SELECT COUNT(*) FROM email_tokens").await,
            app.value("SELECT COUNT(*) FROM email_requests").await,
            app.value("SELECT COUNT(*) FROM audit_events").await,
        ]
    };
    let everyone = [ADA, "bob@example.com", "eve@example.com", "nobody@example.com", "none@example.com"];
    for path in ["/v1/auth/email/resend", "/v1/auth/password/forgot"] {
        let mut answers = Vec::new();
        for email in everyone {
            app.letters().await;
            app.execute("DELETE FROM email_tokens").await;
            app.execute("DELETE FROM email_requests").await;
            let before = rows().await;
            answers.push(seen(app.post(path, json!({"email": email})).await));
            let after = rows().await;
            // Not only the answer: what is written is of the same amount.
            let written: Vec<i64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
            let event = i64::from(path.ends_with("forgot"));
            assert_eq!(written, [1, 1, 1, event], "{path} {email}");
        }
        assert_eq!(answers[0].0, StatusCode::ACCEPTED);
        assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{path}: {answers:?}");
    }
    let mut answers = Vec::new();
    for email in ["new@example.com", ADA, "bob@example.com", "eve@example.com"] {
        let hashed = app.app.hasher.figures().accepted.get();
        answers.push(seen(register(&app, email).await));
        assert_eq!(app.app.hasher.figures().accepted.get() - hashed, 2, "{email}");
    }
    assert_eq!(answers[0].0, StatusCode::ACCEPTED);
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
}

#[tokio::test]
async fn who_has_an_account_already_is_told_so_by_mail() {
    let app = TestApp::with(VERIFY, |_| ()).await;
    register(&app, ADA).await.expect(StatusCode::ACCEPTED);
    verify(&app, &app.letter_to(ADA).await.token()).await.expect(StatusCode::NO_CONTENT);
    app.pass(1);
    let other = json!({"email": ADA, "password": "velvet-tundra-adagio-31", "name": "Eve"});
    app.post("/v1/auth/register", other).await.expect(StatusCode::ACCEPTED);
    let letter = app.letter_to(ADA).await;
    assert_eq!(letter.header("Subject"), "Trade: you have an account already");
    assert!(letter.link().contains("/v1/auth/password/reset?token="), "{}", letter.link());
    // Nothing of the account has changed.
    let user = login(&app, PASSWORD).await.expect(StatusCode::OK).json()["user"].clone();
    assert_eq!(user["name"], "Some One");
}

#[tokio::test]
async fn an_address_is_sent_three_messages_an_hour_whether_it_has_an_account_or_not() {
    let one = TestApp::with(MAIL, |_| ()).await;
    let two = one.beside().await;
    one.registered(ADA).await;
    for path in ["/v1/auth/email/resend", "/v1/auth/password/forgot"] {
        let mut refusals = Vec::new();
        for email in [ADA, "nobody@example.com"] {
            let ask = |app: &TestApp, email: &str| app.post(path, json!({"email": email}));
            ask(&one, email).await.expect(StatusCode::ACCEPTED);
            ask(&two, &email.to_uppercase()).await.expect(StatusCode::ACCEPTED);
            ask(&one, &format!(" {email} ")).await.expect(StatusCode::ACCEPTED);
            let refused = ask(&two, email).await.refused(429, "rate_limited");
            assert_eq!(refused.header("retry-after"), "3600");
            refusals.push(seen(refused));
        }
        assert_eq!(refusals[0], refusals[1]);
    }
    let ask = || one.post("/v1/auth/password/forgot", json!({"email": ADA}));
    one.pass(3599);
    assert_eq!(ask().await.refused(429, "rate_limited").header("retry-after"), "1");
    one.pass(1);
    ask().await.expect(StatusCode::ACCEPTED);
    // A clock set back locks nobody out for long.
    one.clock.set(UnixTime::from_seconds(one.clock.now().seconds() - 86_400));
    ask().await.expect(StatusCode::ACCEPTED);
}

#[tokio::test]
async fn registering_again_and_again_sends_three_messages_an_hour() {
    let app = TestApp::with(VERIFY, |_| ()).await;
    for _ in 0..6 {
        register(&app, ADA).await.expect(StatusCode::ACCEPTED);
    }
    assert_eq!(app.letters().await.len(), 3);
}

#[tokio::test]
async fn without_mail_what_needs_it_is_refused_and_nothing_else() {
    let app = TestApp::new().await;
    app.registered(ADA).await;
    resend(&app, ADA).await.refused(501, "mail_off");
    app.post("/v1/auth/password/forgot", json!({"email": ADA})).await.refused(501, "mail_off");
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM mail_outbox").await, 0);
}

#[tokio::test]
async fn verification_is_off_unless_it_is_asked_for_and_possible_all_the_same() {
    let app = TestApp::with(MAIL, |_| ()).await;
    let ada = app.registered(ADA).await;
    assert!(app.letters().await.is_empty());
    resend(&app, ADA).await.expect(StatusCode::ACCEPTED);
    verify(&app, &app.letter_to(ADA).await.token()).await.expect(StatusCode::NO_CONTENT);
    assert_eq!(app.get("/v1/users/me").by(&ada).await.json()["email_verified"], true);
    // There is nothing left to be verified.
    resend(&app, ADA).await.expect(StatusCode::ACCEPTED);
    assert_eq!(app.letters().await.len(), 1);
}

#[tokio::test]
async fn addresses_that_are_none_are_told_so() {
    let app = TestApp::with(MAIL, |_| ()).await;
    for path in ["/v1/auth/email/resend", "/v1/auth/password/forgot"] {
        for email in ["", "ada", "a@b\r\nBcc: c@d", "\u{430}da@example.com"] {
            assert_eq!(
                app.post(path, json!({"email": email})).await.invalid_fields(),
                ["email"],
                "{email:?}"
            );
        }
    }
}
