//! The OpenAPI document: it has every route, and no answer is of a kind that it does not tell of.

use std::collections::BTreeSet;

use countersign_issuer::config::Served;
use countersign_issuer::router;
use countersign_issuer::services::Scope;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use utoipa::openapi::OpenApi;

use crate::letters::MAIL;
use crate::services::{EXCHANGE, FEED, service};
use crate::stage::{Answer, COMPAT, Call, PASSWORD, TestApp};
use crate::trading_accounts::{ACCOUNTS, ENCRYPTION, INTERNAL, alpaca, kite, linked};

/// Every call of a document: method and path.
pub(crate) fn calls(document: &OpenApi) -> BTreeSet<(Method, String)> {
    let document = serde_json::to_value(document).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, methods): (&String, &Value)| {
        let methods = methods.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let path = path.clone();
        methods.into_iter().map(move |name| {
            let method = name.to_uppercase().parse::<Method>().unwrap();
            (method, path.clone())
        })
    };
    paths.iter().flat_map(of).collect()
}

#[tokio::test]
async fn every_route_is_in_the_document_and_the_document_has_no_other() {
    let app = TestApp::with(COMPAT, |_| ()).await;
    let document = app.get("/v1/openapi.json").await.expect(StatusCode::OK).json();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document, serde_json::to_value(router::openapi(Served::ALL)).unwrap());
    let documented = calls(&router::openapi(Served::ALL));
    // axum shows its paths nowhere else; were that to change, the sets would differ.
    let shown = format!("{:?}", router::public(app.app.clone()));
    let paths: BTreeSet<&str> = shown.split('"').filter(|text| text.starts_with('/')).collect();
    let pages = ["/v1/openapi.json", "/docs", "/docs/", "/docs/{*rest}"];
    let pages = [
        &pages[..],
        &["/api/auth/openapi.json", "/api/auth/docs", "/api/auth/docs/", "/api/auth/docs/{*rest}"],
    ]
    .concat();
    let mut routed = BTreeSet::new();
    for path in paths.into_iter().filter(|path| !pages.contains(path) && !path.contains("__private")) {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let status = app.call(method.clone(), &path.replace("{id}", "0")).await.status;
            let here = documented.contains(&(method.clone(), path.to_owned()));
            if here || ![StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED].contains(&status) {
                routed.insert((method, path.to_owned()));
            }
        }
    }
    assert_eq!(routed, documented);
}

#[tokio::test]
async fn every_internal_route_is_in_a_document_of_its_own() {
    let app = TestApp::new().await;
    let document =
        app.internally(Method::GET, "/v1/internal/openapi.json").await.expect(StatusCode::OK).json();
    assert_eq!(document, serde_json::to_value(router::internal_openapi()).unwrap());
    app.get("/v1/internal/openapi.json").await.refused(404, "not_found");
    let documented = calls(&router::internal_openapi());
    let internal = |(_, path): &(Method, String)| path.starts_with("/v1/internal") || path == "/metrics";
    assert!(!calls(&router::openapi(Served::ALL)).iter().any(internal));
    let shown = format!("{:?}", router::internal(app.app.clone()));
    let paths: BTreeSet<&str> = shown.split('"').filter(|text| text.starts_with('/')).collect();
    let pages = ["/v1/internal/openapi.json", "/docs", "/docs/", "/docs/{*rest}"];
    let mut routed = BTreeSet::new();
    for path in paths.into_iter().filter(|path| !pages.contains(path) && !path.contains("__private")) {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let status = app.internally(method.clone(), &path.replace("{id}", "0")).await.status;
            if ![StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED].contains(&status) {
                routed.insert((method, path.to_owned()));
            }
        }
    }
    assert_eq!(routed, documented);
    // Whatever is asked there needs a service token, but for what operators' tools read.
    for (method, path) in documented.iter().filter(|(_, path)| path.starts_with("/v1/internal/")) {
        let call = app.internally(method.clone(), &path.replace("{id}", "0"));
        call.await.refused(401, "service_token_missing");
    }
}

