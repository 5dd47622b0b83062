//! Asks a running issuer which keys it publishes, as a verifier would.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use axum::body::{Body, to_bytes};
use http::Request;
use http::header::HOST;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::cli::block_on;

/// A key set is a few kilobytes.
const MAX_BODY: usize = 1 << 20;

/// Between one question and the next.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, thiserror::Error)]
pub(super) enum NotGone {
    #[error("{0}")]
    Unasked(String),
    #[error("still publishes it")]
    StillThere,
}

/// Asks the issuer at `listen` until it no longer publishes `kid`, or for as long as `patience` lasts.
pub(super) fn wait_until_gone(kid: &str, listen: SocketAddr, patience: Duration) -> Result<(), NotGone> {
    let asked = block_on(async {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
            let keys = timeout(left, published(reachable(listen))).await.context("no answer in time")??;
            let there = keys.iter().any(|published| published == kid);
            if !there || Instant::now() >= deadline {
                return Ok(there);
            }
            sleep(PAUSE).await;
        }
    });
    match asked {
        Ok(false) => Ok(()),
        Ok(true) => Err(NotGone::StillThere),
        Err(error) => Err(NotGone::Unasked(format!("{error:#}"))),
    }
}

/// An issuer that listens everywhere also listens here.
fn reachable(mut listen: SocketAddr) -> SocketAddr {
    match listen {
        SocketAddr::V4(address) if address.ip().is_unspecified() => listen.set_ip(Ipv4Addr::LOCALHOST.into()),
        SocketAddr::V6(address) if address.ip().is_unspecified() => listen.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    listen
}

async fn published(issuer: SocketAddr) -> anyhow::Result<Vec<String>> {
    let stream = TokioIo::new(TcpStream::connect(issuer).await?);
    let (mut requests, connection) = hyper::client::conn::http1::handshake(stream).await?;
    let request =
        Request::get("/.well-known/jwks.json").header(HOST, issuer.to_string()).body(Body::empty())?;
    tokio::spawn(connection);
    let answer = requests.send_request(request).await?;
    ensure!(answer.status().is_success(), "it answered {}", answer.status());
    let body = to_bytes(Body::new(answer.into_body()), MAX_BODY).await?;
    let set: KeySet = serde_json::from_slice(&body).context("it answered something else than keys")?;
    Ok(set.keys.into_iter().map(|key| key.kid).collect())
}

/// What matters here of a JWKS (RFC 7517).
#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    kid: String,
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// Answers each question with the next of these, and the last one ever after.
    fn issuer(answers: Vec<&'static str>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let last = *answers.last().unwrap();
        std::thread::spawn(move || {
            for body in answers.into_iter().chain(std::iter::repeat(last)) {
                let Ok((mut stream, _)) = listener.accept() else { return };
                let head = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                head.take_while(|line| !line.is_empty()).for_each(drop);
                let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            }
        });
        address
    }

    const BOTH: &str = r#"{"keys":[{"kid":"leaked","kty":"OKP"},{"kid":"next","kty":"OKP"}]}"#;
    const NEXT: &str = r#"{"keys":[{"kid":"next","kty":"OKP"}]}"#;

    #[test]
    fn it_asks_until_the_key_is_gone() {
        let patience = Duration::from_secs(20);
        assert!(wait_until_gone("leaked", issuer(vec![BOTH, BOTH, NEXT]), patience).is_ok());
    }

    #[test]
    fn a_key_that_stays_is_told() {
        let stays = wait_until_gone("leaked", issuer(vec![BOTH]), Duration::ZERO);
        assert!(matches!(stays, Err(NotGone::StillThere)), "{stays:?}");
    }

    #[test]
    fn no_answer_is_told_as_such() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for (address, expected) in [(closed, "refused"), (issuer(vec!["hello"]), "something else than keys")]
        {
            let Err(NotGone::Unasked(reason)) = wait_until_gone("leaked", address, Duration::ZERO) else {
                panic!("{address}");
            };
            assert!(reason.contains(expected), "{reason}");
        }
    }

    #[test]
    fn an_issuer_on_every_address_is_asked_on_this_machine() {
        assert_eq!(reachable("0.0.0.0:8001".parse().unwrap()).to_string(), "127.0.0.1:8001");
        assert_eq!(reachable("[::]:8001".parse().unwrap()).to_string(), "[::1]:8001");
        assert_eq!(reachable("10.0.0.1:8001".parse().unwrap()).to_string(), "10.0.0.1:8001");
    }
}
