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

/// Stands in for an upstream on a port that is free: answers one request with 200 and returns it as it came.
pub(crate) async fn upstream(port: u16) -> tokio::task::JoinHandle<String> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 16 * 1024];
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            let read = stream.read(&mut buffer).await.unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&request));
            request.extend_from_slice(&buffer[..read]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        String::from_utf8_lossy(&request).into_owned()
    })
}

/// Sends one request by HTTP/2, where a method may be anything, and returns what comes back of its body: nothing, if the stream
/// or the connection is ended without an answer.
pub(crate) async fn http2(port: u16, headers: &[(&str, &str)]) -> String {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            string(&mut block, text.as_bytes());
        }
    }
    let mut request = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(&mut request, 4, 0, 0, &[]);
    frame(&mut request, 1, 0x5, 1, &block);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(&request).await.unwrap();
    let (mut received, mut body) = (Vec::new(), Vec::new());
    let mut buffer = [0; 16 * 1024];
    loop {
        while let Some((kind, flags, payload, length)) = next_frame(&received) {
            if kind == 0 {
                body.extend_from_slice(&payload);
            }
            received.drain(..length);
            // The end of the stream, its reset, or the end of the connection.
            if (kind <= 1 && flags & 1 == 1) || matches!(kind, 3 | 7) {
                return String::from_utf8_lossy(&body).into_owned();
            }
        }
        let read = timeout(Duration::from_secs(10), stream.read(&mut buffer))
            .await
            .expect("no answer in 10 s")
            .unwrap_or(0);
        if read == 0 {
            return String::from_utf8_lossy(&body).into_owned();
        }
        received.extend_from_slice(&buffer[..read]);
    }
}

/// A string literal without Huffman's code (RFC 7541 §5.2).
fn string(block: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text.len();
    if rest < 127 {
        block.push(rest as u8);
    } else {
        block.push(127);
        rest -= 127;
        while rest >= 128 {
            block.push((rest % 128) as u8 | 128);
            rest /= 128;
        }
        block.push(rest as u8);
    }
    block.extend_from_slice(text);
}

/// RFC 9113 §4.1.
fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
}

fn next_frame(bytes: &[u8]) -> Option<(u8, u8, Vec<u8>, usize)> {
    let [a, b, c, kind, flags, ..] = *bytes.get(..9)? else { return None };
    let end = 9 + u32::from_be_bytes([0, a, b, c]) as usize;
    Some((kind, flags, bytes.get(9..end)?.to_vec(), end))
}

fn is_whole(received: &[u8]) -> bool {
    let text = String::from_utf8_lossy(received);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    length.is_some_and(|length: usize| body.len() >= length)
}