#[tokio::test]
async fn internal_answers_fit_their_schemas() {
    let app = TestApp::with(ENCRYPTION, |_| ()).await;
    let document = serde_json::to_value(router::internal_openapi()).unwrap();
    let token = service(&app, &Scope::ALL).await;
    let ada = app.registered("ada@example.com").await;
    let key = app.post("/v1/api-keys", json!({"name": "x"})).by(&ada).await.json()["api_key"].clone();
    let account = linked(&app, &ada, kite()).await;
    let (list, whose) = (INTERNAL, format!("{INTERNAL}?user_id={}", ada.id));
    fits(
        &document,
        "get",
        list,
        &app.internally(Method::GET, &whose).header("x-service-token", &token).await,
    );
    let read = app.internally(Method::POST, &format!("{INTERNAL}/{account}/credentials"));
    let read = read.header("x-service-token", &token).await;
    fits(&document, "post", &format!("{INTERNAL}/{{id}}/credentials"), &read);
    let check = "/v1/internal/authz/check";
    let one = json!({"user_id": ada.id, "permission": "alerts:read"});
    for question in [one.clone(), json!({"checks": [one.clone(), one]})] {
        let answer =
            app.internally(Method::POST, check).header("x-service-token", &token).json(question).await;
        fits(&document, "post", check, &answer.expect(StatusCode::OK));
    }
    app.post("/v1/auth/logout", json!({})).by(&ada).await.expect(StatusCode::NO_CONTENT);
    for (method, path, body) in [("get", FEED, json!(null)), ("post", EXCHANGE, json!({"api_key": key}))] {
        let call = app.internally(method.to_uppercase().parse().unwrap(), path);
        let answer = call.header("x-service-token", &token).json(body).await;
        fits(&document, method, path, &answer);
    }
}

/// Fails if the document has another schema for this answer.
fn fits(document: &Value, method: &str, path: &str, answer: &Answer) {
    let mut whole = schema(document, method, path, answer).clone();
    whole["components"] = document["components"].clone();
    let validator = jsonschema::validator_for(&whole).unwrap_or_else(|error| panic!("{path}: {error}"));
    let body = answer.json();
    let errors: Vec<String> = validator.iter_errors(&body).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{method} {path}: {errors:?}");
}

/// The schema that the document has for this answer, references resolved one step.
fn schema<'d>(document: &'d Value, method: &str, path: &str, answer: &Answer) -> &'d Value {
    let responses = &document["paths"][path][method]["responses"];
    let described = &responses[answer.status.as_str()];
    assert!(described.is_object(), "{method} {path} does not tell of {}", answer.status);
    &described["content"]["application/json"]["schema"]
}

#[tokio::test]
async fn answers_fit_their_schemas() {
    let app = TestApp::with(&format!("{COMPAT}{MAIL}{ENCRYPTION}"), |_| ()).await;
    let document = app.get("/v1/openapi.json").await.json();
    let ada = app.registered("ada@example.com").await;
    let login = json!({"email": "ada@example.com", "password": PASSWORD});
    let refresh = json!({"refresh_token": ada.refresh_token});
    let root = app.admin("root@example.com").await;
    let account = format!("/v1/admin/users/{}", ada.id);
    let at_kite = format!("{ACCOUNTS}/{}", linked(&app, &ada, kite()).await);
    let password = [("username", "ada@example.com"), ("password", PASSWORD)];
    let bob = json!({"email": "bob@example.com", "password": PASSWORD});
    let asked: Vec<(&str, &str, Call)> = vec![
        ("post", "/v1/auth/login", app.post("/v1/auth/login", login.clone())),
        ("post", "/v1/auth/refresh", app.post("/v1/auth/refresh", refresh)),
        ("post", "/auth/login", app.post("/auth/login", login.clone())),
        ("post", "/api/auth/login", app.post("/api/auth/login", login.clone())),
        ("post", "/api/auth/register", app.post("/api/auth/register", bob)),
        (
            "post",
            "/api/auth/password/reset/request",
            app.post("/api/auth/password/reset/request", json!({"email": "ada@example.com"})),
        ),
        ("post", "/api/auth/logout", app.call(Method::POST, "/api/auth/logout")),
        ("post", "/token", app.call(Method::POST, "/token").form(&password)),
        (
            "post",
            "/v1/auth/introspect",
            app.call(Method::POST, "/v1/auth/introspect").by(&ada).form(&[("token", &ada.access_token)]),
        ),
        ("get", "/api/auth/me", app.get("/api/auth/me").by(&ada)),
        ("get", "/api/auth/verify", app.get("/api/auth/verify").by(&ada)),
        ("get", "/api/auth/sessions", app.get("/api/auth/sessions").by(&ada)),
        ("get", "/api/auth/test/protected", app.get("/api/auth/test/protected").by(&ada)),
        ("get", "/health", app.get("/health")),
        ("get", "/v1/auth/sessions", app.get("/v1/auth/sessions").by(&ada)),
        ("get", "/v1/users/me", app.get("/v1/users/me").by(&ada)),
        ("patch", "/v1/users/me", app.call(Method::PATCH, "/v1/users/me").json(json!({})).by(&ada)),
        ("post", "/v1/authz/check", app.post("/v1/authz/check", json!({"permission": "x"})).by(&ada)),
        (
            "post",
            "/v1/api-keys",
            app.post("/v1/api-keys", json!({"name": "x", "scopes": ["quotes:read"]})).by(&ada),
        ),
        ("get", "/v1/api-keys", app.get("/v1/api-keys").by(&ada)),
        ("get", "/v1/audit", app.get("/v1/audit?limit=1").by(&ada)),
        ("post", ACCOUNTS, app.post(ACCOUNTS, alpaca()).by(&ada)),
        ("get", ACCOUNTS, app.get(ACCOUNTS).by(&ada)),
        (
            "post",
            "/v1/trading-accounts/{id}/verify",
            app.post(&format!("{at_kite}/verify"), json!({})).by(&ada),
        ),
        ("post", "/v1/trading-accounts/{id}/rotate", app.post(&format!("{at_kite}/rotate"), kite()).by(&ada)),
        ("get", "/v1/admin/audit", app.get("/v1/admin/audit").by(&root)),
        ("get", "/v1/admin/users", app.get("/v1/admin/users?limit=1").by(&root)),
        ("get", "/v1/admin/users/{id}", app.get(&account).by(&root)),
        ("patch", "/v1/admin/users/{id}", app.call(Method::PATCH, &account).json(json!({})).by(&root)),
        ("get", "/.well-known/jwks.json", app.get("/.well-known/jwks.json")),
        ("get", "/healthz", app.get("/healthz")),
        ("get", "/readyz", app.get("/readyz")),
        (
            "get",
            "/.well-known/oauth-authorization-server",
            app.get("/.well-known/oauth-authorization-server"),
        ),
    ];
    for (method, path, call) in asked {
        fits(&document, method, path, &call.await);
    }
}

