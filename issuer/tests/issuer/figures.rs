//! What operators see: `/metrics`, on the listener that only our own machines reach.

use http::{Method, StatusCode};
use serde_json::json;

use crate::stage::{PASSWORD, TestApp};

pub(crate) async fn metrics(app: &TestApp) -> String {
    let answer = app.internally(Method::GET, "/metrics").await.expect(StatusCode::OK);
    assert!(answer.header("content-type").starts_with("application/openmetrics-text"));
    String::from_utf8(answer.body.to_vec()).unwrap()
}

#[tokio::test]
async fn everything_that_happens_is_counted() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    app.logged_in("ada@example.com").await;
    let wrong = json!({"email": "ada@example.com", "password": "wrong wrong wrong"});
    app.post("/v1/auth/login", wrong).await.refused(401, "invalid_credentials");
    app.refresh(&ada.refresh_token).await.expect(StatusCode::OK);
    app.refresh("v1.x").await.refused_grant("refresh_invalid");
    app.get("/nowhere/secret-in-the-path").await.refused(404, "not_found");
    let text = metrics(&app).await;
    for line in [
        "countersign_http_requests_total{method=\"POST\",route=\"/v1/auth/login\",status=\"200\"} 1",
        "countersign_http_requests_total{method=\"POST\",route=\"/v1/auth/login\",status=\"401\"} 1",
        "countersign_http_requests_total{method=\"GET\",route=\"none\",status=\"404\"} 1",
        "countersign_http_request_duration_seconds_count{route=\"/v1/auth/login\"} 2",
        "countersign_logins_total{outcome=\"granted\"} 1",
        "countersign_logins_total{outcome=\"wrong\"} 1",
        "countersign_refreshes_total{outcome=\"rotated\"} 1",
        "countersign_refreshes_total{outcome=\"refused\"} 1",
        "countersign_hash_queue 0",
        "countersign_hash_queue_wait_seconds_count ",
        "countersign_audit_sealed 0",
        "countersign_audit_unsealed 0",
        "countersign_db_commit_size_count ",
        "countersign_db_read_connections ",
        "countersign_keys_published 1",
        "countersign_signing_key_age_seconds 86400",
        "countersign_config_reloads_refused_total 0",
        "countersign_task_restarts_total 0",
        "countersign_feed_waiting 0",
        "countersign_feed_looks_total 0",
    ] {
        assert!(text.contains(line), "no {line} in {text}");
    }
    assert!(!text.contains("secret") && !text.contains(PASSWORD) && !text.contains("ada@"), "{text}");
}

#[tokio::test]
async fn clients_do_not_see_the_figures_and_our_machines_no_accounts() {
    let app = TestApp::new().await;
    app.get("/metrics").await.refused(404, "not_found");
    app.internally(Method::GET, "/v1/users/me").await.refused(404, "not_found");
    app.internally(Method::GET, "/healthz").await.expect(StatusCode::OK);
    app.internally(Method::GET, "/readyz").await.expect(StatusCode::OK);
}
