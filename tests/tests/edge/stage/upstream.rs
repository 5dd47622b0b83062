//! An upstream that gives every request back as it came, trailers included, and opens WebSockets.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::{WELCOME, content_length, read_head};

#[derive(Default)]
pub(crate) struct Upstream {
    seen: Mutex<String>,
    gives_up: Notify,
}

impl Upstream {
    /// Everything that has reached it, but for what clients say on WebSockets.
    pub(crate) fn seen(&self) -> String {
        self.seen.lock().unwrap().clone()
    }

    /// Has it end what it stalls.
    pub(crate) fn give_up(&self) {
        self.gives_up.notify_waiters();
    }

    pub(super) async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(Arc::clone(&self).converse(BufReader::new(stream)));
        }
    }

    async fn converse(self: Arc<Self>, mut stream: BufReader<TcpStream>) -> Option<()> {
        while let Some(head) = read_head(&mut stream).await {
            self.seen.lock().unwrap().push_str(&head);
            if head.contains("upgrade: websocket") {
                if head.contains("/refuses") {
                    // What comes next is another request to it.
                    stream.write_all(b"HTTP/1.1 400 No\r\ncontent-length: 0\r\n\r\n").await.ok()?;
                    continue;
                }
                return talk(stream, head.contains("/ws/silent")).await;
            }
            if head.contains(" /api/stalls ") {
                // Reads nothing more, and keeps the connection.
                self.gives_up.notified().await;
                return None;
            }
            let body = read_body(&mut stream, &head).await?;
            self.seen.lock().unwrap().push_str(&body);
            let length = head.len() + body.len();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{head}{body}");
            stream.write_all(answer.as_bytes()).await.ok()?;
        }
        None
    }
}

/// As it came: with the sizes of its chunks, and trailers.
async fn read_body(stream: &mut BufReader<TcpStream>, head: &str) -> Option<String> {
    let mut body = vec![0; content_length(head)];
    stream.read_exact(&mut body).await.ok()?;
    if head.contains("transfer-encoding: chunked") {
        loop {
            let begins = body.len();
            stream.read_until(b'\n', &mut body).await.ok()?;
            let size = std::str::from_utf8(body.get(begins..)?).ok()?.trim().to_owned();
            let size = usize::from_str_radix(&size, 16).ok()?;
            if size == 0 {
                break;
            }
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk).await.ok()?;
            body.extend(chunk);
        }
        while !body.ends_with(b"\r\n\r\n") {
            stream.read_until(b'\n', &mut body).await.ok().filter(|read| *read > 0)?;
        }
    }
    Some(String::from_utf8_lossy(&body).into_owned())
}

/// Says a word, and then, unless it is to be silent, goes on for ever.
async fn talk(mut stream: BufReader<TcpStream>, silent: bool) -> Option<()> {
    let head = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
    stream.write_all(&[&head[..], &WELCOME].concat()).await.ok()?;
    if silent {
        return stream.read_u8().await.ok().map(drop);
    }
    // A long frame, written so that chunks end anywhere, and a short one.
    let long = [&[0x82, 126, 0x23, 0x28][..], &[0x88; 9000], b"\x81\x02hi"].concat();
    loop {
        for part in long.chunks(1237) {
            stream.write_all(part).await.ok()?;
            sleep(Duration::from_millis(2)).await;
        }
    }
}
