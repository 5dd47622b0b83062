//! Service tokens: they open the internal listener, as far as their scopes go, and nothing else does.

use std::time::Duration;

use countersign_issuer::ambient::Entropy;
use countersign_issuer::audit::Origin;
use countersign_issuer::db::Tx;
use countersign_issuer::secrets::MachineSecret;
use countersign_issuer::services::standing::{self, Added};
use countersign_issuer::services::{PREFIX, Scope, Scopes, ServiceName};
use countersign_issuer::sessions::Rules;
use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::json;

use crate::stage::{Answer, COMPAT, Call, TestApp};
use crate::trading_accounts::INTERNAL;

pub(crate) const FEED: &str = "/v1/internal/revocations";
pub(crate) const EXCHANGE: &str = "/v1/internal/api-keys/exchange";

fn edge() -> ServiceName {
    ServiceName::parse("edge").unwrap()
}

async fn added(app: &TestApp, name: ServiceName, hash: String, scopes: Scopes) -> Added {
    let work =
        async move |tx: &mut Tx<'_>| standing::add(tx, &name, &scopes, &hash, &Origin::command()).await;
    app.app.db.write(work).await.unwrap()
}

/// The token of a service of this name, with scopes that are configured.
pub(crate) async fn service_called(app: &TestApp, name: &str, scopes: &[&str]) -> String {
    let secret = MachineSecret::draw(PREFIX, &Entropy::system());
    let scopes: Vec<String> = scopes.iter().map(ToString::to_string).collect();
    let scopes = Scopes::read(&scopes, &app.settings.service_permissions()).unwrap();
    let name = ServiceName::parse(name).unwrap();
    assert!(matches!(added(app, name, secret.sha256(), scopes).await, Added::Done(_)));
    secret.expose().to_owned()
}

/// Takes the secrets of a service away, or the one with this id; answers which.
pub(crate) async fn revoke_service(app: &TestApp, name: &str, id: Option<String>) -> Vec<String> {
    let (name, rules) = (ServiceName::parse(name).unwrap(), Rules::from(&app.settings));
    let work = app
        .app
        .db
        .write(async move |tx| standing::revoke(tx, &name, id.as_deref(), &Origin::command(), rules).await);
    work.await.unwrap()
}

/// The token of a service called `edge`.
pub(crate) async fn service(app: &TestApp, scopes: &'static [Scope]) -> String {
    let secret = MachineSecret::draw(PREFIX, &Entropy::system());
    assert!(matches!(added(app, edge(), secret.sha256(), scopes.into()).await, Added::Done(_)));
    secret.expose().to_owned()
}

fn feed(app: &TestApp) -> Call {
    app.internally(Method::GET, FEED)
}

fn with(call: Call, token: &str) -> Call {
    call.header("x-service-token", token)
}

async fn revoke(app: &TestApp) -> Vec<String> {
    revoke_service(app, "edge", None).await
}

#[tokio::test]
async fn only_a_good_service_token_opens_what_is_internal() {
    let app = TestApp::new().await;
    let token = service(&app, &[Scope::RevocationsRead]).await;
    with(feed(&app), &token).await.expect(StatusCode::OK);
    feed(&app).await.refused(401, "service_token_missing");
    let flipped = token.replace(PREFIX, "").chars().rev().collect::<String>();
    let unknown = MachineSecret::draw(PREFIX, &Entropy::system());
    let bad = [
        "",
        "x",
        "cs_service_",
        &token[..token.len() - 1],
        &format!("{token}0"),
        &format!("{PREFIX}{flipped}"),
        &token.to_uppercase(),
        unknown.expose(),
        "another-system-s-secret-0123456789",
        "' OR 1=1 --",
    ];
    for bad in bad {
        with(feed(&app), bad).await.refused(401, "service_token_invalid");
    }
    let odd = http::HeaderValue::from_bytes(b"\xff\xfe").unwrap();
    feed(&app).value("x-service-token", odd).await.refused(401, "service_token_invalid");
    with(with(feed(&app), &token), &token).await.refused(400, "ambiguous_credentials");
    // Wherever else it may be.
    app.internally(Method::GET, &format!("{FEED}?token={token}&service_token={token}"))
        .header("cookie", &format!("x-service-token={token}"))
        .await
        .refused(401, "service_token_missing");
}

