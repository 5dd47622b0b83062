//! Live quotes over a WebSocket, with the token in each of the places where clients put it.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::visitor::{Answer, Login, Visitor};

const QUOTES: &str = "/ws/quotes";
const PATIENCE: Duration = Duration::from_secs(5);

/// An open stream of quotes.
#[derive(Debug)]
pub(super) struct Quotes(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Quotes {
    /// Opens the stream with the given path and handshake headers; a refusal is an error that tells the status.
    async fn open(ada: &Visitor, path: &str, headers: &[(&'static str, &str)]) -> Result<Self> {
        let mut request = ada.websocket_url(path).into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse()?);
        }
        match timeout(PATIENCE, connect_async(request)).await.context("no handshake")? {
            Ok((stream, _)) => Ok(Self(stream)),
            Err(tungstenite::Error::Http(response)) => bail!("handshake refused: {}", response.status()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn open_by_header(ada: &Visitor, login: &Login) -> Result<Self> {
        Self::open(ada, QUOTES, &[("authorization", &format!("Bearer {}", login.access_token))]).await
    }

    pub(super) async fn next(&mut self, kind: &str) -> Result<Value> {
        loop {
            let message = timeout(PATIENCE, self.0.next()).await.with_context(|| format!("no {kind}"))?;
            let Message::Text(text) = message.context("the stream ended")?? else { continue };
            let message: Value = serde_json::from_str(&text)?;
            if message["type"] == kind {
                return Ok(message);
            }
        }
    }

    /// How the edge ends the stream.
    pub(super) async fn closed(mut self) -> Result<String> {
        loop {
            let message = timeout(PATIENCE, self.0.next()).await.context("the stream goes on")?;
            if let Message::Close(frame) = message.context("the stream ended without a close frame")?? {
                let frame = frame.context("a close frame without a reason")?;
                return Ok(format!("{} {}", u16::from(frame.code), frame.reason));
            }
        }
    }

    pub(super) async fn subscribe(&mut self) -> Result<()> {
        let subscribe = json!({"type": "subscribe", "symbols": ["ETH-USD"]}).to_string();
        Ok(self.0.send(Message::Text(subscribe.into())).await?)
    }

    /// Uses the stream as a person would: sees who it is for, links a trading account, subscribes, reads a quote of that
    /// symbol.
    async fn follow(mut self, ada: &Visitor, login: &Login) -> Result<String> {
        let welcome = self.next("welcome").await?;
        ensure!(welcome["user_id"] == login.user_id.as_str(), "the ticker sees {}", welcome["user_id"]);
        self.next("quote").await?;
        link(ada, login).await?;
        self.subscribe().await?;
        self.next("subscribed").await?;
        let quote = self.next("quote").await?;
        ensure!(quote["symbol"] == "ETH-USD", "got a quote of {}", quote["symbol"]);
        self.0.close(None).await?;
        Ok(format!("subscribed, {} at {}", quote["symbol"], quote["price"]))
    }
}

/// Of every trading account that is linked here.
pub(super) const SECRET: &str = "touroftheplatformsecret000000001";

/// Has the user an account to trade with; the ticker takes no subscription without.
pub(super) async fn link(ada: &Visitor, login: &Login) -> Result<()> {
    ada.remember(SECRET);
    let account = json!({
        "broker": "kite", "user_id_broker": "AB1234", "api_key": "touroftheplatform", "api_secret": SECRET,
    });
    let link = ada.request(Method::POST, "/v1/trading-accounts").bearer_auth(&login.access_token);
    let answer = Answer::to(link.json(&account)).await?;
    // 409: linked already.
    ensure!([201, 409].contains(&answer.status), "link: {}", answer.summary());
    Ok(())
}

/// Without an account, the ticker says what to do and the stream goes on.
pub(super) async fn without_account(ada: &Visitor, login: &Login) -> Result<String> {
    let mut quotes = Quotes::open_by_header(ada, login).await?;
    quotes.subscribe().await?;
    let told = quotes.next("error").await?;
    let detail = told["detail"].as_str().unwrap_or_default().to_owned();
    ensure!(detail.starts_with("No active trading accounts linked."), "the ticker says {told}");
    quotes.next("quote").await?;
    link(ada, login).await?;
    quotes.subscribe().await?;
    quotes.next("subscribed").await?;
    Ok(detail)
}

pub(super) async fn by_query(ada: &Visitor, login: &Login) -> Result<String> {
    let path = format!("{QUOTES}?depth=1&token={}", login.access_token);
    Quotes::open(ada, &path, &[]).await?.follow(ada, login).await
}

pub(super) async fn by_header(ada: &Visitor, login: &Login) -> Result<String> {
    Quotes::open_by_header(ada, login).await?.follow(ada, login).await
}

pub(super) async fn by_subprotocol(ada: &Visitor, login: &Login) -> Result<String> {
    let protocols = format!("bearer, {}", login.access_token);
    Quotes::open(ada, QUOTES, &[("sec-websocket-protocol", &protocols)]).await?.follow(ada, login).await
}

pub(super) async fn refused(ada: &Visitor) -> Result<String> {
    for (path, headers) in [
        (QUOTES, vec![]),
        ("/ws/quotes?token=a.b.c", vec![]),
        (QUOTES, vec![("sec-websocket-protocol", "bearer, a.b.c")]),
    ] {
        let refused = Quotes::open(ada, path, &headers).await.err().map(|error| error.to_string());
        ensure!(refused.as_deref() == Some("handshake refused: 401 Unauthorized"), "{path}: {refused:?}");
    }
    Ok("401 before the upgrade".into())
}
