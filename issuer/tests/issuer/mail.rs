//! The outbox: written with the change that a message tells of, sealed until it is sent, never sent in vain.

use http::StatusCode;
use serde_json::json;

use crate::letters::MAIL;
use crate::stage::{PASSWORD, TestApp};

const ADA: &str = "ada@example.com";

#[tokio::test]
async fn the_database_has_no_token_that_works() {
    let app = TestApp::with(MAIL, |_| ()).await;
    app.registered(ADA).await;
    app.post("/v1/auth/password/forgot", json!({"email": ADA})).await.expect(StatusCode::ACCEPTED);
    let sealed: String = app.value("SELECT token FROM mail_outbox").await;
    let hash: String = app.value("SELECT token_hash FROM email_tokens").await;
    let token = app.letter_to(ADA).await.token();
    assert!(!sealed.contains(&token) && !hash.contains(&token));
    for stolen in [sealed, hash] {
        let body = json!({"token": stolen, "password": "velvet-tundra-adagio-31"});
        app.post("/v1/auth/password/reset", body).await.refused(400, "email_token_invalid");
    }
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM mail_outbox").await, 0);
}

#[tokio::test]
async fn a_message_that_comes_too_late_is_not_sent() {
    let app = TestApp::with(MAIL, |_| ()).await;
    app.registered(ADA).await;
    app.post("/v1/auth/password/forgot", json!({"email": ADA})).await.expect(StatusCode::ACCEPTED);
    app.pass(1800);
    assert!(app.letters().await.is_empty());
    let given_up = "SELECT COUNT(*) FROM mail_outbox WHERE status = 'given_up' AND token IS NULL";
    assert_eq!(app.value::<i64>(given_up).await, 1);
}

#[tokio::test]
async fn a_message_sealed_by_a_secret_that_is_gone_is_given_up() {
    let app = TestApp::with(MAIL, |_| ()).await;
    app.registered(ADA).await;
    app.post("/v1/auth/password/forgot", json!({"email": ADA})).await.expect(StatusCode::ACCEPTED);
    app.execute("UPDATE mail_outbox SET token = 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'").await;
    assert!(app.letters().await.is_empty());
    assert_eq!(app.value::<String>("SELECT status FROM mail_outbox").await, "given_up");
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_delays_and_loses_nothing() {
    let app = TestApp::with(MAIL, |_| ()).await;
    app.registered(ADA).await;
    app.folder.write("mail", "a file where the folder should be");
    app.post("/v1/auth/password/forgot", json!({"email": ADA})).await.expect(StatusCode::ACCEPTED);
    assert_eq!(app.sender.send_due().await.unwrap(), 1);
    std::fs::remove_file(app.folder.path("mail")).unwrap();
    app.pass(10);
    assert_eq!(app.letters().await.len(), 1);
}

#[tokio::test]
async fn a_clock_set_back_holds_no_message_up() {
    let app = TestApp::with(MAIL, |_| ()).await;
    app.registered(ADA).await;
    app.post("/v1/auth/password/forgot", json!({"email": ADA})).await.expect(StatusCode::ACCEPTED);
    // Another issuer did the job until then, and is gone.
    app.execute("INSERT INTO leases (name, holder, expires_at) VALUES ('mail', 'another', 1795176120)").await;
    app.clock.set(app.clock.now().minus(86_400));
    let token = app.letter_to(ADA).await.token();
    // What a link is good for, it is good for once, whatever the clock says.
    let reset = || {
        app.post("/v1/auth/password/reset", json!({"token": token, "password": "velvet-tundra-adagio-31"}))
    };
    reset().await.expect(StatusCode::NO_CONTENT);
    app.clock.set(app.clock.now().minus(86_400));
    reset().await.refused(400, "email_token_invalid");
}

#[tokio::test]
async fn what_is_of_no_use_any_more_is_forgotten() {
    let app = TestApp::with(MAIL, |_| ()).await;
    app.registered(ADA).await;
    app.post("/v1/auth/password/forgot", json!({"email": ADA})).await.expect(StatusCode::ACCEPTED);
    app.pass(1800);
    assert!(app.letters().await.is_empty());
    let forget = async || {
        let tokens =
            app.app.db.write(async |tx| countersign_issuer::verification::store::forget(tx, 100).await);
        let letters = app.app.db.write(async |tx| countersign_issuer::mail::store::forget(tx, 100).await);
        (tokens.await.unwrap(), letters.await.unwrap())
    };
    assert_eq!(forget().await, (1, 0));
    app.pass(1800);
    assert_eq!(forget().await, (1, 0));
    app.pass(30 * 86_400);
    assert_eq!(forget().await, (0, 1));
    app.post("/v1/auth/login", json!({"email": ADA, "password": PASSWORD})).await.expect(StatusCode::OK);
}
