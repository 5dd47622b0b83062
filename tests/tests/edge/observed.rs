//! What an operator sees of the edge: its metrics and its access log, and what must never stand there.

use serde_json::Value;

use super::{platform, raw};

#[tokio::test]
async fn a_refusal_shows_in_prometheus_and_in_the_access_log() {
    let (stack, _folder) = platform().await;
    let refused = raw::request(stack.ports.edge, b"GET", b"/api/positions?token=a.b.c", &[]).await;
    assert_eq!(refused.status, 401, "{}", refused.text);

    let sample = r#"countersign_requests{outcome="denied",reason="missing_token"} 1"#;
    let line = r#""refused":"missing_token""#;
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let url = stack.admin_url("/stats/prometheus?filter=countersign_requests");
        let metrics = reqwest::get(url).await.unwrap().text().await.unwrap();
        let logs = stack.logs().unwrap();
        let (_, log) = logs.iter().find(|(path, _)| path.ends_with("envoy.log")).unwrap();
        if metrics.contains(sample) && log.contains(line) {
            let entry: Value = serde_json::from_str(log.lines().find(|l| l.contains(line)).unwrap()).unwrap();
            assert_eq!(entry["path"], "/api/positions");
            assert_eq!(entry["rule"], "backend");
            break;
        }
        // Envoy tells its metrics and writes its log a moment later.
        assert!(tokio::time::Instant::now() < deadline, "{metrics}\n{log}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    stack.stop().await.unwrap();
}

/// Some requests Envoy refuses by itself, before the filter could take anything away.
#[tokio::test]
async fn what_a_client_sends_in_the_wrong_place_is_not_logged() {
    let (stack, _folder) = platform().await;
    let token = super::token(&stack, "ada@example.com").await;
    let signature = token.rsplit('.').next().unwrap();
    let request_id = format!("x-request-id: {token}");
    let spoofed: &[&[u8]] = &[b"x-user-id: mallory", request_id.as_bytes()];
    for target in ["/ws/quotes#token=", "/ws/quotes%3Ftoken=", "/ws/quotes;token=", "/ws/quotes?token="] {
        let target = format!("{target}{token}");
        let answer = raw::request(stack.ports.edge, b"GET", target.as_bytes(), spoofed).await;
        assert!((400..500).contains(&answer.status), "{target}: {}", answer.text);
    }
    let upgrade: &[&[u8]] = &[spoofed[0], spoofed[1], b"connection: upgrade", b"upgrade: websocket, h2c"];
    let answer = raw::request(stack.ports.edge, b"GET", b"/api/x", upgrade).await;
    assert!((400..500).contains(&answer.status), "{}", answer.text);

    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    let log = loop {
        let logs = stack.logs().unwrap();
        let (_, log) = logs.into_iter().find(|(path, _)| path.ends_with("envoy.log")).unwrap();
        if log.lines().filter(|line| line.contains("\"status\":4")).count() >= 5 {
            break log;
        }
        assert!(tokio::time::Instant::now() < deadline, "{log}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert!(!log.contains(signature) && !log.contains("mallory"), "{log}");
    stack.stop().await.unwrap();
}
