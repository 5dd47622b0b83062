//! What an operator sees of the edge: its metrics and its access log.

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
