//! The backend's own WebSocket, below `/api/`, where everything else is REST.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{platform, raw, token};

const HANDSHAKE: &str = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Opens the socket, and reads until this comes.
async fn open(port: u16, path: &str, headers: &str, until: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: edge\r\n{HANDSHAKE}{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut received, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&received).into_owned();
        if text.contains(until) {
            return text;
        }
        let read = timeout(Duration::from_secs(10), stream.read(&mut buffer)).await;
        let read = read.unwrap_or_else(|_| panic!("no {until} in {text}")).unwrap();
        assert!(read > 0, "the end, and no {until} in {text}");
        received.extend_from_slice(&buffer[..read]);
    }
}

#[tokio::test]
async fn the_backends_socket_opens_for_a_token_in_each_of_its_places() {
    let (stack, _folder) = platform().await;
    let (edge, token) = (stack.ports.edge, token(&stack, "ada@example.com").await);
    for (path, headers) in [
        ("/api/ws/indicators".to_owned(), format!("authorization: Bearer {token}\r\n")),
        (format!("/api/ws/indicators?token={token}"), String::new()),
        ("/api/ws/indicators".to_owned(), format!("sec-websocket-protocol: bearer, {token}\r\n")),
    ] {
        let stream = open(edge, &path, &headers, r#""type":"indicator""#).await;
        assert!(stream.starts_with("HTTP/1.1 101"), "{stream}");
        assert!(stream.contains(r#""type":"welcome","user_id":""#), "{stream}");
        // A browser that offered protocols wants one of them selected.
        let offered = headers.starts_with("sec-websocket-protocol");
        assert_eq!(stream.contains("sec-websocket-protocol: bearer\r\n"), offered, "{stream}");
    }
    let refused = open(edge, "/api/ws/indicators", "", "missing_token").await;
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn beside_the_socket_a_token_in_the_query_is_none() {
    let (stack, _folder) = platform().await;
    let (edge, token) = (stack.ports.edge, token(&stack, "ada@example.com").await);
    let path = format!("/api/ws/indicators?token={token}");
    let plain = raw::request(edge, b"GET", path.as_bytes(), &[]).await;
    assert!(plain.status == 401 && plain.text.contains("missing_token"), "{}", plain.text);
    let other = format!("GET /api/ws/other?token={token} HTTP/1.1\r\nhost: edge\r\n{HANDSHAKE}\r\n");
    let other = raw::send(edge, other.as_bytes()).await;
    assert!(other.status == 401 && other.text.contains("missing_token"), "{}", other.text);
    stack.stop().await.unwrap();
}
