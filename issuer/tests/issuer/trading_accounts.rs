//! Trading accounts: whose they are, what is shown of them, and what services get.

mod brokers;
mod sealed;

use countersign_issuer::services::Scope;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::broker_stand_in::{
    ALPACA_KEY, ALPACA_SECRET, ALPACA_USER, KITE_KEY, KITE_SECRET, KITE_TOKEN, KITE_USER, REQUEST_TOKEN,
};
use crate::services::{EXCHANGE, service};
use crate::stage::{Answer, Call, PASSWORD, Person, TestApp};

pub(crate) const ACCOUNTS: &str = "/v1/trading-accounts";
pub(crate) const INTERNAL: &str = "/v1/internal/trading-accounts";

/// The lines of a configuration with a key to protect credentials with.
pub(crate) const ENCRYPTION: &str =
    "[encryption]\ncurrent = \"the key of these tests only, and of no other\"\n";

/// Whatever must never be seen outside of a service.
pub(crate) const SECRETS: [&str; 6] =
    [KITE_KEY, KITE_SECRET, KITE_TOKEN, REQUEST_TOKEN, ALPACA_KEY, ALPACA_SECRET];

pub(crate) fn kite() -> Value {
    json!({"broker": "kite", "user_id_broker": KITE_USER, "api_key": KITE_KEY, "api_secret": KITE_SECRET})
}

pub(crate) fn alpaca() -> Value {
    let (id, key, secret) = (ALPACA_USER, ALPACA_KEY, ALPACA_SECRET);
    json!({"broker": "alpaca", "user_id_broker": id, "api_key": key, "api_secret": secret})
}

/// An issuer that lets users try as often as they like.
async fn patient() -> TestApp {
    TestApp::with(ENCRYPTION, |settings| settings.trading_accounts.attempts_per_minute = 1000).await
}

/// `body` with another value in one place.
fn but(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

fn link(app: &TestApp, person: &Person, body: Value) -> Call {
    app.post(ACCOUNTS, body).by(person)
}

/// The id of an account that was linked.
pub(crate) async fn linked(app: &TestApp, person: &Person, body: Value) -> String {
    let account = link(app, person, body).await.expect(StatusCode::CREATED).json();
    account["account_id"].as_str().unwrap().to_owned()
}

fn verify(app: &TestApp, person: &Person, id: &str, body: Value) -> Call {
    app.post(&format!("{ACCOUNTS}/{id}/verify"), body).by(person)
}

fn rotate(app: &TestApp, person: &Person, id: &str, body: Value) -> Call {
    app.post(&format!("{ACCOUNTS}/{id}/rotate"), body).by(person)
}

fn unlink(app: &TestApp, person: &Person, id: &str) -> Call {
    app.call(Method::DELETE, &format!("{ACCOUNTS}/{id}")).by(person)
}

async fn listed(app: &TestApp, person: &Person) -> Vec<Value> {
    app.get(ACCOUNTS).by(person).await.expect(StatusCode::OK).json().as_array().unwrap().clone()
}

/// A service that may do everything.
pub(crate) struct Ticker<'a> {
    app: &'a TestApp,
    pub(crate) token: String,
}

impl<'a> Ticker<'a> {
    pub(crate) async fn of(app: &'a TestApp) -> Self {
        Self { app, token: service(app, &Scope::ALL).await }
    }

    async fn list(&self, query: &str) -> Answer {
        let call = self.app.internally(Method::GET, &format!("{INTERNAL}?{query}"));
        call.header("x-service-token", &self.token).await
    }

    pub(crate) async fn read(&self, id: &str) -> Answer {
        let call = self.app.internally(Method::POST, &format!("{INTERNAL}/{id}/credentials"));
        call.header("x-service-token", &self.token).await
    }
}

