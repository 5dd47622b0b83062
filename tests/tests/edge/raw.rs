//! Requests that no HTTP client would send, byte for byte.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What came back; an empty `text` means that the connection was closed without a word.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

/// Sends the bytes and reads one response.
pub(crate) async fn send(port: u16, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // The edge may refuse before it has read everything.
    let _ = stream.write_all(request).await;
    let mut received = Vec::new();
    let mut buffer = [0; 16 * 1024];
    while !is_whole(&received) {
        match timeout(Duration::from_secs(10), stream.read(&mut buffer)).await.expect("no answer in 10 s") {
            Ok(0) | Err(_) => break,
            Ok(read) => received.extend_from_slice(&buffer[..read]),
        }
    }
    let text = String::from_utf8_lossy(&received).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    Answer { status, text }
}

/// A request with these header lines (without the last line's break) and no body.
pub(crate) async fn request(port: u16, method: &[u8], path: &[u8], headers: &[&[u8]]) -> Answer {
    let mut bytes = [method, b" ", path, b" HTTP/1.1\r\nhost: edge\r\n"].concat();
    for header in headers {
        bytes.extend_from_slice(header);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    send(port, &bytes).await
}

fn is_whole(received: &[u8]) -> bool {
    let text = String::from_utf8_lossy(received);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    length.is_some_and(|length: usize| body.len() >= length)
}
