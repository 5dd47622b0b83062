//! What existing clients do about addresses and forgotten passwords, by the routes that they know.

use http::{Method, StatusCode};
use serde_json::json;

use crate::letters::{MAIL, VERIFY};
use crate::stage::{Answer, COMPAT, Call, PASSWORD, TestApp};

const ADA: &str = "ada@example.com";
const NEW: &str = "velvet-tundra-adagio-31";
const REQUEST: &str = "/api/auth/password/reset/request";
const CONFIRM: &str = "/api/auth/password/reset/confirm";

async fn app(mail: &str) -> TestApp {
    TestApp::with(&format!("{COMPAT}{mail}"), |_| ()).await
}

fn login(app: &TestApp, password: &str) -> Call {
    app.post("/api/auth/login", json!({"email": ADA, "password": password}))
}

/// Exactly a message, and no cookie.
#[track_caller]
fn said(answer: &Answer) -> String {
    assert_eq!(answer.fields(), ["message"]);
    assert!(answer.set_cookie().is_none());
    answer.json()["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn nobody_gets_a_token_before_their_address_is_verified() {
    let app = app(VERIFY).await;
    let register = json!({"email": ADA, "password": PASSWORD});
    for path in ["/api/auth/register", "/api/auth/email/register"] {
        // The second time, there is an account; a stranger sees no difference.
        let answer = app.post(path, register.clone()).await.refused(403, "email_not_verified");
        assert!(answer.set_cookie().is_none());
    }
    let letters = app.letters().await;
    let welcome =
        letters.iter().find(|letter| letter.header("Subject") == "Trade: confirm your e-mail address");
    login(&app, PASSWORD).await.refused(403, "email_not_verified");
    let body = json!({"email": ADA, "password": PASSWORD});
    app.post("/auth/login", body.clone()).await.refused(403, "email_not_verified");
    let form = [("username", ADA), ("password", PASSWORD)];
    let token = || app.call(Method::POST, "/token").form(&form);
    token().await.refused_oauth(403, "email_not_verified", "invalid_grant");
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM sessions").await, 0);
    let verify = |token: String| app.post("/api/auth/email/verify", json!({"token": token}));
    verify("x".repeat(43)).await.refused(400, "email_token_invalid");
    let sent = welcome.unwrap().token();
    assert_eq!(said(&verify(sent.clone()).await.expect(StatusCode::OK)), "Email verified");
    verify(sent).await.refused(400, "email_token_invalid");
    login(&app, PASSWORD).await.expect(StatusCode::OK);
    app.post("/auth/login", body).await.expect(StatusCode::OK);
    token().await.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_forgotten_password_is_replaced_under_either_name() {
    let app = app(MAIL).await;
    app.registered(ADA).await;
    let mut password = PASSWORD;
    for (name, new) in [("password", NEW), ("new_password", PASSWORD)] {
        login(&app, password).await.expect(StatusCode::OK);
        app.pass(1);
        let answers = [ADA, "nobody@example.com"].map(|email| app.post(REQUEST, json!({"email": email})));
        let [here, nobody] = answers;
        let asked = said(&here.await.expect(StatusCode::ACCEPTED));
        assert_eq!(asked, said(&nobody.await.expect(StatusCode::ACCEPTED)));
        let sent = app.letter_to(ADA).await.token();
        let both = json!({"token": sent, "password": new, "new_password": new});
        assert_eq!(app.post(CONFIRM, both).await.invalid_fields(), ["new_password"]);
        for weak in [json!({"token": sent}), json!({"token": sent, name: "short"})] {
            assert_eq!(app.post(CONFIRM, weak).await.invalid_fields(), ["password"]);
        }
        let confirm = || app.post(CONFIRM, json!({"token": sent, name: new}));
        assert_eq!(said(&confirm().await.expect(StatusCode::OK)), "Password reset");
        confirm().await.refused(400, "email_token_invalid");
        login(&app, password).await.refused(401, "invalid_credentials");
        password = new;
    }
    login(&app, password).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn without_mail_nothing_is_promised() {
    let app = app("").await;
    app.post(REQUEST, json!({"email": ADA})).await.refused(501, "mail_off");
    assert_eq!(app.post(REQUEST, json!({"email": "ada"})).await.invalid_fields(), ["email"]);
}