#[tokio::test]
async fn an_account_is_linked_and_listed_and_its_secrets_never_come_back() {
    let app = TestApp::with(ENCRYPTION, |_| ()).await;
    let ada = app.registered("ada@example.com").await;
    let made = link(&app, &ada, kite()).await.expect(StatusCode::CREATED);
    let body = made.json();
    assert_eq!(body["broker"], "kite");
    assert_eq!(body["user_id_broker"], KITE_USER);
    // Only its owner's login at the broker can prove it, so it counts as active, and says that it was not verified.
    assert_eq!((&body["status"], &body["verification"]), (&json!("active"), &json!("request_token")));
    assert_eq!(body["verified_at"], Value::Null);
    assert_eq!((&body["created_at"], &body["rotation_due"]), (&json!("2026-11-20T12:00:00Z"), &json!(false)));
    app.pass(1);
    let other = link(&app, &ada, alpaca()).await.expect(StatusCode::CREATED).json();
    assert_eq!((&other["status"], &other["verification"]), (&json!("pending"), &json!("key_and_secret")));
    let list = app.get(ACCOUNTS).by(&ada).await.expect(StatusCode::OK);
    // Oldest first, and a bare array.
    assert_eq!(list.json(), json!([body, other]));
    let events = app.get("/v1/audit").by(&ada).await;
    for answer in [made, list, events] {
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        for secret in SECRETS {
            assert!(!text.contains(secret) && !text.contains(&secret[secret.len() - 8..]), "{text}");
        }
    }
    let told = "SELECT COUNT(*) FROM audit_events WHERE type = 'trading_account_linked' AND actor = subject";
    assert_eq!(app.value::<i64>(told).await, 2);
}