#[tokio::test]
async fn a_users_token_opens_nothing_internal_and_a_services_nothing_of_users() {
    let app = TestApp::with(COMPAT, |_| ()).await;
    let token = service(&app, &Scope::ALL).await;
    let root = app.admin("root@example.com").await;
    for path in [FEED, EXCHANGE] {
        let method = if path == FEED { Method::GET } else { Method::POST };
        let call = || app.internally(method.clone(), path).by(&root).json(json!({"api_key": "x"}));
        call().await.refused(401, "credential_misplaced");
        with(call(), &token).await.refused(401, "credential_misplaced");
    }
    for (method, path) in [
        (Method::GET, "/v1/users/me"),
        (Method::GET, "/v1/admin/users"),
        (Method::POST, "/v1/auth/login"),
        (Method::POST, "/v1/authz/check"),
        (Method::POST, "/token"),
        (Method::GET, "/api/auth/me"),
    ] {
        with(app.call(method.clone(), path), &token).await.refused(401, "credential_misplaced");
        with(app.call(method, path).by(&root), &token).await.refused(401, "credential_misplaced");
    }
    app.get("/v1/users/me").by(&root).await.expect(StatusCode::OK);
    // It is no bearer token either, and nothing internal is public.
    assert_eq!(app.get("/v1/users/me").bearer(&token).await.status, StatusCode::UNAUTHORIZED);
    with(app.get(FEED), &token).await.refused(404, "not_found");
}

#[tokio::test]
async fn a_page_in_a_browser_is_no_service_and_is_told_nothing_that_it_could_read() {
    let app = TestApp::with("[cors]\norigins = [\"https://app.example\"]\n", |_| ()).await;
    let token = service(&app, &Scope::ALL).await;
    for (name, value) in
        [("origin", "https://app.example"), ("origin", "null"), ("sec-fetch-site", "same-origin")]
    {
        let answer = with(feed(&app), &token).header(name, value).await.refused(403, "cross_site");
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
    let preflight = app.internally(Method::OPTIONS, FEED).header("origin", "https://app.example");
    let answer = preflight.header("access-control-request-method", "GET").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(!answer.headers.keys().any(|name| name.as_str().starts_with("access-control")));
}

#[tokio::test]
async fn both_kinds_of_calls_at_one_address_stay_apart() {
    let app = TestApp::new().await;
    let token = service(&app, &Scope::ALL).await;
    let root = app.admin("root@example.com").await;
    let at = |method: Method, path: &str| app.at_one_address(method, path);
    with(at(Method::GET, FEED), &token).await.expect(StatusCode::OK);
    at(Method::GET, FEED).by(&root).await.refused(401, "credential_misplaced");
    at(Method::GET, FEED).await.refused(401, "service_token_missing");
    at(Method::GET, "/v1/users/me").by(&root).await.expect(StatusCode::OK);
    with(at(Method::GET, "/v1/users/me").by(&root), &token).await.refused(401, "credential_misplaced");
    assert!(at(Method::GET, "/metrics").await.expect(StatusCode::OK).body.starts_with(b"# "));
    let document = at(Method::GET, "/v1/internal/openapi.json").await.expect(StatusCode::OK).json();
    assert_eq!(document["info"]["title"], "Countersign issuer, internal");
    // Another spelling is another path, and nothing is there.
    for path in [
        "/v1/%69nternal/revocations",
        "/v1//internal/revocations",
        "/V1/internal/revocations",
        "/v1/internal",
    ] {
        with(at(Method::GET, path), &token).await.refused(404, "not_found");
    }
}

#[tokio::test]
async fn a_service_reads_so_many_credentials_in_a_minute_and_keeps_no_other_out() {
    let app = TestApp::with("[services]\ncredential_reads_per_minute = 2\n", |_| ()).await;
    let [greedy, modest] = [
        service_called(&app, "greedy", &["credentials:read"]).await,
        service_called(&app, "modest", &["credentials:read"]).await,
    ];
    let read = |token: &str| {
        let account = "/v1/internal/trading-accounts/01940000-0000-7000-8000-000000000001/credentials";
        with(app.internally(Method::POST, account), token)
    };
    for _ in 0..2 {
        read(&greedy).await.refused(404, "not_found");
    }
    app.pass(20);
    for _ in 0..3 {
        assert_eq!(read(&greedy).await.refused(429, "rate_limited").header("retry-after"), "40");
    }
    read(&modest).await.refused(404, "not_found");
    let told =
        "SELECT COUNT(*) FROM audit_events WHERE type = 'service_limited' AND subject = 'service:greedy'";
    let written = async {
        while app.value::<i64>(told).await == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), written).await.expect("the limit was not written down");
    assert_eq!(app.value::<i64>(told).await, 1);
    assert!(app.app.metrics.text().contains("service_calls_limited_total{call=\"credentials\"} 3"));
    app.pass(40);
    read(&greedy).await.refused(404, "not_found");
}

