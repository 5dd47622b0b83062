//! The quote ticker: a WebSocket that sends a tick every 200 ms and takes `subscribe` messages.

use std::time::Duration;

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use super::UserId;

const TICK: Duration = Duration::from_millis(200);
const SYMBOLS: [&str; 3] = ["AAPL", "MSFT", "BTC-USD"];

pub(super) fn router() -> Router {
    Router::new().route("/ws/quotes", get(quotes))
}

/// A browser that sent its token as a subprotocol wants one of those it offered selected (RFC 6455 §4.1).
async fn quotes(user: UserId, upgrade: WebSocketUpgrade) -> Response {
    upgrade.protocols(["bearer"]).max_message_size(4096).on_upgrade(|socket| async {
        // The client has left; there is nobody to tell.
        let _ = stream(socket, user).await;
    })
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Request {
    Subscribe { symbols: Vec<String> },
}

async fn stream(mut socket: WebSocket, user: UserId) -> Result<(), axum::Error> {
    let mut symbols: Vec<String> = SYMBOLS.map(String::from).into();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut tick = 0_u64;
    send(&mut socket, json!({"type": "welcome", "user_id": user.0})).await?;
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                tick += 1;
                for symbol in &symbols {
                    send(&mut socket, json!({"type": "quote", "symbol": symbol, "price": price(symbol, tick)})).await?;
                }
            }
            message = socket.recv() => match message.transpose()? {
                None => return Ok(()),
                Some(Message::Close(_)) => {
                    // Its answer lies ready and goes out with the next read, which finds the end.
                    socket.recv().await;
                    return Ok(());
                }
                Some(Message::Text(text)) => {
                    let answer = match serde_json::from_str(&text) {
                        Ok(Request::Subscribe { symbols: wanted }) => {
                            symbols = wanted;
                            json!({"type": "subscribed", "symbols": symbols})
                        }
                        Err(error) => json!({"type": "error", "detail": error.to_string()}),
                    };
                    send(&mut socket, answer).await?;
                }
                Some(_) => {}
            },
        }
    }
}

async fn send(socket: &mut WebSocket, message: Value) -> Result<(), axum::Error> {
    socket.send(Message::Text(message.to_string().into())).await
}

/// A price that moves: enough to look alive.
fn price(symbol: &str, tick: u64) -> f64 {
    let base = symbol.bytes().map(u32::from).sum::<u32>();
    let swing = u32::try_from(tick % 40).unwrap_or_default();
    f64::from(base) + f64::from(swing.abs_diff(20)) / 10.0
}

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    use tokio_tungstenite::tungstenite::{Message, protocol::CloseFrame, protocol::frame::coding::CloseCode};

    #[tokio::test]
    async fn a_close_is_answered_with_a_close() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut request =
            format!("ws://{}/ws/quotes", listener.local_addr().unwrap()).into_client_request().unwrap();
        request.headers_mut().insert("x-user-id", "u-ada".parse().unwrap());
        tokio::spawn(async { axum::serve(listener, super::router()).await });

        let (mut client, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        let close = CloseFrame { code: CloseCode::Normal, reason: "enough".into() };
        client.send(Message::Close(Some(close.clone()))).await.unwrap();
        let mut answer = None;
        while let Some(message) = client.next().await {
            if let Message::Close(frame) = message.unwrap() {
                answer = frame;
            }
        }
        assert_eq!(answer, Some(close));
    }
}
