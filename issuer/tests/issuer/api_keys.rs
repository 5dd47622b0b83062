//! API keys: made by their owners, exchanged by the edge, never worth more than their owner, and over when they are revoked.

use std::time::Duration;

use countersign_issuer::ambient::Entropy;
use countersign_issuer::secrets::MachineSecret;
use countersign_issuer::services::Scope;
use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::services::{EXCHANGE, FEED, pieces_of_work, service};
use crate::stage::{Answer, Call, PASSWORD, Person, TestApp, lifetime, part};

const KEYS: &str = "/v1/api-keys";

const ROLES: &str = "[roles]\nuser = [\"quotes:read\", \"alerts:read\"]\ntrader = [\"orders:write\"]\n";

/// The edge, with its token.
struct Edge<'a> {
    app: &'a TestApp,
    token: String,
}

impl<'a> Edge<'a> {
    async fn of(app: &'a TestApp) -> Self {
        Self { app, token: service(app, &Scope::ALL).await }
    }

    fn call(&self, body: Value) -> Call {
        self.app.internally(Method::POST, EXCHANGE).json(body).header("x-service-token", &self.token)
    }

    async fn exchange(&self, key: &str) -> Answer {
        self.call(json!({"api_key": key})).await
    }

    /// The token that a good key is exchanged for.
    async fn exchanged(&self, key: &str) -> String {
        let answer = self.exchange(key).await.expect(StatusCode::OK);
        assert_eq!(answer.fields(), ["access_token", "expires_in"]);
        let body = answer.json();
        let token = body["access_token"].as_str().unwrap().to_owned();
        assert_eq!(body["expires_in"], lifetime(&token));
        token
    }

    /// What the feed tells from its beginning.
    async fn revoked(&self) -> Vec<String> {
        let call = self.app.internally(Method::GET, FEED).header("x-service-token", &self.token);
        let page = call.await.expect(StatusCode::OK).json();
        let entries = page["entries"].as_array().unwrap().clone();
        entries.iter().map(|entry| entry["session_id"].as_str().unwrap().to_owned()).collect()
    }
}

fn make(app: &TestApp, owner: &Person, body: Value) -> Call {
    app.post(KEYS, body).by(owner)
}

/// A key, and its id.
async fn made(app: &TestApp, owner: &Person, body: Value) -> (String, String) {
    let made = make(app, owner, body).await.expect(StatusCode::CREATED).json();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("api_key"), text("id"))
}

async fn revoke(app: &TestApp, owner: &Person, id: &str) -> Answer {
    app.call(Method::DELETE, &format!("{KEYS}/{id}")).by(owner).await
}

