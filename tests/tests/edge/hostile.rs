//! Bad input through the whole platform: a clear 4xx, never a 5xx, never a trap, and the next request is served.

use countersign_stack::stack::Stack;

use super::{platform, raw, token};

/// That the edge is as it was: it serves, and no VM had to be reloaded.
async fn unharmed(stack: &Stack, bearer: &[u8]) {
    let served = raw::request(stack.ports.edge, b"GET", b"/api/positions", &[bearer]).await;
    assert_eq!(served.status, 200, "{}", served.text);
    let reloads =
        reqwest::get(stack.admin_url("/stats?filter=vm_reload$")).await.unwrap().text().await.unwrap();
    assert!(reloads.trim().ends_with(": 0"), "{reloads}");
}

#[tokio::test]
async fn bad_input_gets_a_4xx_and_harms_nothing() {
    let (stack, _folder) = platform().await;
    let edge = stack.ports.edge;
    let token = token(&stack, "ada@example.com").await;
    let bearer = format!("authorization: Bearer {token}");
    let bearer = bearer.as_bytes();

    for path in [
        "/api/%2fpositions",
        "/api%2Fpositions",
        "/api/../alerts",
        "/api/%2e%2e/alerts",
        "/api/./positions",
        "//api/positions",
        "/api//positions",
        "/api/positions;v=1",
        "/api\\positions",
        "/api/%5cpositions",
        "/api/%zz",
        "/api/%",
        "/api/%00",
    ] {
        let answer = raw::request(edge, b"GET", path.as_bytes(), &[bearer]).await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text);
        assert!(answer.text.contains("ambiguous_path"), "{path}: {}", answer.text);
    }

    let long = format!("authorization: Bearer {}", "x".repeat(60_000));
    let two: &[&[u8]] = &[bearer, bearer];
    let cases: &[(&str, &[&[u8]])] = &[
        ("a 60 KB token", &[long.as_bytes()]),
        ("two Authorization headers", two),
        ("two tokens in one header", &[&[bearer, b", Bearer ", token.as_bytes()].concat()]),
        ("invalid UTF-8 as a token", &[b"authorization: Bearer \xff\xfe.\xfd.\xfc"]),
        ("an empty token", &[b"authorization: Bearer "]),
        ("another scheme", &[b"authorization: Basic YTpi"]),
        ("no credential at all", &[]),
    ];
    for (what, headers) in cases {
        let answer = raw::request(edge, b"GET", b"/api/positions", headers).await;
        assert!((400..500).contains(&answer.status), "{what}: {}", answer.text);
    }

    // Bytes that no header should carry, on a request that is otherwise right: served or refused, never a trap.
    for header in
        [&b"x-note: \xff\xfe"[..], b"\xc3\x28: 1", b"cookie: \x80=\x81", b"user-agent: \xf0\x28\x8c\x28"]
    {
        let answer = raw::request(edge, b"GET", b"/api/positions", &[bearer, header]).await;
        assert!(answer.status == 200 || (400..500).contains(&answer.status), "{}", answer.text);
    }

    for method in ["BREW", "TRACE", "CONNECT", "get", "PROPFIND"] {
        let answer = raw::request(edge, method.as_bytes(), b"/alerts", &[bearer]).await;
        assert!((400..500).contains(&answer.status), "{method}: {}", answer.text);
    }

    // A query token counts on a WebSocket handshake only, whatever the headers claim.
    let by_query = format!("/ws/quotes?token={token}");
    let upgrade: &[&[u8]] = &[b"connection: Upgrade", b"upgrade: websocket"];
    let plain = raw::request(edge, b"GET", by_query.as_bytes(), &[]).await;
    assert!((400..500).contains(&plain.status), "{}", plain.text);
    let posted =
        raw::request(edge, b"POST", by_query.as_bytes(), &[upgrade[0], upgrade[1], b"content-length: 0"])
            .await;
    assert!((400..500).contains(&posted.status), "{}", posted.text);
    let on_rest = format!("/api/positions?token={token}");
    let on_rest = raw::request(edge, b"GET", on_rest.as_bytes(), upgrade).await;
    assert!((400..500).contains(&on_rest.status), "{}", on_rest.text);

    unharmed(&stack, bearer).await;
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn bad_bodies_get_a_4xx_from_the_issuer_through_the_edge() {
    let (stack, _folder) = platform().await;
    let bearer = format!("authorization: Bearer {}", token(&stack, "ada@example.com").await);
    let client = reqwest::Client::new();
    let deep = "[".repeat(20_000);
    let oversized = format!(r#"{{"email":"{}"}}"#, "x".repeat(70_000));
    let json = "application/json";
    let cases: &[(&str, &str, &[u8], u16)] = &[
        ("malformed JSON", json, b"{\"email\":", 400),
        ("invalid UTF-8", json, b"{\"email\":\"\xff\xfe\",\"password\":\"x\"}", 400),
        ("deep JSON", json, deep.as_bytes(), 400),
        ("wrong types", json, br#"{"email":7,"password":[]}"#, 422),
        ("missing fields", json, b"{}", 422),
        ("no object", json, b"[]", 422),
        ("an oversized body", json, oversized.as_bytes(), 413),
        ("another content type", "text/plain", b"email=a", 415),
    ];
    for (what, content_type, body, status) in cases {
        for path in ["/v1/auth/login", "/v1/auth/register"] {
            let answer = client
                .post(stack.edge_url(path))
                .header("content-type", *content_type)
                .body(body.to_vec())
                .send()
                .await
                .unwrap();
            let (got, text) = (answer.status().as_u16(), answer.text().await.unwrap());
            assert_eq!(got, *status, "{what} to {path}: {text}");
            assert!(text.contains("\"detail\""), "{what} to {path}: {text}");
        }
    }
    unharmed(&stack, bearer.as_bytes()).await;
    stack.stop().await.unwrap();
}
