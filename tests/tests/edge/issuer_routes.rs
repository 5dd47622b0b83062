//! Envoy's routes and the filter's rules, held against the issuer's own description of its API: what clients may call
//! is reached through the edge, and nothing else of the issuer.

use serde_json::Value;

use super::{platform, token};

/// Probes ask the issuer itself.
const FOR_PROBES: [&str; 2] = ["/healthz", "/readyz"];

#[tokio::test]
async fn every_public_call_is_routed_and_no_internal_one() {
    let (stack, _folder) = platform().await;
    let client = reqwest::Client::new();
    let document: Value = client
        .get(format!("http://127.0.0.1:{}/v1/openapi.json", stack.ports.issuer))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let bearer = token(&stack, "ada@example.com").await;
    let reason = async |bearer: &str, method: &str, path: &str| {
        let call = client.request(method.parse().unwrap(), stack.edge_url(path)).bearer_auth(bearer);
        let answer = call.send().await.unwrap();
        let body = answer.text().await.unwrap();
        let body: Value = serde_json::from_str(&body).unwrap_or_default();
        body["reason"].as_str().unwrap_or_default().to_owned()
    };
    let unrouted = ["no_rule", "no_route"];
    let mut calls = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let concrete = path.replace("{id}", "01940000-0000-7000-8000-000000000001");
        for method in methods.as_object().unwrap().keys() {
            let reason = reason(&bearer, &method.to_uppercase(), &concrete).await;
            let routed = !unrouted.contains(&reason.as_str());
            assert_eq!(routed, !FOR_PROBES.contains(&path.as_str()), "{method} {path}: {reason:?}");
            calls += 1;
        }
    }
    assert!(calls > 10, "{document}");
    for page in ["/api/auth/openapi.json", "/api/auth/docs/"] {
        assert_eq!(client.get(stack.edge_url(page)).send().await.unwrap().status(), 200, "{page}");
    }
    // Some of these calls end sessions, and the edge knows it soon: what is left is asked by somebody else.
    let bearer = token(&stack, "grace@example.com").await;
    // Below /api/, what is not the issuer's is the backend's.
    for path in ["/api/authors", "/api/auth"] {
        let answer = client.get(stack.edge_url(path)).bearer_auth(&bearer).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
        assert_eq!(reason(&bearer, "GET", path).await, "", "{path}");
    }
    for path in
        ["/metrics", "/v1/internal/", "/v1/internal/revocations", "/v1/internal", "/docs", "/v1/openapi.json"]
    {
        for method in ["GET", "POST"] {
            let reason = reason(&bearer, method, path).await;
            assert!(unrouted.contains(&reason.as_str()), "{method} {path}: {reason:?}");
        }
    }
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn the_edge_itself_keeps_others_from_administrating() {
    let (stack, _folder) = platform().await;
    let bearer = token(&stack, "ada@example.com").await;
    let client = reqwest::Client::new();
    for path in ["/v1/admin/users", "/v1/admin/audit", "/v1/admin/", "/v1/admin/users/1/password"] {
        let answer = client.get(stack.edge_url(path)).bearer_auth(&bearer).send().await.unwrap();
        assert_eq!(answer.status(), 403, "{path}");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["reason"], "permission_denied", "{path}");
        assert_eq!(client.get(stack.edge_url(path)).send().await.unwrap().status(), 401, "{path}");
    }
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn issuer_and_edge_answer_browsers_with_one_voice() {
    let (stack, _folder) = platform().await;
    let call =
        reqwest::Client::new().get(stack.edge_url("/v1/users/me")).header("origin", "http://localhost:3000");
    let bearer = token(&stack, "ada@example.com").await;
    for call in [call.try_clone().unwrap(), call.bearer_auth(&bearer)] {
        let answer = call.send().await.unwrap();
        for name in ["access-control-allow-origin", "access-control-allow-credentials"] {
            let values: Vec<_> = answer.headers().get_all(name).iter().collect();
            assert_eq!(values.len(), 1, "{} {name}: {values:?}", answer.status());
        }
    }
    stack.stop().await.unwrap();
}
