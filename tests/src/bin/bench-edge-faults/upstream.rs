//! What stands behind the edge: answers every request, and opens WebSockets. On a thread of its own, and by hand, so that
//! it costs as little as it can.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{}";
const SWITCHING: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
/// The first message of every WebSocket.
pub(crate) const WELCOME: &[u8] = b"\x81\x07welcome";
const QUOTE: &[u8] = b"\x81\x05quote";

/// A WebSocket with this path says something every so many milliseconds; 0: never again after its welcome.
pub(crate) fn quotes(every: u64) -> String {
    format!("/ws/quotes/{every}")
}

/// Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Upstream {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Upstream {
    pub(crate) fn start(ports: impl IntoIterator<Item = u16>) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        for port in ports {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
                .with_context(|| format!("cannot listen on {port}"))?;
            listener.set_nonblocking(true)?;
            let _in_runtime = runtime.enter();
            runtime.spawn(serve(tokio::net::TcpListener::from_std(listener)?));
        }
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let _ = runtime.block_on(stopped);
        });
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: tokio::net::TcpListener) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            // The edge has hung up; there is nobody to tell.
            tokio::spawn(async { drop(attend(stream).await) });
        }
    }
}

/// Answers request after request; none has a body.
async fn attend(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut received = Vec::with_capacity(2048);
    loop {
        let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else {
            if stream.read_buf(&mut received).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let head = String::from_utf8_lossy(&received[..end]);
        if head.contains("upgrade: websocket") {
            let every = pause_of(&head);
            drop(received);
            return open(stream, every).await;
        }
        received.drain(..end + 4);
        stream.write_all(ANSWER).await?;
    }
}

/// What [`quotes`] has put into the path.
fn pause_of(head: &str) -> u64 {
    let path = head.split(' ').nth(1).unwrap_or_default();
    path.rsplit('/').next().and_then(|every| every.parse().ok()).unwrap_or_default()
}

async fn open(mut stream: TcpStream, every: u64) -> io::Result<()> {
    stream.write_all(&[SWITCHING, WELCOME].concat()).await?;
    let mut ignored = [0; 64];
    if every == 0 {
        while stream.read(&mut ignored).await? > 0 {}
        return Ok(());
    }
    let mut ticks = interval(Duration::from_millis(every));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => stream.write_all(QUOTE).await?,
            read = stream.read(&mut ignored) => if read? == 0 { return Ok(()) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_how_often_it_speaks() {
        assert_eq!(pause_of(&format!("GET {} HTTP/1.1\r\nhost: edge", quotes(250))), 250);
        assert_eq!(pause_of("GET /ws/quotes HTTP/1.1"), 0);
    }
}
