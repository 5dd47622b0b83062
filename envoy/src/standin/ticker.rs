//! The quote ticker: a WebSocket that sends a tick every 50 ms and takes `subscribe` messages from who has a trading account.
//! Whoever has not subscribed yet gets a sample.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use super::UserId;
use super::accounts::Accounts;

const TICK: Duration = Duration::from_millis(50);

/// Ticks between two looks whether the account is still there.
const LOOK_EVERY: u64 = 20;

const NO_ACCOUNT: &str = "No active trading accounts linked. Please link a Kite account in user profile.";
const NO_ISSUER: &str = "Trading accounts cannot be looked up. Please try again.";
const SYMBOLS: [&str; 3] = ["AAPL", "MSFT", "BTC-USD"];

/// Without an issuer to ask, everyone may subscribe.
pub(super) fn router(accounts: Option<Accounts>) -> Router {
    Router::new().route("/ws/quotes", get(quotes)).with_state(accounts)
}

/// A browser that sent its token as a subprotocol wants one of those it offered selected (RFC 6455 §4.1).
async fn quotes(
    State(accounts): State<Option<Accounts>>,
    user: UserId,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade.protocols(["bearer"]).max_message_size(4096).on_upgrade(|socket| async {
        // The client has left; there is nobody to tell.
        let _ = stream(socket, user, accounts).await;
    })
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Request {
    Subscribe { symbols: Vec<String> },
}

/// Whether this user may subscribe: the first active account can be traded with.
async fn may_subscribe(accounts: Option<&Accounts>, user: &UserId) -> Result<(), &'static str> {
    let Some(accounts) = accounts else { return Ok(()) };
    let open = async {
        match accounts.active(user).await? {
            Some(account) => accounts.open(&account).await,
            None => Ok(false),
        }
    };
    match open.await {
        Ok(true) => Ok(()),
        Ok(false) => Err(NO_ACCOUNT),
        Err(error) => {
            println!("{error:#}");
            Err(NO_ISSUER)
        }
    }
}

/// Whether the account is gone that this user has subscribed with; an issuer that does not answer ends no stream.
async fn is_over(accounts: Option<&Accounts>, user: &UserId) -> bool {
    match accounts {
        Some(accounts) => matches!(accounts.active(user).await, Ok(None)),
        None => false,
    }
}

async fn stream(mut socket: WebSocket, user: UserId, accounts: Option<Accounts>) -> Result<(), axum::Error> {
    let mut symbols: Vec<String> = SYMBOLS.map(String::from).into();
    let mut subscribed = false;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut tick = 0_u64;
    send(&mut socket, json!({"type": "welcome", "user_id": user.0})).await?;
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                tick += 1;
                if subscribed && tick.is_multiple_of(LOOK_EVERY) && is_over(accounts.as_ref(), &user).await {
                    (symbols, subscribed) = (Vec::new(), false);
                    send(&mut socket, json!({"type": "error", "detail": NO_ACCOUNT})).await?;
                }
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
                            match may_subscribe(accounts.as_ref(), &user).await {
                                Ok(()) => {
                                    (symbols, subscribed) = (wanted, true);
                                    json!({"type": "subscribed", "symbols": symbols})
                                }
                                Err(detail) => json!({"type": "error", "detail": detail}),
                            }
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
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU16, Ordering};

    use axum::http::StatusCode;
    use axum::routing::{get, post};
    use axum::{Json, Router};
    use futures_util::{SinkExt, StreamExt};
    use serde_json::{Value, json};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    use tokio_tungstenite::tungstenite::{Message, protocol::CloseFrame, protocol::frame::coding::CloseCode};
    use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

    use super::{Accounts, NO_ACCOUNT, NO_ISSUER};

    type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

    async fn served(router: Router) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async { axum::serve(listener, router).await });
        address
    }

    async fn client(accounts: Option<Accounts>) -> Client {
        let address = served(super::router(accounts)).await;
        let mut request = format!("ws://{address}/ws/quotes").into_client_request().unwrap();
        request.headers_mut().insert("x-user-id", "u-ada".parse().unwrap());
        tokio_tungstenite::connect_async(request).await.unwrap().0
    }

    /// The next message of this type.
    async fn next(client: &mut Client, kind: &str) -> Value {
        loop {
            let message = client.next().await.unwrap().unwrap();
            let message: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
            if message["type"] == kind {
                return message;
            }
        }
    }

    async fn subscribe(client: &mut Client) {
        let wish = json!({"type": "subscribe", "symbols": ["ETH-USD"]}).to_string();
        client.send(Message::Text(wish.into())).await.unwrap();
    }

    #[tokio::test]
    async fn who_has_no_active_trading_account_is_told_so_and_stays_connected() {
        // What the issuer has: 0 no account, 200 one that can be traded with, or how it fails.
        let has = Arc::new(AtomicU16::new(0));
        let (listed, read) = (Arc::clone(&has), Arc::clone(&has));
        let list = move || async move {
            match listed.load(Ordering::SeqCst) {
                0 => (StatusCode::OK, Json(json!([]))),
                500 => (StatusCode::INTERNAL_SERVER_ERROR, Json(Value::Null)),
                _ => (StatusCode::OK, Json(json!([{"account_id": "1"}]))),
            }
        };
        let credentials = move || async move {
            let status = StatusCode::from_u16(read.load(Ordering::SeqCst)).unwrap();
            (status, Json(json!({"api_key": "x", "api_secret": "y"})))
        };
        let internal = "/v1/internal/trading-accounts";
        let issuer = Router::new().route(internal, get(list));
        let issuer = served(issuer.route(&format!("{internal}/1/credentials"), post(credentials))).await;
        let mut client = client(Some(Accounts::with(issuer, "token".into()))).await;
        for (state, detail) in [(0, NO_ACCOUNT), (409, NO_ACCOUNT), (500, NO_ISSUER), (503, NO_ISSUER)] {
            has.store(state, Ordering::SeqCst);
            subscribe(&mut client).await;
            assert_eq!(next(&mut client, "error").await, json!({"type": "error", "detail": detail}));
        }
        has.store(200, Ordering::SeqCst);
        subscribe(&mut client).await;
        next(&mut client, "subscribed").await;
        assert_eq!(next(&mut client, "quote").await["symbol"], "ETH-USD");
        // An issuer that does not answer ends nothing; that there is no account any more does.
        has.store(500, Ordering::SeqCst);
        for _ in 0..2 * super::LOOK_EVERY {
            next(&mut client, "quote").await;
        }
        has.store(0, Ordering::SeqCst);
        assert_eq!(next(&mut client, "error").await["detail"], NO_ACCOUNT);
        has.store(200, Ordering::SeqCst);
        subscribe(&mut client).await;
        next(&mut client, "subscribed").await;
    }

    #[tokio::test]
    async fn a_close_is_answered_with_a_close() {
        let mut client = client(None).await;
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
