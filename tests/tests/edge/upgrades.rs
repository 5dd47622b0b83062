//! Requests that ask for another protocol, rightly and wrongly: what is opened has a credential and ends with it, and nothing is
//! smuggled past the filter behind a handshake.

use std::time::Duration;

use h2::ext::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::alone::PATIENCE;
use super::stage::{HANDSHAKE, Stage, WELCOME, bearer, close_frame, config, token};
use super::{module, raw};

#[tokio::test]
async fn what_is_no_handshake_opens_nothing() {
    let stage = Stage::start(module(), &[config()]).await;
    let port = stage.edge.port;
    let token = token("ada", 900);
    let (ada, by_query) = (bearer(&token), format!("/ws/quotes?token={token}"));
    let (websocket, connection) = (&b"upgrade: websocket"[..], &b"connection: Upgrade"[..]);
    let settings = b"http2-settings: AAMAAABkAAQAAP__";
    for (what, method, headers) in [
        ("no Connection", "GET", &[websocket][..]),
        ("no Upgrade", "GET", &[connection]),
        ("POST", "POST", &[connection, websocket]),
        ("POST with a length", "POST", &[connection, websocket, b"content-length: 0"]),
        ("PUT", "PUT", &[connection, websocket]),
        ("a body", "GET", &[connection, websocket, b"content-length: 5"]),
        ("h2c", "GET", &[b"connection: Upgrade, HTTP2-Settings", b"upgrade: h2c", settings]),
        ("h2c beside it", "GET", &[connection, b"upgrade: h2c, websocket"]),
        ("twice", "GET", &[connection, websocket, websocket]),
        ("another protocol", "GET", &[connection, b"upgrade: tcp"]),
    ] {
        for path in [&*by_query, "/ws/quotes"] {
            let headers = [headers, &[ada.as_bytes()][usize::from(path == by_query)..]].concat();
            let answer = raw::request(port, method.as_bytes(), path.as_bytes(), &headers).await;
            assert!((400..500).contains(&answer.status), "{what}: {}", answer.text);
        }
    }
    assert_eq!(stage.upstream.seen(), "");

    // Where any request may come, too, a handshake is a GET: servers that take others would have a stream that nobody ends.
    let posted = raw::request(port, b"POST", b"/api/ws", &[connection, websocket, ada.as_bytes()]).await;
    assert!(posted.is_refused(400, "bad_request"), "{}", posted.text);
    // HTTP/2 without TLS is not spoken to upstreams by request: the wish for it goes no further.
    let h2c = [&b"connection: Upgrade, HTTP2-Settings"[..], b"upgrade: h2c", settings];
    let refused = raw::request(port, b"GET", b"/api/x", &h2c).await;
    assert!(refused.is_refused(401, "missing_credential"), "{}", refused.text);
    let plain = raw::request(port, b"GET", b"/api/x", &[&h2c[..], &[ada.as_bytes()]].concat()).await;
    assert!(plain.reached() && !plain.text.contains("h2c"), "{}", plain.text);
    assert_eq!(plain.identities(), ["u-ada"]);
    // Envoy takes the bytes after a handshake as they are, and tells nobody that they were to be chunks.
    let chunks = [connection, websocket, b"transfer-encoding: chunked", ada.as_bytes()];
    assert_eq!(raw::request(port, b"GET", b"/ws/refuses", &chunks).await.status, 400, "by the upstream");
    assert!(!stage.upstream.seen().contains("transfer-encoding"), "{}", stage.upstream.seen());
    // Without a key it is for the upstream to refuse; who asks is known by then.
    let keyless = [connection, websocket];
    let refused = raw::request(port, b"GET", b"/ws/refuses", &keyless).await;
    assert!(refused.is_refused(401, "missing_token"), "{}", refused.text);
    let asked = raw::request(port, b"GET", b"/ws/refuses", &[&keyless[..], &[ada.as_bytes()]].concat()).await;
    assert_eq!(asked.status, 400, "{}", asked.text);
    stage.stop().await;
}