async fn listed(app: &TestApp, owner: &Person) -> Vec<Value> {
    let page = app.get(KEYS).by(owner).await.expect(StatusCode::OK).json();
    page["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_key_is_shown_once_and_exchanged_for_a_token_of_its_owners() {
    let app = TestApp::with(ROLES, |_| ()).await;
    let edge = Edge::of(&app).await;
    let ada = app.registered("ada@example.com").await;
    let answer = make(&app, &ada, json!({"name": " robot "})).await.expect(StatusCode::CREATED);
    let fields = ["api_key", "created_at", "expires_at", "id", "last_used_at", "name", "prefix", "scopes"];
    assert_eq!(answer.fields(), fields);
    assert_eq!(answer.header("cache-control"), "no-store");
    let body = answer.json();
    let key = body["api_key"].as_str().unwrap();
    assert!(key.starts_with("cs_key_") && key.len() == 79, "{key}");
    let token = edge.exchanged(key).await;
    let claims = part(&token, 1);
    assert_eq!((&claims["sub"], &claims["session_id"]), (&json!(ada.id), &body["id"]));
    assert_eq!((&claims["amr"], &claims["roles"]), (&json!(["api_key"]), &json!(["user"])));
    assert_eq!(claims["scope"], "quotes:read alerts:read");
    assert_eq!((claims["email"].as_str(), lifetime(&token)), (Some("ada@example.com"), 300));
    let list = listed(&app, &ada).await;
    assert_eq!((list.len(), &list[0]["name"], &list[0]["id"]), (1, &json!("robot"), &body["id"]));
    let prefix = list[0]["prefix"].as_str().unwrap();
    assert!(key.starts_with(prefix) && prefix.len() == 15, "{prefix}");
    assert!(list[0].get("api_key").is_none());
    let stored = app.value::<String>("SELECT key_hash FROM api_keys").await;
    assert!(!stored.contains(key) && !key.contains(stored.trim_start_matches("sha256:")));
    edge.exchange(&stored).await.refused(401, "api_key_invalid");
}

#[tokio::test]
async fn a_key_is_worth_what_it_and_its_owner_may_do_at_that_moment() {
    let app = TestApp::with(ROLES, |_| ()).await;
    let edge = Edge::of(&app).await;
    let (root, ada) = (app.admin("root@example.com").await, app.registered("ada@example.com").await);
    let set = async |roles: Value| {
        let path = format!("/v1/admin/users/{}", ada.id);
        app.call(Method::PATCH, &path).by(&root).json(json!({"roles": roles})).await.expect(StatusCode::OK);
    };
    set(json!(["user", "trader"])).await;
    let scopes = json!({"name": "robot", "scopes": ["orders:write", "alerts:read"]});
    let (narrow, _) = made(&app, &ada, scopes).await;
    let (whole, _) = made(&app, &ada, json!({"name": "all of it"})).await;
    let claims = async |key: &str| {
        let claims = part(&edge.exchanged(key).await, 1);
        (claims["scope"].clone(), claims["roles"].clone())
    };
    // No roles: a rule that asks for one would give it more than its scopes say.
    assert_eq!(claims(&narrow).await, (json!("alerts:read orders:write"), json!([])));
    assert_eq!(
        claims(&whole).await,
        (json!("quotes:read alerts:read orders:write"), json!(["user", "trader"]))
    );
    set(json!(["user"])).await;
    assert_eq!(claims(&narrow).await, (json!("alerts:read"), json!([])));
    assert_eq!(claims(&whole).await, (json!("quotes:read alerts:read"), json!(["user"])));
}

#[tokio::test]
async fn scopes_are_no_wider_than_the_owners() {
    let app = TestApp::with(ROLES, |_| ()).await;
    let ada = app.registered("ada@example.com").await;
    for scopes in
        [json!(["orders:write"]), json!([]), json!(["*"]), json!(["quotes:*"]), json!(["quotes:read", ""])]
    {
        let refused = make(&app, &ada, json!({"name": "x", "scopes": scopes})).await;
        assert_eq!(refused.invalid_fields(), ["scopes"], "{scopes}");
    }
    let everything = json!({"name": "\u{202e}", "scopes": ["x"], "expires_at": "2026-11-20T12:00:00Z"});
    assert_eq!(make(&app, &ada, everything).await.invalid_fields(), ["expires_at", "name", "scopes"]);
    for body in [json!({}), json!({"name": ""}), json!({"name": "x".repeat(129)}), json!({"name": 7})] {
        assert_eq!(make(&app, &ada, body.clone()).await.invalid_fields(), ["name"], "{body}");
    }
    for scopes in [json!("quotes:read"), json!([7]), json!({"a": 1})] {
        make(&app, &ada, json!({"name": "x", "scopes": scopes})).await.refused(422, "invalid_fields");
    }
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM api_keys").await, 0);
    let (_, id) = made(&app, &ada, json!({"name": "x", "scopes": ["quotes:read", "quotes:read"]})).await;
    assert_eq!(listed(&app, &ada).await[0]["scopes"], json!(["quotes:read"]));
    assert_eq!(revoke(&app, &ada, &id).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_key_makes_no_key_ends_nothing_and_administers_nothing() {
    let app = TestApp::new().await;
    let edge = Edge::of(&app).await;
    let root = app.admin("root@example.com").await;
    let (key, id) = made(&app, &root, json!({"name": "robot"})).await;
    let token = edge.exchanged(&key).await;
    let by = |method: Method, path: &str| app.call(method, path).bearer(&token);
    for (method, path) in [
        (Method::POST, KEYS.to_owned()),
        (Method::GET, KEYS.to_owned()),
        (Method::DELETE, format!("{KEYS}/{id}")),
        (Method::POST, "/v1/auth/logout".to_owned()),
        (Method::GET, "/v1/auth/sessions".to_owned()),
        (Method::DELETE, "/v1/users/me".to_owned()),
        (Method::PATCH, "/v1/users/me".to_owned()),
        (Method::POST, "/v1/auth/password/change".to_owned()),
        (Method::POST, "/v1/auth/mfa/totp/setup".to_owned()),
        (Method::GET, "/v1/audit".to_owned()),
        (Method::GET, "/v1/admin/users".to_owned()),
    ] {
        let body =
            json!({"name": "x", "all_devices": true, "password": PASSWORD, "current_password": PASSWORD});
        by(method.clone(), &path).json(body).await.refused(403, "not_by_api_key");
    }
    by(Method::GET, "/v1/users/me").await.expect(StatusCode::OK);
    let revoked = by(Method::POST, "/v1/auth/revoke").form(&[("token", &token)]).await;
    revoked.refused_oauth(400, "invalid_request", "unsupported_token_type");
    // It is told about its own tokens, and not about those of others, whatever its owner may be told.
    let ada = app.registered("ada@example.com").await;
    for (asked, active) in [(&token, true), (&ada.access_token, false)] {
        let told = by(Method::POST, "/v1/auth/introspect").form(&[("token", asked)]).await;
        assert_eq!(told.expect(StatusCode::OK).json()["active"], active);
    }
    app.get("/v1/users/me").by(&root).await.expect(StatusCode::OK);
    // The key itself is no token, and its token no key.
    app.get("/v1/users/me").bearer(&key).await.expect(StatusCode::UNAUTHORIZED);
    edge.exchange(&token).await.refused(401, "api_key_invalid");
}

#[tokio::test]
async fn a_token_of_a_key_may_here_what_it_was_issued_for() {
    let app = TestApp::with(ROLES, |_| ()).await;
    let edge = Edge::of(&app).await;
    let ada = app.registered("ada@example.com").await;
    let (key, id) = made(&app, &ada, json!({"name": "x", "scopes": ["quotes:read"]})).await;
    let token = edge.exchanged(&key).await;
    let allowed = async |permission: &str| {
        let call = app.post("/v1/authz/check", json!({"permission": permission})).bearer(&token);
        call.await.expect(StatusCode::OK).json()["allowed"].as_bool().unwrap()
    };
    assert!(allowed("quotes:read").await && !allowed("alerts:read").await);
    revoke(&app, &ada, &id).await.expect(StatusCode::NO_CONTENT);
    let call = app.post("/v1/authz/check", json!({"permission": "quotes:read"})).bearer(&token);
    call.await.refused(401, "revoked");
}

#[tokio::test]
async fn a_stolen_access_token_makes_no_key_an_hour_after_its_login() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    app.pass(3601);
    let next = app.refresh(&ada.refresh_token).await.expect(StatusCode::OK).json();
    let token = next["access_token"].as_str().unwrap();
    let make = || app.post(KEYS, json!({"name": "x"}));
    make().bearer(token).await.refused(403, "authentication_too_old");
    make().await.refused(401, "missing_token");
    app.get(KEYS).bearer(token).await.expect(StatusCode::OK);
    make().by(&app.logged_in("ada@example.com").await).await.expect(StatusCode::CREATED);
}

#[tokio::test]
async fn a_revoked_key_is_over_here_and_in_the_feed() {
    let app = TestApp::new().await;
    let edge = Edge::of(&app).await;
    let (ada, bob) = (app.registered("ada@example.com").await, app.registered("bob@example.com").await);
    let (key, id) = made(&app, &ada, json!({"name": "robot"})).await;
    let (kept, _) = made(&app, &ada, json!({"name": "kept"})).await;
    edge.exchanged(&key).await;
    for id in [id.as_str(), "0", "x", &"9".repeat(64)] {
        revoke(&app, &bob, id).await.refused(404, "not_found");
    }
    edge.exchanged(&key).await;
    // Events are in the order of time.
    app.pass(1);
    revoke(&app, &ada, &id.to_uppercase()).await.expect(StatusCode::NO_CONTENT);
    revoke(&app, &ada, &id).await.refused(404, "not_found");
    edge.exchange(&key).await.refused(401, "api_key_invalid");
    edge.exchanged(&kept).await;
    assert_eq!(edge.revoked().await, [id.as_str()]);
    let events = app.get("/v1/audit").by(&ada).await.json();
    let events: Vec<(&str, &str)> = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["session_id"] == id)
        .map(|event| (event["type"].as_str().unwrap(), event["actor"].as_str().unwrap()))
        .collect();
    assert_eq!(events, [("api_key_revoked", &*ada.id), ("api_key_created", &*ada.id)]);
}

#[tokio::test]
async fn keys_end_with_their_owners_account_and_do_not_come_back() {
    let app = TestApp::new().await;
    let edge = Edge::of(&app).await;
    let root = app.admin("root@example.com").await;
    let (ada, bob) = (app.registered("ada@example.com").await, app.registered("bob@example.com").await);
    let (of_ada, first) = made(&app, &ada, json!({"name": "x"})).await;
    let (of_bob, second) = made(&app, &bob, json!({"name": "x"})).await;
    app.deactivate("ada@example.com").await;
    edge.exchange(&of_ada).await.refused(401, "api_key_invalid");
    let path = format!("/v1/admin/users/{}", ada.id);
    app.call(Method::PATCH, &path).by(&root).json(json!({"is_active": true})).await.expect(StatusCode::OK);
    edge.exchange(&of_ada).await.refused(401, "api_key_invalid");
    let delete = app.call(Method::DELETE, "/v1/users/me").by(&bob).json(json!({"password": PASSWORD}));
    delete.await.expect(StatusCode::NO_CONTENT);
    edge.exchange(&of_bob).await.refused(401, "api_key_invalid");
    let told = edge.revoked().await;
    assert!(told.contains(&first) && told.contains(&second), "{told:?}");
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM api_keys").await, 0);
}

#[tokio::test]
async fn a_key_whose_owner_may_not_log_in_is_worth_nothing() {
    let app = TestApp::new().await;
    let edge = Edge::of(&app).await;
    let ada = app.registered("ada@example.com").await;
    let (key, _) = made(&app, &ada, json!({"name": "x"})).await;
    // As if it had been closed at the same moment.
    app.execute("UPDATE users SET is_active = 0").await;
    edge.exchange(&key).await.refused(401, "api_key_owner_inactive");
    app.execute("UPDATE users SET is_active = 1").await;
    edge.exchanged(&key).await;
    let Edge { token, .. } = edge;
    let app = app.restarted(|settings| settings.accounts.verify_email = true).await;
    Edge { app: &app, token }.exchange(&key).await.refused(401, "api_key_owner_inactive");
}

#[tokio::test]
async fn a_key_ends_when_it_was_to_end_and_its_tokens_with_it() {
    let app = TestApp::new().await;
    let edge = Edge::of(&app).await;
    let ada = app.registered("ada@example.com").await;
    let (key, _) = made(&app, &ada, json!({"name": "x", "expires_at": "2026-11-20T13:10:00+01:00"})).await;
    assert_eq!(listed(&app, &ada).await[0]["expires_at"], "2026-11-20T12:10:00Z");
    assert_eq!(lifetime(&edge.exchanged(&key).await), 300);
    app.pass(500);
    assert_eq!(lifetime(&edge.exchanged(&key).await), 100);
    app.pass(100);
    edge.exchange(&key).await.refused(401, "api_key_expired");
    // Its owner sees for a month why a program stopped working.
    for (passed, left) in [(30 * 86_400 - 1, 1), (1, 0)] {
        app.pass(passed);
        countersign_issuer::api_keys::sweep(&app.app.db, app.clock.now()).await.unwrap();
        assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM api_keys").await, left);
    }
    edge.exchange(&key).await.refused(401, "api_key_invalid");
}

#[tokio::test]
async fn what_is_no_key_is_refused_and_mostly_without_asking_the_database() {
    let app = TestApp::new().await;
    let edge = Edge::of(&app).await;
    let ada = app.registered("ada@example.com").await;
    let (key, _) = made(&app, &ada, json!({"name": "x"})).await;
    let changed = key.replace(&key[20..21], if &key[20..21] == "0" { "1" } else { "0" });
    for bad in [
        "",
        "x",
        "cs_key_",
        &key[..78],
        &changed,
        &format!("{key} "),
        &"y".repeat(257),
        "\u{e9}\u{0}",
        "' OR 1=1 --",
    ] {
        edge.exchange(bad).await.refused(401, "api_key_invalid");
    }
    for body in [json!({}), json!({"api_key": ""}), json!({"key": key})] {
        edge.call(body).await.refused(401, "api_key_invalid");
    }
    for body in [json!({"api_key": 7}), json!({"api_key": null}), json!({"api_key": [key]})] {
        edge.call(body).await.refused(422, "invalid_fields");
    }
    edge.call(json!({"api_key": "z".repeat(70_000)})).await.refused(413, "body_too_large");
    // Of another account's table, of another prefix.
    let token = edge.token.clone();
    edge.exchange(&token).await.refused(401, "api_key_invalid");
    edge.exchanged(&key).await;
}

#[tokio::test]
async fn a_flood_of_made_up_keys_keeps_out_no_key_that_works() {
    let app = TestApp::new().await;
    let edge = Edge::of(&app).await;
    let ada = app.registered("ada@example.com").await;
    let (key, _) = made(&app, &ada, json!({"name": "x"})).await;
    edge.exchanged(&key).await;
    let made_up = || MachineSecret::draw("cs_key_", &Entropy::system()).expose().to_owned();
    let keys: Vec<String> = (0..500).map(|_| made_up()).collect();
    let flood = join_all(keys.iter().map(|key| edge.exchange(key))).await;
    assert!(flood.iter().all(|answer| answer.status == StatusCode::UNAUTHORIZED));
    edge.exchange(&made_up()).await.refused(429, "rate_limited");
    edge.exchanged(&key).await;
    app.pass(10);
    edge.exchange(&made_up()).await.refused(401, "api_key_invalid");
}

#[tokio::test]
async fn a_user_has_a_bounded_number_of_keys_in_pages() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    let mut ids = Vec::new();
    for n in 0..50 {
        // Ids are in the order of time.
        app.pass(1);
        ids.push(made(&app, &ada, json!({"name": format!("key {n}")})).await.1);
    }
    make(&app, &ada, json!({"name": "one too many"})).await.refused(409, "too_many_api_keys");
    ids.reverse();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = app.get(&format!("{KEYS}?limit=20&cursor={cursor}")).by(&ada).await.expect(StatusCode::OK);
        let page = page.json();
        let items = page["items"].as_array().unwrap();
        seen.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        next.clone_into(&mut cursor);
    }
    assert_eq!(seen, ids);
    assert_eq!(
        app.get(&format!("{KEYS}?limit=0&cursor=x")).by(&ada).await.invalid_fields(),
        ["cursor", "limit"]
    );
    revoke(&app, &ada, &ids[7]).await.expect(StatusCode::NO_CONTENT);
    make(&app, &ada, json!({"name": "another"})).await.expect(StatusCode::CREATED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_made_while_its_account_is_closed_does_not_outlive_that() {
    let one = TestApp::new().await;
    let two = one.beside().await;
    for n in 0..5 {
        let email = format!("{n}@example.com");
        let ada = one.registered(&email).await;
        let makes = join_all((0..4).map(|_| make(&two, &ada, json!({"name": "x"})).into_future()));
        let (answers, ()) = tokio::join!(makes, one.deactivate(&email));
        for answer in answers {
            assert!([StatusCode::CREATED, StatusCode::UNAUTHORIZED].contains(&answer.status), "{answer:?}");
        }
        assert_eq!(one.value::<i64>("SELECT COUNT(*) FROM api_keys").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_of_one_issuer_is_exchanged_and_revoked_at_another() {
    let one = TestApp::new().await;
    let two = one.beside().await;
    let ada = one.registered("ada@example.com").await;
    let (key, id) = made(&one, &ada, json!({"name": "x"})).await;
    let (here, there) = (Edge::of(&one).await, Edge::of(&two).await);
    here.exchanged(&key).await;
    revoke(&two, &ada, &id).await.expect(StatusCode::NO_CONTENT);
    for edge in [here, there] {
        edge.exchange(&key).await.refused(401, "api_key_invalid");
        assert_eq!(edge.revoked().await, [id.as_str()]);
    }
}

#[tokio::test]
async fn a_key_is_made_with_its_event_or_not_at_all() {
    let app = TestApp::new().await;
    let edge = Edge::of(&app).await;
    let ada = app.registered("ada@example.com").await;
    let (key, id) = made(&app, &ada, json!({"name": "x"})).await;
    app.execute("ALTER TABLE audit_events RENAME TO hidden").await;
    make(&app, &ada, json!({"name": "y"})).await.refused(500, "internal");
    revoke(&app, &ada, &id).await.refused(500, "internal");
    app.execute("ALTER TABLE hidden RENAME TO audit_events").await;
    assert_eq!(listed(&app, &ada).await.len(), 1);
    edge.exchanged(&key).await;
    assert_eq!(edge.revoked().await, Vec::<String>::new());
}

#[tokio::test]
async fn an_exchange_writes_nothing_but_now_and_then_that_the_key_is_in_use() {
    let app = TestApp::new().await;
    let edge = Edge::of(&app).await;
    let ada = app.registered("ada@example.com").await;
    let (key, _) = made(&app, &ada, json!({"name": "x"})).await;
    edge.exchanged(&key).await;
    let noted = async {
        // The key's, and the service token's.
        let missing = "SELECT (SELECT COUNT(*) FROM api_keys WHERE last_used_at IS NULL)
                            + (SELECT COUNT(*) FROM service_tokens WHERE last_used_at IS NULL)";
        while app.value::<i64>(missing).await > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), noted).await.expect("the use was not noted");
    assert_eq!(listed(&app, &ada).await[0]["last_used_at"], "2026-11-20T12:00:00Z");
    let before = pieces_of_work(&app);
    for _ in 0..20 {
        edge.exchanged(&key).await;
    }
    assert!((pieces_of_work(&app) - before).abs() < 0.5);
    let figures = app.app.metrics.text();
    assert!(figures.contains("countersign_api_key_exchanges_total{outcome=\"exchanged\"} 21"), "{figures}");
}
