//! What Envoy's guide for edge proxies asks, in the bootstrap as it runs.

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::alone::PATIENCE;
use super::{platform, raw, token};

#[tokio::test]
async fn a_body_that_is_too_large_is_413_every_time() {
    let (stack, _folder) = platform().await;
    let body = format!(r#"{{"email":"{}"}}"#, "x".repeat(3_000_000));
    let request = format!(
        "POST /v1/auth/login HTTP/1.1\r\nhost: edge\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    for _ in 0..20 {
        let answer = raw::send(stack.ports.edge, request.as_bytes()).await;
        assert_eq!(answer.status, 413, "{}", answer.text);
        assert!(answer.text.contains("content-type: application/problem+json"), "{}", answer.text);
        assert!(answer.text.contains(r#""detail":"#), "{}", answer.text);
    }
    // Less than that is for the issuer to judge.
    let client = reqwest::Client::new();
    let login = client.post(stack.edge_url("/v1/auth/login")).header("content-type", "application/json");
    let answer = login.body(format!(r#"{{"email":"{}"}}"#, "x".repeat(60_000))).send().await.unwrap();
    assert_eq!(answer.status(), 422);
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn an_upstream_that_is_away_is_a_problem_that_says_when_to_come_back() {
    let (mut stack, _folder) = platform().await;
    let bearer = format!("authorization: Bearer {}", token(&stack, "ada@example.com").await);
    stack.stop_service("backend").await.unwrap();
    let answer = raw::request(stack.ports.edge, b"GET", b"/api/positions", &[bearer.as_bytes()]).await;
    assert_eq!(answer.status, 503, "{}", answer.text);
    for line in ["retry-after: 1", "content-type: application/problem+json", "upstream_unavailable"] {
        assert!(answer.text.contains(line), "{line}: {}", answer.text);
    }
    stack.stop().await.unwrap();
}

/// Without keys; the filter knows what it lacks.
#[tokio::test]
async fn a_503_of_the_filter_stays_its_own() {
    let (stack, _folder) = platform().await;
    let bearer = format!("authorization: Bearer {}", token(&stack, "ada@example.com").await);
    let plugin = std::fs::read_to_string(stack.state.plugin()).unwrap();
    stack.state.install_plugin(&plugin.replace(r#""cluster": "issuer""#, r#""cluster": "nowhere""#)).unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let answer = loop {
        let answer = raw::request(stack.ports.edge, b"GET", b"/api/positions", &[bearer.as_bytes()]).await;
        if answer.status != 200 {
            break answer;
        }
        assert!(tokio::time::Instant::now() < deadline, "the new source is not taken");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert_eq!(answer.status, 503, "{}", answer.text);
    assert!(answer.text.contains(r#""reason":"unavailable""#), "{}", answer.text);
    assert_eq!(answer.text.matches("retry-after: 1").count(), 1, "{}", answer.text);
    stack.stop().await.unwrap();
}

/// Envoy takes 1024 connections to an upstream unless it is told otherwise, and lets whoever comes next wait.
#[tokio::test]
async fn a_service_has_more_websockets_than_envoy_grants_by_itself() {
    let (stack, _folder) = platform().await;
    let token = token(&stack, "ada@example.com").await;
    let handshake = format!(
        "GET /ws/quotes HTTP/1.1\r\nhost: edge\r\nauthorization: Bearer {token}\r\nconnection: Upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let mut open = Vec::new();
    for number in 0..1_100 {
        let mut stream = TcpStream::connect(("127.0.0.1", stack.ports.edge)).await.unwrap();
        stream.write_all(handshake.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        let answered = timeout(PATIENCE, stream.read_exact(&mut status)).await;
        answered.unwrap_or_else(|_| panic!("the {number}th gets no answer")).unwrap();
        assert_eq!(&status, b"HTTP/1.1 101", "{number}");
        open.push(stream);
    }
    drop(open);
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn head_goes_where_get_goes() {
    let (stack, _folder) = platform().await;
    let token = token(&stack, "ada@example.com").await;
    let head =
        reqwest::Client::new().head(stack.edge_url("/alerts")).bearer_auth(token).send().await.unwrap();
    assert_eq!(head.status(), 200);
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn memory_time_and_trust_are_bounded() {
    let (stack, _folder) = platform().await;
    let get = async |path: &str| reqwest::get(stack.admin_url(path)).await.unwrap().text().await.unwrap();
    let monitors = get("/stats?filter=overload").await;
    for name in ["fixed_heap.pressure", "shrink_heap.active", "stop_accepting_requests.active"] {
        assert!(monitors.contains(name), "{name}: {monitors}");
    }
    let dump: Value = serde_json::from_str(&get("/config_dump").await).unwrap();
    let config = |kind: &str| {
        let configs = dump["configs"].as_array().unwrap();
        configs.iter().find(|config| config["@type"].as_str().unwrap().ends_with(kind)).unwrap()
    };
    let listener = &config("ListenersConfigDump")["static_listeners"][0]["listener"];
    let manager = &listener["filter_chains"][0]["filters"][0]["typed_config"];
    assert_eq!(manager["request_timeout"], "60s");
    assert!(manager["internal_address_config"].is_object());
    assert_eq!(listener["per_connection_buffer_limit_bytes"], 64 << 10);
    let routes = manager["route_config"]["virtual_hosts"][0]["routes"].as_array().unwrap();
    let sockets: Vec<_> =
        routes.iter().filter(|route| route["route"].get("upgrade_configs").is_some()).collect();
    assert_eq!(sockets.len(), 2);
    for route in sockets {
        assert_eq!(route["route"]["max_stream_duration"]["max_stream_duration"], "43200s", "{route}");
    }
    // Whatever takes a body at the issuer takes it whole, or says 413.
    let only_read = ["/.well-known/jwks.json", "/.well-known/oauth-authorization-server", "/health"];
    for route in routes.iter().filter(|route| route["route"]["cluster"] == "issuer") {
        let buffer = &route["typed_per_filter_config"]["envoy.filters.http.buffer"]["buffer"];
        let read = route["match"]["path"].as_str().is_some_and(|path| only_read.contains(&path));
        assert!(read || buffer["max_request_bytes"] == 65536, "{route}");
    }
    let overload = &config("BootstrapConfigDump")["bootstrap"]["overload_manager"];
    let most = |resource: &str| {
        let monitors = overload["resource_monitors"].as_array().unwrap();
        let most = monitors.iter().find_map(|monitor| monitor["typed_config"].get(resource)).unwrap();
        most.as_str().unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(most("max_heap_size_bytes"), 1 << 30);
    // It gives back what it can before it refuses anybody.
    let threshold = |action: &str| {
        let actions = overload["actions"].as_array().unwrap();
        let name = format!("envoy.overload_actions.{action}");
        let action = actions.iter().find(|action| action["name"] == name).unwrap();
        action["triggers"][0]["threshold"]["value"].as_f64().unwrap()
    };
    let [shrinks, refuses] = ["shrink_heap", "stop_accepting_requests"].map(threshold);
    assert!(shrinks < refuses && refuses < 1.0, "{overload}");
    let connections = most("max_active_downstream_connections");
    for cluster in config("ClustersConfigDump")["static_clusters"].as_array().unwrap() {
        let cluster = &cluster["cluster"];
        // What the filter itself asks may be answered with a whole page of revocations.
        let most = if cluster["name"] == "issuer-internal" { 1 << 20 } else { 64 << 10 };
        assert_eq!(cluster["per_connection_buffer_limit_bytes"], most, "{cluster}");
        if ["backend", "ticker"].contains(&cluster["name"].as_str().unwrap()) {
            let threshold = &cluster["circuit_breakers"]["thresholds"][0];
            for resource in ["max_connections", "max_requests"] {
                assert_eq!(threshold[resource], connections, "{cluster}");
            }
        }
    }
    stack.stop().await.unwrap();
}
