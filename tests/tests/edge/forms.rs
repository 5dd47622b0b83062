//! Requests in forms that HTTP has and few clients use: whatever reaches an upstream reaches it by the rule that was asked, with
//! the identity that was verified.

use super::stage::{Stage, bearer, config, token};
use super::{module, raw};

/// That the upstream saw nothing but requests below `/api/` of Ada's, and public ones of nobody's.
fn only_what_was_admitted(seen: &str) {
    for head in seen.split_terminator("\r\n\r\n") {
        let identities: Vec<_> = head.lines().filter_map(|line| line.strip_prefix("x-user-id: ")).collect();
        let path = head.split(' ').nth(1).unwrap_or_default();
        let expected = if path.starts_with("/public/") { &[][..] } else { &["u-ada"] };
        assert!(path.starts_with("/api/") || path.starts_with("/public/"), "{head}");
        assert_eq!(identities, expected, "{head}");
        assert!(!head.contains("mallory"), "{head}");
    }
}

#[tokio::test]
async fn a_request_in_an_old_or_odd_form_meets_the_rules() {
    let stage = Stage::start(module(), &[config()]).await;
    let token = token("ada", 900);
    let ada = bearer(&token);
    let send = async |line: &str, header: &str| {
        let request = format!("{line}\r\n{header}\r\nx-user-id: mallory\r\n\r\n");
        raw::send(stage.edge.port, request.as_bytes()).await
    };
    // Which are answered as others are.
    for line in [
        "GET /api/x HTTP/1.0\r\nhost: edge",
        "GET http://edge/api/x HTTP/1.1\r\nhost: edge",
        "GET http://elsewhere:80/api/x HTTP/1.1\r\nhost: edge",
        "GET  /api/x HTTP/1.1\r\nhost: edge",
    ] {
        let without = send(line, "x-note: 1").await;
        assert!(without.is_refused(401, "missing_credential"), "{line}: {}", without.text);
        let with = send(line, &ada).await;
        assert!(with.reached() && with.text.contains("GET /api/x HTTP/1.1\r\n"), "{line}: {}", with.text);
        assert_eq!(with.identities(), ["u-ada"], "{line}");
    }
    for (line, status) in [
        ("GET http://edge/api/../public/x HTTP/1.1\r\nhost: edge", 400),
        ("GET http://edge/public/%2e%2e/api/x HTTP/1.1\r\nhost: edge", 400),
        ("GET http://edge//api/x HTTP/1.1\r\nhost: edge", 400),
        ("GET http://edge HTTP/1.1\r\nhost: edge", 404),
        ("GET http://edge?/api/x HTTP/1.1\r\nhost: edge", 404),
        ("GET http:///api/x HTTP/1.1\r\nhost: edge", 400),
        ("GET http://edge@elsewhere/nowhere HTTP/1.1\r\nhost: edge", 404),
        ("OPTIONS * HTTP/1.1\r\nhost: edge", 400),
        ("OPTIONS /api/x HTTP/1.1\r\nhost: edge, elsewhere", 400),
        ("CONNECT edge:80 HTTP/1.1\r\nhost: edge", 400),
        ("CONNECT /api/x HTTP/1.1\r\nhost: edge", 400),
        ("CONNECT http://edge/api/x HTTP/1.1\r\nhost: edge", 400),
    ] {
        let answer = send(line, &ada).await;
        assert!(!answer.reached(), "{line}: {}", answer.text);
        assert!([0, 404, status].contains(&answer.status), "{line}: {}", answer.text);
    }
    // Which Envoy answers, or hangs up on.
    for line in [
        "GET /api/x",
        "GET https://edge/api/x HTTP/1.1\r\nhost: edge",
        "GET /api/x /public/x HTTP/1.1\r\nhost: edge",
        "GET /api/x HTTP/1.1",
        "GET /api/x HTTP/2.0\r\nhost: edge",
        "GET /api/x HTTP/1.2\r\nhost: edge",
        "GET api/x HTTP/1.1\r\nhost: edge",
        "GET file:///api/x HTTP/1.1\r\nhost: edge",
        "GET /api/x HTTP/1.1\r\nhost: edge\r\nhost: elsewhere",
        "GET /api/x HTTP/1.1\r\nhost: edge\r\ncontent-length: 5\r\ntransfer-encoding: chunked",
        "GET /api/x HTTP/1.1\r\nhost: edge\r\ncontent-length: 5\r\ncontent-length: 6",
        "GET /api/x HTTP/1.1\r\nhost: edge\r\ntransfer-encoding: chunked, identity",
    ] {
        let without = send(line, "x-note: 1").await;
        assert!(!without.reached(), "{line}: {}", without.text);
        let with = send(line, &ada).await;
        assert!(!with.reached() || with.identities() == ["u-ada"], "{line}: {}", with.text);
    }
    only_what_was_admitted(&stage.upstream.seen());
    stage.stop().await;
}

