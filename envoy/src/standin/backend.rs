//! The REST backend: positions of the caller, a public health page that tells what identity reached it, and a WebSocket.

use axum::http::HeaderMap;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::indicators::indicators;
use super::{Identity, UserId};

pub(super) fn router() -> Router {
    Router::new()
        .route("/api/positions", get(positions))
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

async fn health(headers: HeaderMap) -> Json<Value> {
    Json(json!({"status": "ok", "identity": Identity::of(&headers)}))
}