#[tokio::test]
async fn lists_of_accounts_and_questions_about_users_are_limited_and_counted_by_service() {
    let lines = "[services]\naccount_lists_per_minute = 2\nauthz_checks_per_minute = 2\n";
    let app = TestApp::with(lines, |_| ()).await;
    let [greedy, modest] = [
        service_called(&app, "greedy", &["trading-accounts:read", "authz:check"]).await,
        service_called(&app, "modest", &["trading-accounts:read", "authz:check"]).await,
    ];
    let list = |token: &str| with(app.internally(Method::GET, &format!("{INTERNAL}?user_id=x")), token);
    let check = |token: &str| {
        let question = json!({"user_id": "x", "permission": "alerts:read"});
        with(app.internally(Method::POST, "/v1/internal/authz/check"), token).json(question)
    };
    for call in [&list as &dyn Fn(&str) -> Call, &check] {
        for _ in 0..2 {
            call(&greedy).await.expect(StatusCode::OK);
        }
        assert_eq!(call(&greedy).await.refused(429, "rate_limited").header("retry-after"), "60");
        call(&modest).await.expect(StatusCode::OK);
    }
    let figures = app.app.metrics.text();
    for line in [
        "service_calls_limited_total{call=\"trading_accounts\"} 1",
        "service_calls_limited_total{call=\"authz_check\"} 1",
        "service_calls_total{service=\"greedy\",scope=\"authz:check\"} 3",
        "service_calls_total{service=\"modest\",scope=\"trading-accounts:read\"} 1",
    ] {
        assert!(figures.contains(line), "no {line}: {figures}");
    }
}

#[tokio::test]
async fn a_refused_service_token_is_counted_by_its_reason() {
    let app = TestApp::new().await;
    let token = service(&app, &[Scope::AuthzCheck]).await;
    feed(&app).await.refused(401, "service_token_missing");
    for bad in ["made up", MachineSecret::draw(PREFIX, &Entropy::system()).expose()] {
        with(feed(&app), bad).await.refused(401, "service_token_invalid");
    }
    with(feed(&app), &token).await.refused(403, "service_scope_missing");
    let figures = app.app.metrics.text();
    for (reason, count) in
        [("service_token_missing", 1), ("service_token_invalid", 2), ("service_scope_missing", 1)]
    {
        let line = format!("countersign_service_calls_refused_total{{reason=\"{reason}\"}} {count}");
        assert!(figures.contains(&line), "no {line}: {figures}");
    }
}

#[tokio::test]
async fn a_service_does_what_its_scopes_say_and_no_more() {
    let app = TestApp::new().await;
    let reader = service(&app, &[Scope::RevocationsRead]).await;
    let exchanger = service(&app, &[Scope::ApiKeysExchange]).await;
    let exchange = || app.internally(Method::POST, EXCHANGE).json(json!({"api_key": "x"}));
    with(feed(&app), &reader).await.expect(StatusCode::OK);
    with(exchange(), &exchanger).await.refused(401, "api_key_invalid");
    for call in [with(feed(&app), &exchanger), with(exchange(), &reader)] {
        call.await.refused(403, "service_scope_missing");
    }
}

#[tokio::test]
async fn secrets_of_a_service_are_replaced_one_by_one_and_end_at_once() {
    let app = TestApp::new().await;
    let old = service(&app, &Scope::ALL).await;
    // Ids are in the order of time.
    app.pass(1);
    let new = service(&app, &Scope::ALL).await;
    for token in [&old, &new] {
        with(feed(&app), token).await.expect(StatusCode::OK);
    }
    let id = app.value::<String>("SELECT id FROM service_tokens ORDER BY id LIMIT 1").await;
    assert_eq!(revoke_service(&app, "edge", Some(id)).await.len(), 1);
    with(feed(&app), &old).await.refused(401, "service_token_invalid");
    with(feed(&app), &new).await.expect(StatusCode::OK);
    assert_eq!((revoke(&app).await.len(), revoke(&app).await.len()), (1, 0));
    with(feed(&app), &new).await.refused(401, "service_token_invalid");
    for (kind, count) in [("service_created", 2), ("service_revoked", 2)] {
        let root = app.admin(&format!("{kind}@example.com")).await;
        let events = app.get(&format!("/v1/admin/audit?type={kind}&subject=service:edge")).by(&root).await;
        let events = events.expect(StatusCode::OK).json();
        let events = events["items"].as_array().unwrap().clone();
        assert_eq!(events.len(), count, "{events:?}");
        assert!(events.iter().all(|event| event["actor"] == "operator" && event["session_id"].is_string()));
    }
}

