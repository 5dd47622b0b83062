//! The REST backend: positions of the caller, withdrawals, instruments that anybody may read for now, a public health page, which
//! tell what identity reached them, and a WebSocket.

use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::indicators::indicators;
use super::{Identity, UserId};

pub(super) fn router() -> Router {
    Router::new()
        .route("/api/positions", get(positions))
        .route("/api/withdrawals", post(withdraw))
        .route("/api/instruments", get(instruments))
        .route("/api/health", get(health))
        .route("/api/ws/indicators", get(indicators))
}

async fn positions(user: UserId, headers: HeaderMap) -> Json<Value> {
    Json(json!({
        "user_id": user.0,
        "identity": Identity::of(&headers),
        "positions": [
            {"symbol": "AAPL", "quantity": 10, "average_price": "187.20"},
            {"symbol": "MSFT", "quantity": 4, "average_price": "402.65"},
        ],
    }))
}

async fn withdraw(user: UserId, Json(wish): Json<Value>) -> (StatusCode, Json<Value>) {
    (StatusCode::CREATED, Json(json!({"user_id": user.0, "amount": wish["amount"], "status": "accepted"})))
}

async fn instruments(headers: HeaderMap) -> Json<Value> {
    Json(json!({"identity": Identity::of(&headers), "instruments": ["AAPL", "MSFT", "ETH-USD"]}))
}

async fn health(headers: HeaderMap) -> Json<Value> {
    Json(json!({"status": "ok", "identity": Identity::of(&headers)}))
}
