//! Services that call each other through a real edge, with tokens that the issuer gives them; and what is internal, which the
//! edge gives to nobody.

use std::time::Duration;

use countersign_stack::stack::Stack;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::alone::PATIENCE;
use super::stage::BOTH_WORKERS;
use super::{platform, raw, token};

const PUBLIC: &str =
    r#"{"name": "backend-health", "match": {"path": "/api/health", "methods": ["GET"]}, "allow": "anyone"}"#;
const FOR_SERVICES: &str = r#"{"name": "backend-health", "match": {"path": "/api/health"}, "allow": {"service": "engine", "permission": "alerts:write"}},
{"name": "positions", "match": {"path": "/api/positions"}, "allow": {"service": true, "user": true}}"#;

/// Status, and the body if it is JSON.
async fn get(stack: &Stack, path: &str, bearer: &str) -> (u16, Value) {
    let answer = reqwest::Client::new().get(stack.edge_url(path)).bearer_auth(bearer).send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
}

/// Asks until both workers answer so.
async fn until(stack: &Stack, path: &str, bearer: &str, wanted: u16) -> Value {
    let deadline = Instant::now() + PATIENCE;
    let (mut in_a_row, mut last) = (0, Value::Null);
    while in_a_row < BOTH_WORKERS {
        let (status, body) = get(stack, path, bearer).await;
        if status == wanted {
            (in_a_row, last) = (in_a_row + 1, body);
        } else {
            assert!(Instant::now() < deadline, "{path}: {status} {body}");
            in_a_row = 0;
            sleep(Duration::from_millis(20)).await;
        }
    }
    last
}

/// A service's token, got through the edge.
async fn service_token(stack: &Stack, name: &str, secret: &str) -> String {
    let call =
        reqwest::Client::new().post(stack.edge_url("/v1/auth/token")).basic_auth(name, Some(secret.trim()));
    let answer = call.form(&[("grant_type", "client_credentials")]).send().await.unwrap();
    let body: Value = answer.json().await.unwrap();
    body["access_token"].as_str().unwrap_or_else(|| panic!("{body}")).to_owned()
}

#[tokio::test]
async fn a_service_passes_rules_for_services_under_its_own_name_until_its_secret_is_revoked() {
    let (stack, _folder) = platform().await;
    let plugin = std::fs::read_to_string(stack.state.plugin()).unwrap();
    assert!(plugin.contains(PUBLIC), "{plugin}");
    let indented = FOR_SERVICES.replace('\n', "\n                ");
    stack.state.install_plugin(&plugin.replace(PUBLIC, &indented)).unwrap();
    let ada = token(&stack, "ada@example.com").await;
    let secret = |name| stack.operate(&["services", "add", name, "--scope", "alerts:write"]).unwrap();
    let engine = service_token(&stack, "engine", &secret("engine")).await;
    let other = service_token(&stack, "other", &secret("other")).await;
    // A user meets the new rule, too: it is in force then.
    until(&stack, "/api/health", &ada, 403).await;
    let (status, body) = get(&stack, "/api/health", &engine).await;
    assert_eq!(status, 200, "{body}");
    let identity = &body["identity"];
    assert_eq!((&identity["service_name"], &identity["auth_method"]), (&"engine".into(), &"jwt".into()));
    for nobody in ["user_id", "email", "roles", "session_id"] {
        assert!(identity[nobody].is_null(), "{identity}");
    }
    let refused = [
        ("/api/health", &other),
        ("/v1/users/me", &engine),
        ("/alerts", &engine),
        ("/v1/admin/users", &engine),
    ];
    for (path, token) in refused {
        let (status, body) = get(&stack, path, token).await;
        assert_eq!((status, &body["reason"]), (403, &"permission_denied".into()), "{path}");
    }
    // The edge lets both through here; an upstream that knows users only does not take a service for one.
    assert_eq!(get(&stack, "/api/positions", &ada).await.0, 200);
    assert_eq!(get(&stack, "/api/positions", &engine).await, (401, Value::Null));
    stack.operate(&["services", "revoke", "engine"]).unwrap();
    assert_eq!(until(&stack, "/api/health", &engine, 401).await["reason"], "revoked");
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn nothing_internal_is_reached_through_the_edge_in_any_spelling() {
    let (stack, _folder) = platform().await;
    let secret = std::fs::read_to_string(stack.state.service_token()).unwrap();
    let shown = format!("x-service-token: {}", secret.trim());
    // It opens the issuer's own listener, and so would through the edge.
    let path = "/v1/internal/revocations";
    let direct = raw::request(stack.ports.internal, b"GET", path.as_bytes(), &[shown.as_bytes()]).await;
    assert_eq!(direct.status, 200, "{}", direct.text);
    for path in [
        path,
        "/v1/internal/revocations/",
        "/v1/internal",
        "/v1/internal/openapi.json",
        "/v1/internal/authz/check",
        "/v1/INTERNAL/revocations",
        "/V1/internal/revocations",
        "/v1//internal/revocations",
        "//v1/internal/revocations",
        "/v1/./internal/revocations",
        "/v1/auth/../internal/revocations",
        "/v1/auth/..%2finternal/revocations",
        "/v1/auth/%2e%2e/internal/revocations",
        "/v1/auth/..;/internal/revocations",
        "/v1/auth;/../internal/revocations",
        "/v1%2finternal%2frevocations",
        "/v1/%69nternal/revocations",
        "/v1/intern%61l/revocations",
        "/v1/%2569nternal/revocations",
        "/v1\\internal\\revocations",
        "/v1/auth/\\..\\internal/revocations",
        "/v1/internal%00/revocations",
        "/v1/internal/revocations?x",
        "/v1/internal/revocations#x",
        "/api/auth/../../v1/internal/revocations",
        "http://issuer-internal/v1/internal/revocations",
        "http://edge/v1/internal/revocations",
        "/metrics",
    ] {
        for method in [&b"GET"[..], b"POST"] {
            for headers in
                [&[shown.as_bytes()][..], &[shown.as_bytes(), b"x-original-url: /v1/internal/revocations"]]
            {
                let answer = raw::request(stack.ports.edge, method, path.as_bytes(), headers).await;
                assert!([400, 404].contains(&answer.status), "{path}: {}", answer.text);
                assert!(
                    !answer.text.contains("\"epoch\"") && !answer.text.contains("countersign_"),
                    "{path}: {}",
                    answer.text
                );
            }
        }
    }
    stack.stop().await.unwrap();
}