#[tokio::test]
async fn a_service_has_a_bounded_number_of_secrets_and_none_is_anothers() {
    let app = TestApp::new().await;
    let all = || Scopes::from(&Scope::ALL[..]);
    for n in 0..10 {
        assert!(matches!(added(&app, edge(), n.to_string(), all()).await, Added::Done(_)));
    }
    assert_eq!(added(&app, edge(), "10".into(), all()).await, Added::TooMany);
    let other = ServiceName::parse("ticker").unwrap();
    assert_eq!(added(&app, other, "3".into(), all()).await, Added::SecretInUse);
}

#[tokio::test]
async fn the_database_has_no_service_token_that_works() {
    let app = TestApp::new().await;
    let token = service(&app, &Scope::ALL).await;
    let stored = app.value::<String>("SELECT secret_hash FROM service_tokens").await;
    assert_eq!(stored.len(), 64);
    assert!(!token.contains(&stored));
    with(feed(&app), &stored).await.refused(401, "service_token_invalid");
}

/// What is written beside the request has been.
async fn noted(app: &TestApp, expected: i64) {
    let noted = async {
        let last = "SELECT COALESCE(MAX(last_used_at), 0) FROM service_tokens";
        while app.value::<i64>(last).await != expected {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), noted).await.expect("the use was not noted");
}

#[tokio::test]
async fn that_a_secret_is_in_use_is_noted_now_and_then() {
    let app = TestApp::new().await;
    let token = service(&app, &Scope::ALL).await;
    let began = app.clock.now().seconds();
    with(feed(&app), &token).await.expect(StatusCode::OK);
    noted(&app, began).await;
    let commits = "SELECT COUNT(*) FROM service_tokens WHERE last_used_at IS NOT NULL";
    assert_eq!(app.value::<i64>(commits).await, 1);
    app.pass(599);
    let written = pieces_of_work(&app);
    for _ in 0..20 {
        with(feed(&app), &token).await.expect(StatusCode::OK);
    }
    assert!((pieces_of_work(&app) - written).abs() < 0.5);
    app.pass(1);
    with(feed(&app), &token).await.expect(StatusCode::OK);
    noted(&app, began + 600).await;
}

/// How many transactions have been committed.
pub(crate) fn pieces_of_work(app: &TestApp) -> f64 {
    let figures = app.app.metrics.text();
    let sum = figures.lines().find_map(|line| line.strip_prefix("countersign_db_commit_size_sum "));
    sum.unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_flood_of_made_up_tokens_keeps_no_service_out() {
    let app = TestApp::new().await;
    let token = service(&app, &Scope::ALL).await;
    with(feed(&app), &token).await.expect(StatusCode::OK);
    let made_up = || MachineSecret::draw(PREFIX, &Entropy::system()).expose().to_owned();
    let flood: Vec<Answer> = join_all((0..500).map(|_| with(feed(&app), &made_up()).into_future())).await;
    assert!(flood.iter().all(|answer| answer.status == StatusCode::UNAUTHORIZED));
    let answer = with(feed(&app), &made_up()).await.refused(429, "rate_limited");
    assert_eq!(answer.header("retry-after"), "10");
    with(feed(&app), &token).await.expect(StatusCode::OK);
    app.pass(10);
    with(feed(&app), &made_up()).await.refused(401, "service_token_invalid");
}

#[tokio::test]
async fn a_flood_of_made_up_tokens_keeps_out_no_service_that_was_not_seen_before() {
    let app = TestApp::new().await;
    let token = service(&app, &Scope::ALL).await;
    let made_up = || MachineSecret::draw(PREFIX, &Entropy::system()).expose().to_owned();
    join_all((0..500).map(|_| with(feed(&app), &made_up()).into_future())).await;
    with(feed(&app), &token).await.expect(StatusCode::OK);
    with(feed(&app), &made_up()).await.refused(429, "rate_limited");
    // Nor one that is added meanwhile.
    app.pass(1);
    let another = service(&app, &Scope::ALL).await;
    with(feed(&app), &another).await.expect(StatusCode::OK);
    with(feed(&app), &made_up()).await.refused(429, "rate_limited");
    revoke(&app).await;
    with(feed(&app), &another).await.refused(401, "service_token_invalid");
}

#[tokio::test]
async fn without_a_database_nobody_is_taken_for_a_service() {
    let app = TestApp::new().await;
    let token = service(&app, &Scope::ALL).await;
    app.execute("ALTER TABLE service_tokens RENAME TO hidden").await;
    with(feed(&app), &token).await.refused(500, "internal");
    app.execute("ALTER TABLE hidden RENAME TO service_tokens").await;
    with(feed(&app), &token).await.expect(StatusCode::OK);
}
