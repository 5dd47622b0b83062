//! One keep-alive connection that sends ready-made HTTP/1.1 requests and reads just enough of the answers. A client
//! library would cost more than the server that is measured.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// More headers than issuer and edge send.
const HEADERS: usize = 32;

#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

#[derive(Debug)]
pub struct Answer<'a> {
    pub status: u16,
    pub body: &'a [u8],
}

impl Connection {
    pub async fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(16 * 1024) })
    }

    /// Sends a request and waits for the whole answer, which ends with it.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Answer<'_>> {
        self.received.clear();
        self.stream.write_all(request).await?;
        loop {
            if self.stream.read_buf(&mut self.received).await? == 0 {
                bail!("the connection was closed");
            }
            let Some((status, body, length)) = head(&self.received)? else { continue };
            if self.received.len() >= body + length {
                ensure!(self.received.len() == body + length, "more came than the answer");
                return Ok(Answer { status, body: &self.received[body..] });
            }
        }
    }
}

/// Status, where the body begins, and its length; `None` as long as the head is incomplete.
fn head(received: &[u8]) -> Result<Option<(u16, usize, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(body) = response.parse(received).context("no HTTP")? else {
        return Ok(None);
    };
    let status = response.code.context("no status")?;
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = match length {
        Some(header) => std::str::from_utf8(header.value)?.parse().context("content-length")?,
        None if matches!(status, 204 | 304) => 0,
        None => bail!("an answer of unknown length"),
    };
    Ok(Some((status, body, length)))
}

/// A request as it goes over the wire.
pub fn get(path: &str, bearer: Option<&str>) -> Vec<u8> {
    let authorization = bearer.map(authorization).unwrap_or_default();
    format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: application/json\r\n{authorization}\r\n")
        .into()
}

/// Puts a request with a JSON body in the place of the one before.
pub fn post(request: &mut Vec<u8>, path: &str, body: &str) {
    write(request, "POST", path, "", body);
}

/// The same with a method of its own and further headers, each a whole line.
pub fn write(request: &mut Vec<u8>, method: &str, path: &str, headers: &str, body: &str) {
    request.clear();
    let length = body.len();
    request.extend_from_slice(
        format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: application/json\r\n{headers}\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .as_bytes(),
    );
}

/// The header that carries an access token.
pub fn authorization(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_when_it_is_complete() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(head(answer).unwrap(), Some((200, answer.len() - 2, 2)));
        assert_eq!(head(&answer[..20]).unwrap(), None);
        assert_eq!(head(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap(), Some((204, 27, 0)));
        assert!(head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(head(b"SSH-2.0-x\r\n\r\n").is_err());
    }
}