#[tokio::test]
async fn nothing_is_smuggled_behind_a_handshake() {
    let stage = Stage::start(module(), &[config()]).await;
    let ada = bearer(&token("ada", 900));
    let smuggled =
        "GET /api/smuggled HTTP/1.1\r\nhost: edge\r\nx-user-id: mallory\r\nx-user-roles: admin\r\n\r\n";
    for (path, header) in
        [("/ws/refuses", &*ada), ("/ws/refuses", "x-note: 1"), ("/public/refuses", "x-note: 1")]
    {
        // The upstream refuses the first and reads on; so would one that keeps its connections.
        let request = format!("GET {path} HTTP/1.1\r\nhost: edge\r\n{header}\r\n{HANDSHAKE}\r\n{smuggled}");
        let mut stream = TcpStream::connect(("127.0.0.1", stage.edge.port)).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 1024];
        let read = timeout(PATIENCE, stream.read(&mut answer)).await.unwrap().unwrap();
        let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
        // Whatever it was sent with the handshake is there by the time that it answers the next request.
        assert!(stage.get(&ada).await.reached());
        let seen = stage.upstream.seen();
        assert!(!seen.contains("smuggled") && !seen.contains("mallory"), "{answer}\n{seen}");
    }
    stage.stop().await;
}

/// RFC 8441, which Envoy makes a handshake of HTTP/1.1 of, if it is told to take it.
#[tokio::test]
async fn a_websocket_by_http2_is_admitted_like_any_and_ends_with_its_session() {
    let stage = Stage::start(module(), &[config()]).await;
    let stream = TcpStream::connect(("127.0.0.1", stage.edge.port)).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    // The settings of the other side, which are on their way, say whether it is taken.
    while !client.is_extended_connect_protocol_enabled() {
        sleep(Duration::from_millis(5)).await;
    }
    let token = token("ada", 900);
    let ada = format!("Bearer {token}");
    let by_query = format!("/ws/quotes?token={token}");
    let mut open = Vec::new();
    for (protocol, path, header, status) in [
        ("websocket", "/ws/quotes", ("authorization", &*ada), 200),
        ("websocket", &*by_query, ("x-user-id", "mallory"), 200),
        ("websocket", "/ws/quotes", ("x-user-id", "mallory"), 401),
        ("websocket", "/ws/quotes?token=a.b.c", ("x-user-id", "mallory"), 401),
        ("websocket", "/nowhere", ("authorization", &*ada), 404),
        ("connect-udp", "/ws/quotes", ("authorization", &*ada), 404),
        ("h2c", &*by_query, ("x-note", "1"), 403),
    ] {
        let request = http::Request::connect(stage.edge.url(path)).extension(Protocol::from(protocol));
        let request = request.header(header.0, header.1).body(()).unwrap();
        client = client.ready().await.unwrap();
        let (answer, body) = client.send_request(request, false).unwrap();
        match answer.await {
            Ok(answer) => {
                assert_eq!(answer.status(), status, "{protocol} {path} {}", header.0);
                if status == 200 {
                    open.push((answer.into_body(), body));
                }
            }
            Err(error) => assert!(status != 200 && error.is_reset(), "{protocol} {path}: {error}"),
        }
    }
    let seen = stage.upstream.seen();
    assert_eq!(seen.matches("GET /ws/quotes HTTP/1.1\r\n").count(), 2, "{seen}");
    assert_eq!(seen.matches("x-user-id: u-ada\r\n").count(), 2, "{seen}");
    assert!(!seen.contains("mallory") && !seen.contains("token="), "{seen}");

    stage.issuer.revoke("s-ada");
    let close = close_frame("Authentication required");
    for (mut answer, _body) in open {
        let mut said = Vec::new();
        while let Some(Ok(part)) = timeout(PATIENCE, answer.data()).await.expect("the stream ends") {
            answer.flow_control().release_capacity(part.len()).unwrap();
            said.extend(part);
        }
        assert!(said.starts_with(&WELCOME) && said.ends_with(&close), "{} bytes", said.len());
    }
    stage.stop().await;
}
