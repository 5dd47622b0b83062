//! Where someone logs in from: what the list of sessions calls it, and what is written down when it is new.

use http::StatusCode;
use serde_json::json;

use crate::factor::{Factor, events, token, verify};
use crate::letters::MAIL;
use crate::stage::{Call, PASSWORD, TestApp};

const ADA: &str = "ada@example.com";
const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0";

/// A login with this program and language, from this address.
fn login(app: &TestApp, email: &str, agent: &str, language: &str, ip: &str) -> Call {
    app.post("/v1/auth/login", json!({"email": email, "password": PASSWORD}))
        .header("user-agent", agent)
        .header("accept-language", language)
        .from(&std::net::SocketAddr::new(ip.parse().unwrap(), 5000).to_string())
}

async fn told(app: &TestApp) -> usize {
    events(app, "session_new_device").await.len()
}

#[tokio::test]
async fn who_wants_it_is_told_by_mail_of_a_login_from_a_new_device() {
    for (more, expected) in [("", 0), ("new_device = true\n", 2)] {
        let app = TestApp::with(&format!("{MAIL}{more}"), |_| ()).await;
        let ada = app.registered(ADA).await;
        for ip in ["192.0.2.7", "192.0.2.8"] {
            login(&app, ADA, FIREFOX, "de", ip).await.expect(StatusCode::OK);
        }
        // With a second factor, only who has come in is told of.
        let factor = Factor::of(&app, &ada).await;
        let answer = login(&app, ADA, "curl/8.5.0", "de", "192.0.2.7").await;
        assert_eq!(app.letters().await.len(), expected / 2);
        verify(&app, &token(&answer), &factor.code(&app))
            .header("user-agent", "curl/8.5.0")
            .from("192.0.2.7:5000")
            .await
            .expect(StatusCode::OK);
        let letters = app.letters().await;
        assert_eq!(letters.len(), expected);
        assert!(letters.iter().all(|letter| {
            letter.is_for(ADA) && letter.header("Subject") == "Trade: a login from a new device"
        }));
    }
}

#[tokio::test]
async fn a_session_is_called_what_people_call_its_device() {
    let app = TestApp::new().await;
    let ada = app.registered(ADA).await;
    app.pass(1);
    login(&app, ADA, FIREFOX, "de", "192.0.2.7").await.expect(StatusCode::OK);
    let list = app.get("/v1/auth/sessions").by(&ada).await.expect(StatusCode::OK).json();
    assert_eq!(list["sessions"][0]["device"], "Firefox on Linux");
    assert_eq!(list["sessions"][1]["device"], "");
}

#[tokio::test]
async fn a_login_from_where_its_user_never_was_is_told_of_once_and_never_refused() {
    let app = TestApp::new().await;
    let bob = json!({"email": "bob@example.com", "password": PASSWORD, "name": "Bob"});
    let register = app.post("/v1/auth/register", bob).header("user-agent", FIREFOX);
    register.header("accept-language", "de").from("192.0.2.7:5000").await.expect(StatusCode::CREATED);
    assert_eq!(told(&app).await, 0, "the first login of all");
    let newer = FIREFOX.replace("132", "140");
    for (agent, language, ip, expected) in [
        (FIREFOX, "de", "192.0.2.7", 0),
        (newer.as_str(), "de", "192.0.2.200", 0),
        (FIREFOX, "de", "192.0.3.7", 1),
        (FIREFOX, "de", "192.0.3.7", 1),
        (FIREFOX, "fr", "192.0.2.7", 2),
        ("curl/8.5.0", "de", "192.0.2.7", 3),
        (FIREFOX, "de", "2001:db8:1:2::3", 4),
        (FIREFOX, "de", "2001:db8:1:ffff::3", 4),
        (FIREFOX, "de", "192.0.2.7", 4),
    ] {
        login(&app, "bob@example.com", agent, language, ip).await.expect(StatusCode::OK);
        assert_eq!(told(&app).await, expected, "{agent} {language} {ip}");
    }
    // Also when its sessions have been forgotten long ago, and for nobody else.
    app.pass(200 * 86_400);
    countersign_issuer::sessions::sweep(&app.app.db, app.clock.now()).await.unwrap();
    login(&app, "bob@example.com", "okhttp/4.12.0", "de", "192.0.2.7").await.expect(StatusCode::OK);
    assert_eq!(told(&app).await, 5);
}

#[tokio::test]
async fn a_wrong_password_makes_no_device_known() {
    let app = TestApp::new().await;
    app.registered(ADA).await;
    let body = json!({"email": ADA, "password": "wrong wrong wrong"});
    let wrong = app.post("/v1/auth/login", body).header("user-agent", FIREFOX);
    wrong.from("192.0.2.7:5000").await.refused(401, "invalid_credentials");
    let right = app.post("/v1/auth/login", json!({"email": ADA, "password": PASSWORD}));
    right.header("user-agent", FIREFOX).from("192.0.2.7:5000").await.expect(StatusCode::OK);
    assert_eq!(told(&app).await, 1);
}

#[tokio::test]
async fn the_device_of_a_login_is_where_its_code_was_shown() {
    let app = TestApp::new().await;
    let ada = app.registered(ADA).await;
    let factor = Factor::of(&app, &ada).await;
    let first = login(&app, ADA, FIREFOX, "de", "192.0.2.7").await;
    assert_eq!(told(&app).await, 0);
    let second = verify(&app, &token(&first), &factor.code(&app)).header("user-agent", "curl/8.5.0");
    second.await.expect(StatusCode::OK);
    assert_eq!(told(&app).await, 1);
    assert_eq!(app.value::<String>("SELECT device FROM sessions ORDER BY id DESC LIMIT 1").await, "curl");
}

#[tokio::test]
async fn a_user_has_so_many_devices_and_no_more() {
    let app = TestApp::new().await;
    app.registered(ADA).await;
    for n in 0..60 {
        app.pass(1);
        login(&app, ADA, FIREFOX, "de", &format!("192.0.{n}.7")).await.expect(StatusCode::OK);
    }
    assert_eq!(told(&app).await, 60);
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM devices").await, 50);
    login(&app, ADA, FIREFOX, "de", "192.0.59.7").await.expect(StatusCode::OK);
    assert_eq!(told(&app).await, 60);
}
