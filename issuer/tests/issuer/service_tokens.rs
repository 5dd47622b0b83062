//! Tokens for services: got with a secret of the service, a service's and never a person's, refused as soon as the secret is.

use base64ct::{Base64, Encoding as _};
use countersign_issuer::ambient::Entropy;
use countersign_issuer::secrets::MachineSecret;
use countersign_issuer::services::{PREFIX, Scope};
use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::services::{FEED, pieces_of_work, revoke_service, service, service_called};
use crate::stage::{Answer, COMPAT, Call, NOON, TestApp, lifetime, part};

const PATH: &str = "/v1/auth/token";
const SCOPES: &str = "[services]\nscopes = [\"quotes:publish\"]\n";

/// `ticker` may publish quotes, write alerts and read credentials.
async fn ticker(app: &TestApp) -> String {
    service_called(app, "ticker", &["quotes:publish", "alerts:write", "credentials:read"]).await
}

fn ask(app: &TestApp, more: &[(&str, &str)]) -> Call {
    app.call(Method::POST, PATH).form(&[&[("grant_type", "client_credentials")], more].concat())
}

fn by_post(app: &TestApp, id: &str, secret: &str) -> Call {
    ask(app, &[("client_id", id), ("client_secret", secret)])
}

fn basic(call: Call, id: &str, secret: &str) -> Call {
    call.header(
        "authorization",
        &format!("Basic {}", Base64::encode_string(format!("{id}:{secret}").as_bytes())),
    )
}

fn token(answer: &Answer) -> String {
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

#[track_caller]
fn refused(answer: Answer, reason: &str) {
    let answer = answer.refused_oauth(401, reason, "invalid_client");
    assert_eq!(answer.header("www-authenticate"), "Basic realm=\"countersign\", charset=\"UTF-8\"");
}

#[tokio::test]
async fn a_service_gets_a_token_of_its_own_by_basic_and_by_form() {
    let app = TestApp::with(SCOPES, |_| ()).await;
    let secret = ticker(&app).await;
    let id = app.value::<String>("SELECT id FROM service_tokens").await;
    for answer in [basic(ask(&app, &[]), "ticker", &secret).await, by_post(&app, "ticker", &secret).await] {
        let answer = answer.expect(StatusCode::OK);
        assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
        assert_eq!(answer.fields(), ["access_token", "expires_in", "scope", "token_type"]);
        let body = answer.json();
        assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("bearer"), &json!(300)));
        assert_eq!(body["scope"], "quotes:publish alerts:write");
        let token = token(&answer);
        assert_eq!(part(&token, 0)["typ"], "at+jwt");
        let claims = part(&token, 1);
        let expected = json!({
            "iss": "user_service", "aud": "trading_platform", "sub": "service:ticker", "client_id": "ticker",
            "credential_id": id, "scope": "quotes:publish alerts:write", "iat": NOON, "exp": NOON + 300,
            "jti": claims["jti"], "roles": [], "amr": [],
        });
        assert_eq!(claims, expected);
    }
    let told = "SELECT COUNT(*) FROM audit_events WHERE type = 'service_token_issued' AND outcome = 'success'
                AND subject = 'service:ticker' AND actor = 'service:ticker' AND session_id IS NOT NULL";
    assert_eq!(app.value::<i64>(told).await, 2);
    assert_eq!(app.value::<i64>("SELECT last_used_at FROM service_tokens").await, NOON);
    assert!(app.app.metrics.text().contains("countersign_service_tokens_total{outcome=\"issued\"} 2"));
}

#[tokio::test]
async fn where_existing_clients_get_tokens_services_get_theirs_too() {
    let app = TestApp::with(&format!("{SCOPES}{COMPAT}"), |_| ()).await;
    let secret = ticker(&app).await;
    let form = [("grant_type", "client_credentials"), ("scope", "quotes:publish")];
    let call = basic(app.call(Method::POST, "/token").form(&form), "ticker", &secret);
    let answer = call.await.expect(StatusCode::OK);
    assert_eq!((&answer.json()["scope"], lifetime(&token(&answer))), (&json!("quotes:publish"), 300));
    refused(app.call(Method::POST, "/token").form(&form).await, "service_token_missing");
}

