//! What a stranger learns of who has an account: nothing, whatever they ask, at whichever route. Answers are compared
//! whole, to the byte; only the id of the request differs. How long they take is measured by `cargo bench-issuer`.

use http::{HeaderMap, Method, StatusCode};
use serde_json::json;

use crate::import::{bcrypt, import};
use crate::letters::VERIFY;
use crate::stage::{Answer, COMPAT, Call, PASSWORD, TestApp};

/// Of a hash of bcrypt, from another system.
const IMPORTED: &str = "imported@example.com";

/// With an account of every kind, and with none.
const EVERYONE: [&str; 5] = [
    "verified@example.com",
    "unverified@example.com",
    "inactive@example.com",
    IMPORTED,
    "unknown@example.com",
];

type Seen = (StatusCode, HeaderMap, Vec<u8>);

/// All of an answer that a stranger can compare.
fn seen(answer: Answer) -> Seen {
    let mut headers = answer.headers;
    assert!(headers.remove("x-request-id").is_some());
    (answer.status, headers, answer.body.to_vec())
}

/// An issuer where addresses are verified, and everyone who has an account.
async fn town() -> TestApp {
    let app = TestApp::with(&format!("{COMPAT}{VERIFY}"), |_| ()).await;
    for email in ["verified@example.com", "unverified@example.com", "inactive@example.com"] {
        let body = json!({"email": email, "password": PASSWORD, "name": "Some One"});
        app.post("/v1/auth/register", body).await.expect(StatusCode::ACCEPTED);
    }
    for email in ["verified@example.com", "inactive@example.com"] {
        let token = app.letter_to(email).await.token();
        let verify = app.post("/v1/auth/email/verify", json!({"token": token}));
        verify.await.expect(StatusCode::NO_CONTENT);
    }
    app.deactivate("inactive@example.com").await;
    let hash = bcrypt(PASSWORD.as_bytes());
    let line = json!({"id": 7, "email": IMPORTED, "password_hash": hash, "email_verified": true});
    assert_eq!(import(&app, "users.jsonl", line.to_string(), &[]).code, 0);
    app.pass(3600);
    app
}

/// What everyone sees at one route, and how many passwords are hashed for it.
async fn ask(app: &TestApp, call: impl Fn(&str) -> Call) -> (Seen, u64) {
    let mut answers = Vec::new();
    for email in EVERYONE {
        let before = app.app.hasher.figures().accepted.get();
        let answer = seen(call(email).await);
        answers.push((answer, app.app.hasher.figures().accepted.get() - before));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:#?}");
    answers.swap_remove(0)
}

#[tokio::test]
async fn a_wrong_password_is_answered_alike_for_everyone_at_every_route() {
    let app = town().await;
    let wrong = "wrong wrong wrong";
    let login = |path: &'static str| {
        let app = &app;
        move |email: &str| app.post(path, json!({"email": email, "password": wrong}))
    };
    for path in ["/v1/auth/login", "/auth/login", "/api/auth/login"] {
        let ((status, ..), hashed) = ask(&app, login(path)).await;
        assert_eq!((status, hashed), (StatusCode::UNAUTHORIZED, 1), "{path}");
    }
    let token =
        |email: &str| app.call(Method::POST, "/token").form(&[("username", email), ("password", wrong)]);
    let ((status, ..), hashed) = ask(&app, token).await;
    assert_eq!((status, hashed), (StatusCode::UNAUTHORIZED, 1));
    // Ten failures for each by then, and everyone is locked alike.
    for _ in 0..6 {
        ask(&app, login("/v1/auth/login")).await;
    }
    for path in ["/v1/auth/login", "/auth/login", "/api/auth/login"] {
        let ((status, ..), hashed) = ask(&app, login(path)).await;
        assert_eq!((status, hashed), (StatusCode::TOO_MANY_REQUESTS, 1), "{path}");
    }
    let ((status, ..), hashed) = ask(&app, token).await;
    assert_eq!((status, hashed), (StatusCode::TOO_MANY_REQUESTS, 1));
}

/// Whether there is a user name, how it is written, and whose address it belongs to: all that a stranger might want to know.
#[tokio::test]
async fn the_locks_of_user_names_tell_nothing_about_them() {
    let mut told = Vec::new();
    for username in [None, Some("jdoe"), Some("JDoe")] {
        let app = TestApp::with(COMPAT, |_| ()).await;
        let (id, hash) = (7, bcrypt(PASSWORD.as_bytes()));
        let line = json!({"id": id, "email": IMPORTED, "password_hash": hash, "username": username});
        assert_eq!(import(&app, "users.jsonl", line.to_string(), &[]).code, 0);
        let mut answers = Vec::new();
        for login in [&["jdoe"; 11][..], &["Jdoe", "JDOE", " jdoe ", IMPORTED, "nobody"]].concat() {
            let hashed = app.app.hasher.figures().accepted.get();
            let form = [("username", login), ("password", "wrong wrong wrong")];
            answers.push(seen(app.call(Method::POST, "/token").form(&form).await));
            assert_eq!(app.app.hasher.figures().accepted.get() - hashed, 1, "{login}");
        }
        assert_eq!((answers[9].0, answers[10].0), (StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS));
        told.push(answers);
    }
    assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{told:#?}");
}

#[tokio::test]
async fn asking_for_mail_is_answered_alike_for_everyone_at_every_route() {
    let app = town().await;
    for (path, status) in [
        ("/v1/auth/password/forgot", 202),
        ("/api/auth/password/reset/request", 202),
        ("/v1/auth/email/resend", 202),
        // The third of an hour, and the one too many.
        ("/v1/auth/password/forgot", 202),
        ("/v1/auth/password/forgot", 429),
        ("/api/auth/password/reset/request", 429),
    ] {
        let ((seen, ..), hashed) = ask(&app, |email| app.post(path, json!({"email": email}))).await;
        assert_eq!((seen.as_u16(), hashed), (status, 0), "{path}");
    }
}

#[tokio::test]
async fn registering_is_answered_alike_for_everyone_at_every_route() {
    for (path, status) in
        [("/v1/auth/register", 202), ("/api/auth/register", 403), ("/api/auth/email/register", 403)]
    {
        let app = town().await;
        let body =
            |email: &str| json!({"email": email, "password": "velvet-tundra-adagio-31", "name": "Eve"});
        // Judged and hashed. The fourth time, no message is sent any more.
        for _ in 0..4 {
            let ((seen, ..), hashed) = ask(&app, |email| app.post(path, body(email))).await;
            assert_eq!((seen.as_u16(), hashed), (status, 2), "{path}");
        }
    }
}
