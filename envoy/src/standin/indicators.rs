//! The backend's own WebSocket: an indicator every 50 ms, and nothing to ask of it.

use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use super::UserId;

const TICK: Duration = Duration::from_millis(50);

/// Selects no subprotocol: its route does, for clients that sent a token as one.
pub(super) async fn indicators(user: UserId, upgrade: WebSocketUpgrade) -> Response {
    upgrade.max_message_size(4096).on_upgrade(|socket| async {
        // The client has left; there is nobody to tell.
        let _ = stream(socket, user).await;
    })
}

async fn stream(mut socket: WebSocket, user: UserId) -> Result<(), axum::Error> {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut tick = 0_u32;
    send(&mut socket, json!({"type": "welcome", "user_id": user.0})).await?;
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                tick = tick.wrapping_add(1);
                let strength = f64::from((tick % 40).abs_diff(20)) * 5.0;
                send(&mut socket, json!({"type": "indicator", "name": "rsi", "symbol": "AAPL", "value": strength})).await?;
            }
            message = socket.recv() => match message.transpose()? {
                None => return Ok(()),
                Some(Message::Close(_)) => {
                    // Its answer lies ready and goes out with the next read, which finds the end.
                    socket.recv().await;
                    return Ok(());
                }
                Some(_) => {}
            },
        }
    }
}

async fn send(socket: &mut WebSocket, message: Value) -> Result<(), axum::Error> {
    socket.send(Message::Text(message.to_string().into())).await
}