#[tokio::test]
async fn a_scope_is_asked_for_within_what_the_service_has() {
    let app = TestApp::with(SCOPES, |_| ()).await;
    let secret = ticker(&app).await;
    let scope = |scope: &str| basic(ask(&app, &[("scope", scope)]), "ticker", &secret);
    let answer = scope("alerts:write").await.expect(StatusCode::OK);
    assert_eq!(
        (&answer.json()["scope"], &part(&token(&answer), 1)["scope"]),
        (&json!("alerts:write"), &json!("alerts:write"))
    );
    // What opens an internal call is in no token.
    for more in ["alerts:read", "alerts:write orders:write", "credentials:read", "alerts:*", "*"] {
        scope(more).await.refused_oauth(400, "invalid_request", "invalid_scope");
    }
    let edge = service(&app, &[Scope::RevocationsRead, Scope::ApiKeysExchange]).await;
    by_post(&app, "edge", &edge).await.refused_oauth(400, "invalid_request", "unauthorized_client");
}

#[tokio::test]
async fn a_client_authenticates_once_and_with_its_own_secret() {
    let app = TestApp::with(SCOPES, |_| ()).await;
    let secret = ticker(&app).await;
    let other = service_called(&app, "alerts", &["alerts:write"]).await;
    let made_up = MachineSecret::draw(PREFIX, &Entropy::system());
    for (id, shown) in [
        ("alerts", secret.as_str()),
        ("ticker", &other),
        ("ticker", made_up.expose()),
        ("ticker", &secret[..secret.len() - 1]),
        ("Ticker", &secret),
        ("service:ticker", &secret),
        ("nobody", &secret),
        ("ticker", "x"),
    ] {
        refused(by_post(&app, id, shown).await, "service_token_invalid");
        refused(basic(ask(&app, &[]), id, shown).await, "service_token_invalid");
    }
    for form in [
        &[][..],
        &[("client_id", "ticker")],
        &[("client_secret", &secret)],
        &[("client_id", "ticker"), ("client_secret", "")],
    ] {
        refused(ask(&app, form).await, "service_token_missing");
    }
    for odd in ["Bearer x", "Basic", "Basic !", "Digest x"] {
        refused(ask(&app, &[]).header("authorization", odd).await, "service_token_invalid");
    }
    let twice = [("client_id", "ticker"), ("client_secret", secret.as_str())];
    basic(ask(&app, &twice), "ticker", &secret).await.refused_oauth(
        400,
        "invalid_request",
        "invalid_request",
    );
    let named = basic(ask(&app, &[("client_id", "alerts")]), "ticker", &secret);
    named.await.refused_oauth(400, "invalid_request", "invalid_request");
    basic(ask(&app, &[("client_id", "ticker")]), "ticker", &secret).await.expect(StatusCode::OK);
    // Not in the query, where it would be in logs.
    let query = format!("{PATH}?client_id=ticker&client_secret={secret}");
    refused(
        app.call(Method::POST, &query).form(&[("grant_type", "client_credentials")]).await,
        "service_token_missing",
    );
    // X-Service-Token is for the internal listener, here as everywhere.
    ask(&app, &[]).header("x-service-token", &secret).await.refused(401, "credential_misplaced");
    for page in [("origin", "https://trade.example"), ("sec-fetch-site", "same-origin")] {
        let call = by_post(&app, "ticker", &secret).header(page.0, page.1);
        call.await.refused_oauth(400, "invalid_request", "unauthorized_client");
    }
}

#[tokio::test]
async fn no_other_grant_is_there_for_services() {
    let app = TestApp::new().await;
    for grant in ["password", "refresh_token", "authorization_code", "Client_Credentials"] {
        let call = app.call(Method::POST, PATH).form(&[("grant_type", grant)]);
        call.await.refused_oauth(400, "invalid_request", "unsupported_grant_type");
    }
    app.call(Method::POST, PATH).form(&[]).await.refused_oauth(400, "invalid_request", "invalid_request");
    let json = app.post(PATH, json!({"grant_type": "client_credentials"})).await;
    json.refused_oauth(415, "unsupported_media_type", "invalid_request");
    app.get(PATH).await.refused(405, "method_not_allowed");
}

