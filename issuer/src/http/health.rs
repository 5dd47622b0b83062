//! Liveness and readiness.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde::Serialize;

use crate::app::App;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz))
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
}

/// GET /healthz: the process answers.
async fn healthz() -> Json<Health> {
    Json(Health { status: "ok" })
}

#[derive(Serialize)]
struct Readiness {
    status: &'static str,
    database: &'static str,
    /// The key that signs.
    signing_key: Option<String>,
    /// Changes of the configuration refused since the start.
    refused_reloads: u64,
}

/// GET /readyz: 200 if the database takes writes and a key signs, 503 otherwise.
async fn readyz(State(app): State<App>) -> Response {
    let now = app.clock.now();
    let usable = app.readiness.is_usable(now).await;
    let signing_key = app.keys.at(now).signing().map(|(kid, _)| kid.to_owned());
    let ready = usable && signing_key.is_some();
    let (code, status) =
        if ready { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not_ready") };
    let database = if usable { "ok" } else { "unavailable" };
    let refused_reloads = app.keys.refusals();
    (code, Json(Readiness { status, database, signing_key, refused_reloads })).into_response()
}