#[tokio::test]
async fn an_account_at_a_broker_is_linked_once_by_each_user_whatever_it_is_called() {
    let app = TestApp::with(ENCRYPTION, |_| ()).await;
    let ada = app.registered("ada@example.com").await;
    let bob = app.registered("bob@example.com").await;
    linked(&app, &ada, kite()).await;
    for again in [
        kite(),
        but(kite(), "broker", json!("zerodha")),
        but(kite(), "user_id_broker", json!("ab1234")),
        but(kite(), "api_key", json!("another")),
    ] {
        link(&app, &ada, again).await.refused(409, "trading_account_linked");
    }
    linked(&app, &ada, but(kite(), "user_id_broker", json!("CD5678"))).await;
    let zerodha = link(&app, &bob, but(kite(), "broker", json!("Zerodha"))).await.expect(StatusCode::CREATED);
    assert_eq!(zerodha.json()["broker"], "kite");
    assert_eq!((listed(&app, &ada).await.len(), listed(&app, &bob).await.len()), (2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_that_link_the_same_account_at_once_one_does() {
    let app = TestApp::with(ENCRYPTION, |_| ()).await;
    let ada = app.registered("ada@example.com").await;
    let calls = (0..16).map(|_| link(&app, &ada, kite()).into_future());
    let answers = futures_util::future::join_all(calls).await;
    let made = answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count();
    assert_eq!((made, listed(&app, &ada).await.len()), (1, 1), "{answers:?}");
}

#[tokio::test]
async fn nobody_sees_changes_or_takes_away_the_account_of_another() {
    let app = TestApp::with(ENCRYPTION, |_| ()).await;
    let ada = app.registered("ada@example.com").await;
    let root = app.admin("root@example.com").await;
    let id = linked(&app, &ada, kite()).await;
    assert_eq!(listed(&app, &root).await, [json!(null); 0]);
    for id in [id.as_str(), "01940000-0000-7000-8000-000000000001", "0", "%00", &id.to_uppercase()] {
        verify(&app, &root, id, json!({})).await.refused(404, "not_found");
        rotate(&app, &root, id, kite()).await.refused(404, "not_found");
        unlink(&app, &root, id).await.refused(404, "not_found");
    }
    for call in [app.get(ACCOUNTS), app.post(ACCOUNTS, kite())] {
        call.await.refused(401, "missing_token");
    }
    assert_eq!(listed(&app, &ada).await.len(), 1);
    unlink(&app, &ada, &id).await.expect(StatusCode::NO_CONTENT);
    unlink(&app, &ada, &id).await.refused(404, "not_found");
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM trading_accounts").await, 0);
    let told = "SELECT COUNT(*) FROM audit_events WHERE type = 'trading_account_unlinked'";
    assert_eq!(app.value::<i64>(told).await, 1);
}

#[tokio::test]
async fn a_program_with_a_key_neither_links_nor_sees_accounts() {
    let app = TestApp::with(ENCRYPTION, |_| ()).await;
    let ada = app.registered("ada@example.com").await;
    let id = linked(&app, &ada, kite()).await;
    let key = app.post("/v1/api-keys", json!({"name": "x"})).by(&ada).await.json()["api_key"].clone();
    let token = service(&app, &Scope::ALL).await;
    let exchange = app.internally(Method::POST, EXCHANGE).json(json!({"api_key": key}));
    let exchanged = exchange.header("x-service-token", &token).await.expect(StatusCode::OK).json();
    let program = Person { access_token: exchanged["access_token"].as_str().unwrap().to_owned(), ..ada };
    link(&app, &program, alpaca()).await.refused(403, "not_by_api_key");
    unlink(&app, &program, &id).await.refused(403, "not_by_api_key");
    for call in [
        verify(&app, &program, &id, json!({})),
        rotate(&app, &program, &id, kite()),
        app.get(ACCOUNTS).by(&program),
    ] {
        call.await.refused(403, "not_by_api_key");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_field_is_told_without_its_value() {
    let app = TestApp::with(ENCRYPTION, |_| ()).await;
    let ada = app.registered("ada@example.com").await;
    let id = linked(&app, &ada, kite()).await;
    let long = "x".repeat(1000);
    for (field, bad) in [
        ("broker", json!("")),
        ("broker", json!("no-broker")),
        ("broker", json!(1)),
        ("user_id_broker", json!("")),
        ("user_id_broker", json!("AB 1234")),
        ("user_id_broker", json!("АВ1234")),
        ("api_key", json!("")),
        ("api_key", json!("hunter2 hunter2")),
        ("api_key", json!("hunter2\r\nx-admin: 1")),
        ("api_key", json!(null)),
        ("api_secret", json!("hunter2\0")),
        ("api_secret", json!(long)),
        ("api_secret", json!(["hunter2"])),
    ] {
        let answer = link(&app, &ada, but(kite(), field, bad.clone())).await;
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(!text.contains("hunter2") && !text.contains(&long), "{text}");
        assert_eq!(answer.invalid_fields(), [field], "{bad}");
        if field.starts_with("api_") {
            assert_eq!(rotate(&app, &ada, &id, but(kite(), field, bad)).await.invalid_fields(), [field]);
        }
    }
    assert_eq!(link(&app, &ada, json!({"broker": "kite"})).await.invalid_fields().len(), 3);
    let token = json!({"request_token": "a b"});
    assert_eq!(verify(&app, &ada, &id, token).await.invalid_fields(), ["request_token"]);
}

#[tokio::test]
async fn an_account_too_many_is_refused() {
    let app = patient().await;
    let ada = app.registered("ada@example.com").await;
    let at = |n: i64| but(kite(), "user_id_broker", json!(format!("AB{n}")));
    for n in 0..countersign_issuer::trading_accounts::MOST {
        linked(&app, &ada, at(n)).await;
    }
    link(&app, &ada, at(99)).await.refused(409, "too_many_trading_accounts");
    let bob = app.registered("bob@example.com").await;
    linked(&app, &bob, at(99)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_linked_at_once_there_are_no_more_than_a_user_may_have() {
    let app = patient().await;
    let ada = app.registered("ada@example.com").await;
    let at = |n: i64| but(kite(), "user_id_broker", json!(format!("AB{n}")));
    for n in 4..countersign_issuer::trading_accounts::MOST {
        linked(&app, &ada, at(n)).await;
    }
    let calls = (100..116).map(|n| link(&app, &ada, at(n)).into_future());
    let answers = futures_util::future::join_all(calls).await;
    let made = answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count();
    assert_eq!((made, listed(&app, &ada).await.len()), (4, 50), "{answers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn accounts_linked_while_their_owner_is_deleted_are_not_there() {
    let app = patient().await;
    let ada = app.registered("ada@example.com").await;
    let at = |n: i64| but(kite(), "user_id_broker", json!(format!("AB{n}")));
    let delete = app.call(Method::DELETE, "/v1/users/me").by(&ada).json(json!({"password": PASSWORD}));
    let calls = (0..40).map(|n| link(&app, &ada, at(n)).into_future());
    let (deleted, answers) = tokio::join!(delete.into_future(), futures_util::future::join_all(calls));
    deleted.expect(StatusCode::NO_CONTENT);
    for answer in answers {
        assert!([StatusCode::CREATED, StatusCode::UNAUTHORIZED].contains(&answer.status), "{answer:?}");
    }
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM trading_accounts").await, 0);
}

#[tokio::test]
async fn without_a_key_nothing_is_kept_and_everything_else_goes_on() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    link(&app, &ada, kite()).await.refused(501, "encryption_off");
    assert_eq!(listed(&app, &ada).await, [json!(null); 0]);
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM trading_accounts").await, 0);
}

#[tokio::test]
async fn with_its_owner_an_account_goes() {
    let app = TestApp::with(ENCRYPTION, |_| ()).await;
    let ada = app.registered("ada@example.com").await;
    let bob = app.registered("bob@example.com").await;
    let id = linked(&app, &ada, kite()).await;
    linked(&app, &bob, kite()).await;
    let password = json!({"password": PASSWORD});
    let deleted = app.call(Method::DELETE, "/v1/users/me").by(&ada).json(password).await;
    deleted.expect(StatusCode::NO_CONTENT);
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM trading_accounts").await, 1);
    Ticker::of(&app).await.read(&id).await.refused(404, "not_found");
}

#[tokio::test]
async fn a_service_finds_the_accounts_of_a_user_and_reads_the_credentials_of_active_ones() {
    let app = TestApp::with(ENCRYPTION, |_| ()).await;
    let ticker = Ticker::of(&app).await;
    let ada = app.registered("ada@example.com").await;
    let bob = app.registered("bob@example.com").await;
    let one = linked(&app, &ada, kite()).await;
    app.pass(1);
    let two = linked(&app, &ada, alpaca()).await;
    linked(&app, &bob, kite()).await;
    let ids = async |query: &str| {
        let list = ticker.list(query).await.expect(StatusCode::OK).json();
        let ids =
            list.as_array().unwrap().iter().map(|account| account["account_id"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>()
    };
    let whose = format!("user_id={}", ada.id);
    assert_eq!(ids(&whose).await, [one.clone(), two.clone()]);
    assert_eq!(ids(&format!("{whose}&broker=zerodha")).await, std::slice::from_ref(&one));
    assert_eq!(ids(&format!("{whose}&status=pending")).await, std::slice::from_ref(&two));
    assert_eq!(ids("user_id=nobody").await, [""; 0]);
    assert_eq!(ticker.list("").await.invalid_fields(), ["user_id"]);
    assert_eq!(ticker.list("user_id=a&user_id=b").await.invalid_fields(), ["user_id"]);
    assert_eq!(ticker.list("user_id=a,b&broker=x&status=y").await.invalid_fields().len(), 3);

    let answer = ticker.read(&one).await.expect(StatusCode::OK);
    assert_eq!(answer.header("cache-control"), "no-store");
    let expected = json!({
        "account_id": one, "user_id": ada.id, "broker": "kite", "user_id_broker": KITE_USER,
        "api_key": KITE_KEY, "api_secret": KITE_SECRET,
    });
    assert_eq!(answer.json(), expected);
    ticker.read(&two).await.refused(409, "trading_account_not_active");
    ticker.read("01940000-0000-7000-8000-000000000001").await.refused(404, "not_found");
    ticker.read("0").await.refused(404, "not_found");
    // The owner sees who read them.
    let events = app.get("/v1/audit").by(&ada).await.json();
    let read = events["items"].as_array().unwrap().iter().find(|event| event["type"] == "credentials_read");
    let read = read.unwrap();
    assert_eq!((&read["actor"], &read["session_id"]), (&json!("service:edge"), &json!(one)));
    // Those that named her, whatever else they asked for.
    let lists = events["items"].as_array().unwrap().iter();
    let lists: Vec<_> = lists.filter(|event| event["type"] == "trading_accounts_read").collect();
    assert_eq!(lists.len(), 3, "{events}");
    assert!(
        lists.iter().all(|event| event["actor"] == "service:edge" && event["subject"] == ada.id.as_str())
    );
    assert_eq!(
        app.value::<i64>("SELECT COUNT(*) FROM audit_events WHERE type = 'credentials_read'").await,
        1
    );
}

#[tokio::test]
async fn credentials_are_for_services_of_that_scope_and_for_nobody_else() {
    let app = TestApp::with(ENCRYPTION, |_| ()).await;
    let root = app.admin("root@example.com").await;
    let id = linked(&app, &root, kite()).await;
    let read = || app.internally(Method::POST, &format!("{INTERNAL}/{id}/credentials"));
    let list = || app.internally(Method::GET, &format!("{INTERNAL}?user_id={}", root.id));
    let lister = service(&app, &[Scope::TradingAccountsRead]).await;
    let reader = service(&app, &[Scope::CredentialsRead]).await;
    let edge = service(&app, &[Scope::RevocationsRead, Scope::ApiKeysExchange]).await;
    list().header("x-service-token", &lister).await.expect(StatusCode::OK);
    read().header("x-service-token", &reader).await.expect(StatusCode::OK);
    for (call, token) in [(read(), &lister), (list(), &reader), (read(), &edge), (list(), &edge)] {
        call.header("x-service-token", token).await.refused(403, "service_scope_missing");
    }
    for call in [read(), list()] {
        call.await.refused(401, "service_token_missing");
    }
    for call in [read().by(&root), list().by(&root), read().by(&root).header("x-service-token", &reader)] {
        call.await.refused(401, "credential_misplaced");
    }
    // Not where clients are.
    let public = app.call(Method::POST, &format!("{INTERNAL}/{id}/credentials"));
    public.header("x-service-token", &reader).await.refused(404, "not_found");
    link(&app, &root, alpaca()).header("x-service-token", &reader).await.refused(401, "credential_misplaced");
}

#[tokio::test]
async fn what_is_unlinked_or_belongs_to_a_closed_account_is_not_traded_with() {
    let app = TestApp::with(ENCRYPTION, |_| ()).await;
    let ticker = Ticker::of(&app).await;
    let ada = app.registered("ada@example.com").await;
    let bob = app.registered("bob@example.com").await;
    let (one, two) = (linked(&app, &ada, kite()).await, linked(&app, &bob, kite()).await);
    for id in [&one, &two] {
        ticker.read(id).await.expect(StatusCode::OK);
    }
    unlink(&app, &ada, &one).await.expect(StatusCode::NO_CONTENT);
    ticker.read(&one).await.refused(404, "not_found");
    app.deactivate("bob@example.com").await;
    ticker.read(&two).await.refused(409, "trading_account_not_active");
    let list = ticker.list(&format!("user_id={}", bob.id)).await.json();
    assert_eq!(list[0]["status"], "revoked");
    assert_eq!(ticker.list(&format!("user_id={}&status=active", bob.id)).await.json(), json!([]));
}

#[tokio::test]
async fn credentials_that_are_due_to_be_replaced_are_told_of_once() {
    let app =
        TestApp::with(&format!("{ENCRYPTION}[trading_accounts]\nrotate_after = \"1d\"\n"), |_| ()).await;
    let ada = app.registered("ada@example.com").await;
    let id = linked(&app, &ada, kite()).await;
    let due =
        "SELECT COUNT(*) FROM audit_events WHERE type = 'credentials_rotation_due' AND actor = 'issuer'";
    let figure = async || {
        let figures = app.internally(Method::GET, "/metrics").await;
        let text = String::from_utf8(figures.body.to_vec()).unwrap();
        let line = text.lines().find(|line| line.starts_with("countersign_trading_accounts_rotation_due "));
        line.unwrap().to_owned()
    };
    let look =
        async || countersign_issuer::trading_accounts::note_due(&app.app.trading_accounts).await.unwrap();
    look().await;
    assert_eq!((app.value::<i64>(due).await, figure().await.ends_with(" 0")), (0, true));
    app.pass(86_400);
    look().await;
    look().await;
    assert_eq!((app.value::<i64>(due).await, figure().await.ends_with(" 1")), (1, true));
    let ada = app.logged_in("ada@example.com").await;
    assert_eq!(listed(&app, &ada).await[0]["rotation_due"], true);
    let rotated = rotate(&app, &ada, &id, kite()).await.expect(StatusCode::OK).json();
    assert_eq!(rotated["rotation_due"], false);
    look().await;
    assert_eq!((app.value::<i64>(due).await, figure().await.ends_with(" 0")), (1, true));
    let rotations = "SELECT COUNT(*) FROM audit_events WHERE type = 'credentials_rotated'";
    assert_eq!(app.value::<i64>(rotations).await, 1);
}