#[tokio::test]
async fn the_token_of_a_service_stands_for_nobody_and_opens_nothing_internal() {
    let app = TestApp::with(&format!("{SCOPES}{COMPAT}"), |_| ()).await;
    let secret = ticker(&app).await;
    let token = token(&by_post(&app, "ticker", &secret).await.expect(StatusCode::OK));
    for (method, path) in [
        (Method::GET, "/v1/users/me"),
        (Method::GET, "/v1/auth/sessions"),
        (Method::GET, "/v1/api-keys"),
        (Method::POST, "/v1/authz/check"),
        (Method::POST, "/v1/auth/introspect"),
        (Method::GET, "/v1/admin/users"),
        (Method::GET, "/v1/audit"),
        (Method::GET, "/api/auth/me"),
    ] {
        app.call(method, path).bearer(&token).json(json!({})).await.refused(403, "not_by_service");
    }
    app.internally(Method::GET, FEED).bearer(&token).await.refused(401, "credential_misplaced");
    let shown = app.internally(Method::GET, FEED).header("x-service-token", &token);
    shown.await.refused(401, "service_token_invalid");
}

#[tokio::test]
async fn revoking_a_secret_ends_its_tokens_and_no_others() {
    let app = TestApp::with(SCOPES, |_| ()).await;
    let old = ticker(&app).await;
    // Ids are in the order of time.
    app.pass(1);
    let new = ticker(&app).await;
    let root = app.admin("root@example.com").await;
    let [first, second] =
        [token(&by_post(&app, "ticker", &old).await), token(&by_post(&app, "ticker", &new).await)];
    let reader = service(&app, &[Scope::RevocationsRead]).await;
    let entries = async || {
        let read = app.internally(Method::GET, FEED).header("x-service-token", &reader).await;
        read.expect(StatusCode::OK).json()["entries"].clone()
    };
    assert_eq!(entries().await, json!([]));
    let id = part(&first, 1)["credential_id"].as_str().unwrap().to_owned();
    assert_eq!(revoke_service(&app, "ticker", Some(id.clone())).await.len(), 1);
    // The longest lifetime in use, the verifiers' skew, and what may be signed late.
    assert_eq!(entries().await, json!([{"session_id": id, "exp": NOON + 1 + 900 + 30 + 30}]));
    refused(by_post(&app, "ticker", &old).await, "service_token_invalid");
    by_post(&app, "ticker", &new).await.expect(StatusCode::OK);
    let active = async |token: &str| {
        let asked = app.call(Method::POST, "/v1/auth/introspect").form(&[("token", token)]).by(&root);
        asked.await.expect(StatusCode::OK).json()
    };
    assert_eq!(active(&first).await, json!({"active": false}));
    let told = active(&second).await;
    assert_eq!(
        (&told["active"], &told["sub"], &told["client_id"]),
        (&json!(true), &json!("service:ticker"), &json!("ticker"))
    );
    assert_eq!((&told["username"], &told["session_id"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn only_administrators_are_told_about_the_tokens_of_services_and_nobody_ends_one_by_itself() {
    let app = TestApp::with(SCOPES, |_| ()).await;
    let secret = ticker(&app).await;
    let ada = app.registered("ada@example.com").await;
    let token = token(&by_post(&app, "ticker", &secret).await);
    let form = |path: &str| app.call(Method::POST, path).form(&[("token", token.as_str())]);
    assert_eq!(form("/v1/auth/introspect").by(&ada).await.json(), json!({"active": false}));
    form("/v1/auth/revoke").await.refused_oauth(400, "invalid_request", "unsupported_token_type");
    // What is over is no error, as with any token.
    app.pass(331);
    form("/v1/auth/revoke").await.expect(StatusCode::OK);
}

#[tokio::test]
async fn failures_under_a_name_are_counted_and_keep_the_service_itself_not_out() {
    let app = TestApp::with(SCOPES, |_| ()).await;
    let secret = ticker(&app).await;
    let wrong = || {
        by_post(&app, "ticker", MachineSecret::draw(PREFIX, &Entropy::system()).expose()).from("192.0.2.1:1")
    };
    for _ in 0..10 {
        refused(wrong().await, "service_token_invalid");
    }
    let beside = app.beside().await;
    let written = pieces_of_work(&app);
    for app in [&app, &beside] {
        let call = by_post(app, "ticker", MachineSecret::draw(PREFIX, &Entropy::system()).expose())
            .from("192.0.2.2:1");
        let answer = call.await.refused_oauth(429, "rate_limited", "temporarily_unavailable");
        assert_eq!(answer.header("retry-after"), "30");
    }
    assert!((pieces_of_work(&app) - written).abs() < 0.5, "a flood writes nothing");
    by_post(&app, "ticker", &secret).await.expect(StatusCode::OK);
    refused(by_post(&app, "alerts", &secret).await, "service_token_invalid");
    let told =
        "SELECT COUNT(*) FROM audit_events WHERE type = 'service_token_refused' AND outcome = 'failure'
                AND subject = 'service:ticker' AND actor IS NULL";
    assert_eq!(app.value::<i64>(told).await, 10);
    // People log in from there as before.
    app.registered("ada@example.com").await;
    app.logged_in("ada@example.com").await;
    app.pass(30);
    refused(wrong().await, "service_token_invalid");
}

#[tokio::test]
async fn one_network_fails_so_often_under_all_names_together() {
    let app = TestApp::with("[limits]\nfailures_per_address = 5\n", |_| ()).await;
    let wrong =
        |n: i32| by_post(&app, &format!("s{n}"), "another-system-s-secret-0123456789").from("192.0.2.1:1");
    for n in 0..5 {
        refused(wrong(n).await, "service_token_invalid");
    }
    wrong(5).await.refused_oauth(429, "rate_limited", "temporarily_unavailable");
    refused(wrong(6).from("198.51.100.1:1").await, "service_token_invalid");
}

#[tokio::test]
async fn a_flood_of_made_up_secrets_keeps_no_service_out_here_or_on_the_internal_listener() {
    let app = TestApp::with(SCOPES, |_| ()).await;
    // Neither has been seen by this process.
    let (secret, reader) = (ticker(&app).await, service(&app, &[Scope::RevocationsRead]).await);
    let flood = (0..600).map(|n| {
        let made_up = MachineSecret::draw(PREFIX, &Entropy::system());
        by_post(&app, &format!("s{n}"), made_up.expose()).from("192.0.2.1:1").into_future()
    });
    let answers: Vec<Answer> = join_all(flood).await;
    assert!(answers.iter().any(|answer| answer.status == StatusCode::TOO_MANY_REQUESTS));
    by_post(&app, "ticker", &secret).from("192.0.2.1:1").await.expect(StatusCode::OK);
    app.internally(Method::GET, FEED).header("x-service-token", &reader).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn what_is_no_name_of_a_service_is_not_written_down() {
    let app = TestApp::new().await;
    let secret = MachineSecret::draw(PREFIX, &Entropy::system());
    refused(by_post(&app, &secret.expose().to_uppercase(), "x").await, "service_token_invalid");
    let told = "SELECT COUNT(*) FROM audit_events WHERE type = 'service_token_refused' AND subject IS NULL";
    assert_eq!(app.value::<i64>(told).await, 1);
}

#[tokio::test]
async fn a_service_gets_so_many_tokens_in_a_minute() {
    let app =
        TestApp::with("[services]\ntokens_per_minute = 3\nscopes = [\"quotes:publish\"]\n", |_| ()).await;
    let secret = ticker(&app).await;
    for _ in 0..3 {
        by_post(&app, "ticker", &secret).await.expect(StatusCode::OK);
    }
    let answer =
        by_post(&app, "ticker", &secret).await.refused_oauth(429, "rate_limited", "temporarily_unavailable");
    assert_eq!(answer.header("retry-after"), "60");
    app.pass(60);
    by_post(&app, "ticker", &secret).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn keys_outlive_the_tokens_of_services() {
    let longer = format!("{SCOPES}token_lifetime = \"1h\"\n");
    let app = TestApp::with(&longer, |_| ()).await;
    assert_eq!((app.settings.longest_lifetime(), app.settings.overlap()), (3600, 3630));
    let secret = ticker(&app).await;
    assert_eq!(lifetime(&token(&by_post(&app, "ticker", &secret).await)), 3600);
}

#[tokio::test]
async fn without_a_database_no_token_is_issued() {
    let app = TestApp::with(SCOPES, |_| ()).await;
    let secret = ticker(&app).await;
    app.execute("ALTER TABLE audit_events RENAME TO hidden").await;
    by_post(&app, "ticker", &secret).await.refused_oauth(500, "internal", "server_error");
    app.execute("ALTER TABLE hidden RENAME TO audit_events").await;
    by_post(&app, "ticker", &secret).await.expect(StatusCode::OK);
}
