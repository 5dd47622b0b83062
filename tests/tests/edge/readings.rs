//! Requests that could be read in two ways, through real Envoy: each is refused, or reaches the upstream in one.

use super::{platform, raw, token};

#[tokio::test]
async fn a_method_that_is_not_upper_case_is_refused_over_http2_too() {
    let (stack, _folder) = platform().await;
    let bearer = format!("Bearer {}", token(&stack, "ada@example.com").await);
    let send = |method| {
        let headers = [
            (":method", method),
            (":scheme", "http"),
            (":authority", "edge"),
            (":path", "/api/positions"),
            ("authorization", &*bearer),
        ];
        let edge = stack.ports.edge;
        async move { raw::http2(edge, &headers).await }
    };
    let served = send("GET").await;
    assert!(served.contains("positions"), "{served}");
    for method in ["delete", "get", "eyJhbGciOiJFZERTQSJ9"] {
        let refused = send(method).await;
        assert!(refused.contains("bad_request"), "{method}: {refused}");
    }
    // WebSockets by HTTP/2 (RFC 8441) are not offered here, and not taken.
    let connect = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":authority", "edge"),
        (":path", "/ws/quotes"),
        ("authorization", &*bearer),
    ];
    let answer = raw::http2(stack.ports.edge, &connect).await;
    assert!(!answer.contains("welcome"), "{answer}");
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn encoded_letters_two_hosts_and_bodies_of_handshakes_are_refused() {
    let (stack, _folder) = platform().await;
    let edge = stack.ports.edge;
    for path in ["/api/%68ealth", "/api/health%3Bx", "/api/health%3fx", "/api/health%23"] {
        let answer = raw::request(edge, b"GET", path.as_bytes(), &[]).await;
        assert!(answer.status == 400 && answer.text.contains("ambiguous_path"), "{path}: {}", answer.text);
    }
    let two = raw::request(edge, b"GET", b"/api/health", &[b"host: elsewhere"]).await;
    assert_eq!(two.status, 400, "{}", two.text);
    let one = raw::send(edge, b"GET /api/health HTTP/1.1\r\nhost: edge,elsewhere\r\n\r\n").await;
    assert_eq!(one.status, 400, "{}", one.text);

    let bearer = format!("authorization: Bearer {}", token(&stack, "ada@example.com").await);
    let handshake: &[&[u8]] =
        &[bearer.as_bytes(), b"connection: Upgrade", b"upgrade: websocket", b"content-length: 5"];
    let answer = raw::request(edge, b"GET", b"/ws/quotes", handshake).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn only_what_envoy_takes_for_grpc_is_answered_in_grpc() {
    let (stack, _folder) = platform().await;
    let call = |content_type: &str| {
        let header = format!("content-type: {content_type}");
        let edge = stack.ports.edge;
        async move { raw::request(edge, b"POST", b"/api/Call", &[header.as_bytes(), b"content-length: 0"]).await }
    };
    for content_type in ["application/grpc", "application/grpc+proto"] {
        let answer = call(content_type).await;
        assert!(
            answer.status == 200 && answer.text.contains("grpc-status: 16"),
            "{content_type}: {}",
            answer.text
        );
    }
    for content_type in ["application/grpc;charset=utf-8", "application/grpc-web", "application/grpcx"] {
        let answer = call(content_type).await;
        assert!(
            answer.status == 401 && answer.text.contains("missing_credential"),
            "{content_type}: {}",
            answer.text
        );
    }
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn nothing_that_names_another_path_method_or_user_reaches_an_upstream() {
    let (mut stack, _folder) = platform().await;
    let bearer = format!("authorization: Bearer {}", token(&stack, "ada@example.com").await);
    let bootstrap = include_str!("../../../envoy/envoy.yaml");
    let (_, list) = bootstrap.split_once("request_headers_to_remove:\n").unwrap();
    let removed: Vec<_> = list.lines().map_while(|line| line.trim().strip_prefix("- ")).collect();
    for name in
        ["x-original-url", "x-rewrite-url", "x-http-method-override", "x-forwarded-user", "remote-user"]
    {
        assert!(removed.contains(&name), "{name}");
    }
    let readme = include_str!("../../../envoy/README.md");
    let (_, listed) = readme.split_once("Removed from every request").unwrap();
    let (listed, _) = listed.split_once("\n\n").unwrap();
    let listed: Vec<_> = listed.split('`').skip(1).step_by(2).collect();
    assert_eq!(listed, removed, "envoy/README.md lists others");

    stack.stop_service("backend").await.unwrap();
    let upstream = raw::upstream(stack.ports.backend).await;
    let foreign = ["x-user-id", "x-envoy-max-retries", "x-envoy-internal", "x-envoy-upstream-rq-timeout-ms"];
    let headers: Vec<_> = removed.iter().chain(&foreign).map(|name| format!("{name}: 9mallory")).collect();
    let headers: Vec<_> = headers.iter().map(String::as_bytes).chain([bearer.as_bytes()]).collect();
    let answer = raw::request(stack.ports.edge, b"GET", b"/api/positions", &headers).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let seen = upstream.await.unwrap();
    assert!(seen.contains("x-user-id: ") && seen.contains("authorization: Bearer "), "{seen}");
    assert!(!seen.contains("mallory"), "{seen}");
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn a_handshake_cannot_have_an_identity_header_removed_on_its_way() {
    let (mut stack, _folder) = platform().await;
    let bearer = format!("authorization: Bearer {}", token(&stack, "ada@example.com").await);
    stack.stop_service("ticker").await.unwrap();
    let upstream = raw::upstream(stack.ports.ticker).await;
    let handshake: &[&[u8]] = &[
        bearer.as_bytes(),
        b"connection: Upgrade, x-user-id, x-user-roles",
        b"upgrade: websocket",
        b"sec-websocket-version: 13",
        b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    raw::request(stack.ports.edge, b"GET", b"/ws/quotes", handshake).await;
    let seen = upstream.await.unwrap();
    let connection = seen.lines().filter(|line| line.to_ascii_lowercase().starts_with("connection:"));
    assert_eq!(
        connection.map(str::to_ascii_lowercase).collect::<Vec<_>>(),
        ["connection: upgrade"],
        "{seen}"
    );
    assert!(seen.contains("x-user-id: "), "{seen}");
    stack.stop().await.unwrap();
}