/// What a body is refused with ahead of everything that a route could say about it.
#[tokio::test]
async fn every_call_tells_how_it_refuses_a_body_and_who_brings_no_token() {
    let app = TestApp::with(COMPAT, |_| ()).await;
    let document = app.get("/v1/openapi.json").await.json();
    let root = app.admin("root@example.com").await;
    for (method, path) in calls(&router::openapi(Served::ALL)) {
        let described = &document["paths"][&path][method.as_str().to_lowercase()];
        let here = path.replace("{id}", &root.id);
        let mut answers: Vec<(u16, Call)> = Vec::new();
        if let Some(kinds) = described["requestBody"]["content"].as_object() {
            let kind = kinds.keys().next().unwrap();
            let call = || app.call(method.clone(), &here).by(&root);
            answers.push((415, call().header("content-type", "image/png").body("x")));
            answers.push((413, call().header("content-type", kind).body(vec![b'x'; 64 * 1024 + 1])));
            if kind == "application/json" {
                answers.push((400, call().header("content-type", kind).body("{")));
                answers.push((422, call().header("content-type", kind).body("[]")));
            }
        }
        if described["security"].is_array() {
            answers.push((401, app.call(method.clone(), &here)));
        }
        for (status, call) in answers {
            let answer = call.await;
            assert_eq!(answer.status, status, "{method} {path}");
            let content = &described["responses"][answer.status.as_str()]["content"];
            assert!(
                content[answer.header("content-type")].is_object(),
                "{method} {path} {status}: {content}"
            );
        }
    }
}

#[tokio::test]
async fn the_pages_need_nothing_from_elsewhere() {
    let app = TestApp::new().await;
    let page = app.get("/docs/").await.expect(StatusCode::OK);
    let html = String::from_utf8_lossy(&page.body).into_owned();
    assert!(html.contains("swagger"), "{html}");
    assert!(!html.contains("https://") && !html.contains("http://"), "{html}");
}

#[test]
fn every_operation_has_a_name_of_its_own() {
    for document in [router::openapi(Served::ALL), router::internal_openapi()] {
        let document = serde_json::to_value(document).unwrap();
        let mut seen = BTreeSet::new();
        for methods in document["paths"].as_object().unwrap().values() {
            for call in methods.as_object().unwrap().values() {
                let name = call["operationId"].as_str().unwrap();
                assert!(seen.insert(name.to_owned()), "{name}");
            }
        }
    }
}

#[tokio::test]
async fn a_group_that_is_off_is_not_in_the_document() {
    let app = TestApp::new().await;
    let document = app.get("/v1/openapi.json").await.json();
    let paths = document["paths"].as_object().unwrap();
    assert!(
        paths
            .keys()
            .all(|path| path.starts_with("/v1/") || path.starts_with("/.well-known/") || path.ends_with('z'))
    );
    let app = TestApp::with(COMPAT, |_| ()).await;
    let own = app.get("/api/auth/openapi.json").await.expect(StatusCode::OK).json();
    assert_eq!(own["openapi"], "3.1.0");
    assert!(own["paths"].as_object().unwrap().keys().all(|path| path.starts_with("/api/auth/")));
    assert_eq!(own["paths"]["/api/auth/me"]["get"]["tags"], json!(["compatible"]));
}
