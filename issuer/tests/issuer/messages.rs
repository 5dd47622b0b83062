//! How many messages strangers may ask for from one network, to however many addresses, by whichever route and at whichever
//! issuer.

use futures_util::future::join_all;
use http::StatusCode;
use serde_json::json;

use crate::letters::MAIL;
use crate::stage::{Answer, COMPAT, PASSWORD, TestApp};

const ADA: &str = "ada@example.com";
const FORGOT: &str = "/v1/auth/password/forgot";

/// So many of all the rows that asking for a message may write.
async fn written(app: &TestApp) -> i64 {
    app.value(
        "SELECT (SELECT COUNT(*) FROM mail_outbox) + (SELECT COUNT(*) FROM email_tokens)
              + (SELECT COUNT(*) FROM email_requests) + (SELECT COUNT(*) FROM audit_events)",
    )
    .await
}

/// The seconds for which this is refused.
#[track_caller]
fn wait(answer: Answer) -> i64 {
    answer.refused(429, "rate_limited").header("retry-after").parse().unwrap()
}

#[tokio::test]
async fn a_network_that_asks_for_too_many_messages_is_refused_before_anything_is_written() {
    let app = TestApp::with(&format!("{COMPAT}{MAIL}"), |_| ()).await;
    app.registered(ADA).await;
    let routes = [FORGOT, "/v1/auth/email/resend", "/api/auth/password/reset/request"];
    let ask = |path: &str, email: &str| app.post(path, json!({"email": email}));
    for n in 0..20 {
        let call = ask(routes[n % 3], &format!("u{n}@example.com")).from("198.51.100.7:5000");
        call.await.expect(StatusCode::ACCEPTED);
    }
    let before = written(&app).await;
    let mut told = Vec::new();
    for path in routes {
        for email in [ADA, "nobody@example.com"] {
            let mut answer = ask(path, email).from("198.51.100.7:6000").await;
            answer.headers.remove("x-request-id");
            told.push((answer.headers.clone(), answer.body.clone()));
            assert_eq!(wait(answer), 30, "{path}");
        }
        // What is no address is told first, and not counted.
        assert_eq!(ask(path, "ada").from("198.51.100.7:6000").await.invalid_fields(), ["email"]);
    }
    assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{told:?}");
    assert_eq!(written(&app).await, before);
    // Others go on, and so do other things from there.
    ask(FORGOT, ADA).from("198.51.100.8:5000").await.expect(StatusCode::ACCEPTED);
    let login = app.post("/v1/auth/login", json!({"email": ADA, "password": PASSWORD}));
    login.from("198.51.100.7:5000").await.expect(StatusCode::OK);
    // Then one at a time, and less and less often.
    for (n, delay) in [(20, 30), (21, 60), (22, 120)] {
        app.pass(delay);
        let email = format!("u{n}@example.com");
        ask(FORGOT, &email).from("198.51.100.7:5000").await.expect(StatusCode::ACCEPTED);
        assert_eq!(wait(ask(FORGOT, &email).from("198.51.100.7:5000").await), 2 * delay);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_messages_asked_for_at_once_at_two_issuers_twenty_are_sent() {
    let one = TestApp::with(MAIL, |_| ()).await;
    let two = one.beside().await;
    let calls = (0..100).map(|n| {
        let app = if n % 2 == 0 { &one } else { &two };
        let call = app.post(FORGOT, json!({"email": format!("u{n}@example.com")}));
        call.from(&format!("[2001:db8::{n}]:5000")).into_future()
    });
    let answers = join_all(calls).await;
    let count = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(StatusCode::ACCEPTED), count(StatusCode::TOO_MANY_REQUESTS)), (20, 80));
    assert_eq!(one.value::<i64>("SELECT COUNT(*) FROM mail_outbox").await, 20);
}