#[tokio::test]
async fn odd_pseudo_headers_of_http2_open_nothing() {
    let stage = Stage::start(module(), &[config()]).await;
    let edge = stage.edge.port;
    let ada = format!("Bearer {}", token("ada", 900));
    let (method, scheme) = ((":method", "GET"), (":scheme", "http"));
    let (host, path, open) = ((":authority", "edge"), (":path", "/api/x"), (":path", "/public/x"));
    let sound = [method, scheme, host, path];
    let served = raw::http2(edge, &[&sound[..], &[("authorization", &ada)]].concat()).await;
    assert!(served.contains("x-user-id: u-ada\r\n"), "{served}");
    for odd in [
        &[method, scheme, host][..],
        &[method, scheme, host, (":path", "")],
        &[method, scheme, host, (":path", "*")],
        &[method, scheme, host, (":path", "api/x")],
        &[method, scheme, host, (":path", "http://edge/api/x")],
        &[method, scheme, host, (":path", "/public/x /api/x")],
        &[method, scheme, host, (":path", "/public/x\r\nx-user-id: mallory")],
        &[method, scheme, host, (":path", "/public/../api/x")],
        &[method, scheme, host, (":path", "/api/x#/public/x")],
        &[method, scheme, host, (":path", "/public/x\0")],
        &[method, scheme, host, open, path],
        &[method, scheme, host, path, open],
        &[method, method, scheme, host, path],
        &[(":method", "GET /api/x HTTP/1.1\r\nx-user-id: mallory\r\n\r\n"), scheme, host, open],
        &[(":method", ""), scheme, host, path],
        &[(":method", "CONNECT"), scheme, host, path],
        &[(":method", "CONNECT"), host],
        &[(":method", "CONNECT"), scheme, host, path, (":protocol", "")],
        &[method, scheme, host, path, (":protocol", "websocket")],
        &[method, host, path],
        &[method, scheme, scheme, host, path],
        &[method, (":scheme", "file"), host, path],
        &[method, (":scheme", "http://edge/public/x?"), host, path],
        &[method, scheme, host, ("host", "elsewhere"), path],
        &[method, scheme, host, (":authority", "elsewhere"), path],
        &[method, scheme, (":authority", "edge,elsewhere"), path],
        &[method, scheme, (":authority", "ada@edge"), path],
        &[method, scheme, (":authority", "edge\r\nx-user-id: mallory"), path],
        &[method, scheme, path],
        &[method, scheme, host, path, (":status", "200")],
        &[method, scheme, host, path, (":user", "mallory")],
        &[method, scheme, host, ("x-note", "1"), path],
        &[method, scheme, host, path, ("upgrade", "websocket"), ("connection", "upgrade")],
        &[method, scheme, host, path, ("transfer-encoding", "chunked")],
        &[method, scheme, host, path, ("content-length", "5")],
        &[method, scheme, host, path, ("te", "gzip")],
        &[method, scheme, host, path, ("x-note", "1\r\nx-user-id: mallory")],
        &[method, scheme, host, path, ("x-note", "1\0")],
        &[method, scheme, host, path, ("x-user-id:", "mallory")],
    ] {
        let without = raw::http2(edge, odd).await;
        assert!(!without.contains("/api/x HTTP/1.1\r\n"), "{odd:?}: {without}");
        // With a token it may be served or not, but only to whom it belongs.
        raw::http2(edge, &[odd, &[("authorization", &ada)]].concat()).await;
    }
    only_what_was_admitted(&stage.upstream.seen());
    stage.stop().await;
}
