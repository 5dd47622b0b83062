//! Liveness, readiness, and figures for operators.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRef, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ambient::Clock;
use crate::db;
use crate::metrics::Metrics;
use crate::tokens::LiveKeys;

pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Clock: FromRef<S>,
    db::Readiness: FromRef<S>,
    Arc<LiveKeys>: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(healthz)).routes(routes!(readyz))
}

/// What only the internal listener serves.
pub fn internal_routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Metrics: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(metrics))
}

#[derive(Serialize, ToSchema)]
struct Health {
    /// `ok`.
    status: &'static str,
}

/// The process answers.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, body = Health)))]
async fn healthz() -> Json<Health> {
    Json(Health { status: "ok" })
}

#[derive(Serialize, ToSchema)]
struct Readiness {
    /// `ready` or `not_ready`.
    status: &'static str,
    /// `ok` or `unavailable`.
    database: &'static str,
    /// The key that signs.
    signing_key: Option<String>,
    /// Changes of the configuration refused since the start.
    refused_reloads: u64,
}

/// Whether the database takes writes and a key signs.
#[utoipa::path(get, path = "/readyz", tag = "health", responses(
    (status = 200, body = Readiness),
    (status = 503, body = Readiness, description = "Send nothing here for now"),
))]
async fn readyz(
    State(clock): State<Clock>,
    State(database): State<db::Readiness>,
    State(keys): State<Arc<LiveKeys>>,
) -> Response {
    let now = clock.now();
    let usable = database.is_usable(now).await;
    let signing_key = keys.at(now.seconds()).signing().map(|(kid, _)| kid.to_owned());
    let ready = usable && signing_key.is_some();
    let (code, status) =
        if ready { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not_ready") };
    let database = if usable { "ok" } else { "unavailable" };
    let refused_reloads = keys.refusals();
    (code, Json(Readiness { status, database, signing_key, refused_reloads })).into_response()
}

/// Figures for Prometheus (OpenMetrics text).
#[utoipa::path(get, path = "/metrics", tag = "health", responses(
    (status = 200, body = String, content_type = "application/openmetrics-text"),
))]
async fn metrics(State(metrics): State<Metrics>) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, content_type)], metrics.text()).into_response()
}
