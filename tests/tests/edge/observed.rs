//! What an operator sees of the edge: its metrics and its access log, and what must never stand there.

use countersign_stack::stack::Stack;
use serde_json::Value;

use super::alone::PATIENCE;
use super::{platform, raw};

#[tokio::test]
async fn a_refusal_shows_in_prometheus_and_in_the_access_log() {
    let (stack, _folder) = platform().await;
    let refused = raw::request(stack.ports.edge, b"GET", b"/api/positions?token=a.b.c", &[]).await;
    assert_eq!(refused.status, 401, "{}", refused.text);

    let sample = r#"countersign_requests{outcome="denied",reason="missing_credential"} 1"#;
    let line = r#""refused":"missing_credential""#;
    let deadline = tokio::time::Instant::now() + PATIENCE;
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

/// The entry in Envoy's log that has this in it. It is written a moment later.
async fn logged(stack: &Stack, needle: &str) -> Value {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let log = envoy_log(stack);
        if let Some(line) = log.lines().find(|line| line.starts_with('{') && line.contains(needle)) {
            return serde_json::from_str(line).unwrap();
        }
        assert!(tokio::time::Instant::now() < deadline, "no {needle} in {log}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

fn envoy_log(stack: &Stack) -> String {
    let logs = stack.logs().unwrap();
    logs.into_iter().find(|(path, _)| path.ends_with("envoy.log")).unwrap().1
}

#[tokio::test]
async fn every_request_is_logged_with_its_rule_and_a_refusal_with_its_reason_in_the_details() {
    let (stack, _folder) = platform().await;
    let bearer = format!("authorization: Bearer {}", super::token(&stack, "ada@example.com").await);
    for (path, status, rule, details) in [
        ("/api/positions", 200, "backend", "via_upstream"),
        ("/api/health", 200, "backend-health", "via_upstream"),
        ("/v1/users/me", 200, "users", "via_upstream"),
    ] {
        raw::request(stack.ports.edge, b"GET", path.as_bytes(), &[bearer.as_bytes()]).await;
        let entry = logged(&stack, &format!("{path:?}")).await;
        assert_eq!(entry["status"], status, "{entry}");
        assert_eq!((&entry["rule"], &entry["details"]), (&rule.into(), &details.into()), "{entry}");
        assert!(entry["refused"].is_null(), "{entry}");
    }
    raw::request(stack.ports.edge, b"GET", b"/alerts/refused", &[]).await;
    let entry = logged(&stack, "/alerts/refused").await;
    assert_eq!(entry["details"], "countersign_denied{missing_credential}", "{entry}");
    assert_eq!(
        (&entry["rule"], &entry["refused"]),
        (&"alerts-read".into(), &"missing_credential".into()),
        "{entry}"
    );
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn a_token_that_came_as_the_method_is_not_logged() {
    let (stack, _folder) = platform().await;
    let token = super::token(&stack, "ada@example.com").await;
    for (path, size) in [("/as-method", token.len()), ("/short-method", 16)] {
        let method = &token[..size];
        let headers = [(":method", method), (":scheme", "http"), (":authority", "edge"), (":path", path)];
        assert!(raw::http2(stack.ports.edge, &headers).await.contains("bad_request"));
    }
    assert_eq!(logged(&stack, "/as-method").await["method"], "INVALID");
    // What Envoy answers by itself, ahead of the filter: a preflight.
    let preflight: &[&[u8]] = &[b"origin: http://localhost:3000", b"access-control-request-method: GET"];
    let path = format!("/api/{}", &token[..60]);
    raw::request(stack.ports.edge, b"OPTIONS", path.as_bytes(), preflight).await;
    let entry = logged(&stack, "\"status\":200").await;
    assert!(entry.get("path").is_none() && entry.get("method").is_none(), "{entry}");
    // What was refused is told without what the client sent, and why.
    let log = envoy_log(&stack);
    let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let refused = entries.filter(|entry| entry["status"] == 400 && entry.get("method").is_none());
    let details: Vec<_> = refused.map(|entry| entry["details"].clone()).collect();
    assert_eq!(details, ["countersign_denied{bad_request}"], "{log}");
    assert!(!envoy_log(&stack).contains("eyJ"), "{}", envoy_log(&stack));
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn a_request_that_cannot_be_read_is_logged_too() {
    let (stack, _folder) = platform().await;
    let answer = raw::send(stack.ports.edge, b"GET / HTTP/1.1\r\nno header\r\n\r\n").await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    let entry = logged(&stack, "\"status\":400").await;
    assert!(entry["path"].is_null() && entry["refused"].is_null(), "{entry}");
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn the_log_tells_a_cluster_without_hosts_from_one_that_is_not_there() {
    let (stack, _folder) = platform().await;
    let plugin = std::fs::read_to_string(stack.state.plugin()).unwrap();
    for (cluster, said) in
        [("nowhere", "the cluster has no healthy host"), ("no-such-cluster", "there is no such cluster")]
    {
        let cluster = format!(r#""cluster": "{cluster}""#);
        stack.state.install_plugin(&plugin.replace(r#""cluster": "issuer""#, &cluster)).unwrap();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !envoy_log(&stack).contains(&format!("not taken: {said}")) {
            assert!(tokio::time::Instant::now() < deadline, "{}", envoy_log(&stack));
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
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
    // Refused before it gets a request id of Envoy's own.
    let old = format!("GET / HTTP/1.0\r\nhost: edge\r\n{request_id}\r\n\r\n");
    let answer = raw::send(stack.ports.edge, old.as_bytes()).await;
    assert_eq!(answer.status, 426, "{}", answer.text);

    let deadline = tokio::time::Instant::now() + PATIENCE;
    let log = loop {
        let logs = stack.logs().unwrap();
        let (_, log) = logs.into_iter().find(|(path, _)| path.ends_with("envoy.log")).unwrap();
        if log.lines().filter(|line| line.contains("\"status\":4")).count() >= 6 {
            break log;
        }
        assert!(tokio::time::Instant::now() < deadline, "{log}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert!(!log.contains(signature) && !log.contains("eyJ") && !log.contains("mallory"), "{log}");
    stack.stop().await.unwrap();
}
