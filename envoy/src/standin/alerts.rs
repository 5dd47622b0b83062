//! The alert service: price alerts in memory, each its owner's alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::UserId;

#[derive(Default)]
struct Book {
    alerts: BTreeMap<u64, Alert>,
    last_id: u64,
}

#[derive(Clone, Serialize)]
struct Alert {
    id: u64,
    user_id: String,
    symbol: String,
    above: f64,
}

#[derive(Deserialize)]
struct NewAlert {
    symbol: String,
    above: f64,
}

type Shared = State<Arc<Mutex<Book>>>;

pub(super) fn router() -> Router {
    Router::new()
        .route("/alerts", get(list).post(create))
        .route("/alerts/{id}", delete(remove))
        .with_state(Arc::default())
}

async fn list(book: Shared, user: UserId) -> Json<Vec<Alert>> {
    let book = book.lock().unwrap_or_else(PoisonError::into_inner);
    Json(book.alerts.values().filter(|alert| alert.user_id == user.0).cloned().collect())
}

async fn create(book: Shared, user: UserId, Json(new): Json<NewAlert>) -> (StatusCode, Json<Alert>) {
    let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
    book.last_id += 1;
    let alert = Alert { id: book.last_id, user_id: user.0, symbol: new.symbol, above: new.above };
    book.alerts.insert(alert.id, alert.clone());
    (StatusCode::CREATED, Json(alert))
}

/// Another's alert is as unknown as one that never was.
async fn remove(book: Shared, user: UserId, Path(id): Path<u64>) -> StatusCode {
    let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
    if book.alerts.get(&id).is_some_and(|alert| alert.user_id == user.0) {
        book.alerts.remove(&id);
        StatusCode::NO_CONTENT
    } else {
        StatusCode::NOT_FOUND
    }
}
