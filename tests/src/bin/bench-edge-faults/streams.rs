//! WebSockets as clients have them: opened with a token, and read until they end.

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant, timeout, timeout_at};

use crate::upstream::WELCOME;

/// How long opening one may take.
const PATIENCE: Duration = Duration::from_secs(10);

const CLOSE: u8 = 0x88;

#[derive(Debug)]
pub(crate) struct Stream {
    stream: TcpStream,
    received: Vec<u8>,
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    /// With a close frame of this code.
    Told(u16),
    Cut,
}

/// What became of a stream that was read for a while.
#[derive(Debug)]
pub(crate) struct Followed {
    /// `None` if it is open.
    pub(crate) ended: Option<(Instant, End)>,
    /// When it last said something.
    pub(crate) heard: Instant,
    /// When nobody listened any more.
    pub(crate) left: Instant,
    /// Open as long as this is kept.
    _stream: Stream,
}

impl Stream {
    /// Opens one, and reads its welcome.
    pub(crate) async fn open(port: u16, path: &str, token: &str) -> Result<Self> {
        timeout(PATIENCE, Self::handshake(port, path, token)).await.context("a WebSocket does not open")?
    }

    async fn handshake(port: u16, path: &str, token: &str) -> Result<Self> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: edge\r\nauthorization: Bearer {token}\r\nconnection: Upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut received = Vec::with_capacity(512);
        let head = loop {
            if let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            ensure!(stream.read_buf(&mut received).await? > 0, "hung up during the handshake");
        };
        let status = String::from_utf8_lossy(&received[..head]).into_owned();
        ensure!(status.starts_with("HTTP/1.1 101"), "refused: {}", status.lines().next().unwrap_or_default());
        received.drain(..head);
        while received.len() < WELCOME.len() {
            ensure!(stream.read_buf(&mut received).await? > 0, "hung up without a welcome");
        }
        ensure!(received.starts_with(WELCOME), "no welcome, but {received:?}");
        received.drain(..WELCOME.len());
        Ok(Self { stream, received })
    }

    /// Reads until it ends, or until then.
    pub(crate) async fn follow(mut self, until: Instant) -> Followed {
        let mut heard = Instant::now();
        let ended = loop {
            if let Some(code) = close_code(&mut self.received) {
                break Some((heard, End::Told(code)));
            }
            match timeout_at(until, self.stream.read_buf(&mut self.received)).await {
                Err(_) => break None,
                Ok(Ok(1..)) => heard = Instant::now(),
                Ok(Ok(0) | Err(_)) => break Some((Instant::now(), End::Cut)),
            }
        };
        Followed { ended, heard, left: Instant::now(), _stream: self }
    }
}

/// Takes whole frames off, and stops at one that closes: its code. What is sent here is never long.
fn close_code(received: &mut Vec<u8>) -> Option<u16> {
    while let [kind, size, rest @ ..] = &received[..] {
        let size = usize::from(*size);
        if rest.len() < size {
            return None;
        }
        if let (CLOSE, [high, low, ..]) = (*kind, rest) {
            return Some(u16::from_be_bytes([*high, *low]));
        }
        received.drain(..size + 2);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_frame_is_found_behind_others_once_it_is_whole() {
        let mut received = b"\x81\x05quote\x88\x05\x03".to_vec();
        assert_eq!(close_code(&mut received), None);
        received.extend(b"\xf0bye");
        assert_eq!(close_code(&mut received), Some(1008));
    }
}
