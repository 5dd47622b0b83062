//! Three small services that stand in for the platform's own: they parse no token and believe only the identity
//! headers that the edge sets. They log each request as it reached them, so that a leak would show.

mod accounts;
mod alerts;
mod backend;
mod indicators;
mod ticker;

use std::net::SocketAddr;

use anyhow::{Context, Result};
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use accounts::Accounts;

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Standin {
    Backend,
    Ticker,
    Alerts,
}

/// Serves until SIGTERM.
pub async fn run(service: Standin, listen: SocketAddr, issuer: Option<SocketAddr>) -> Result<()> {
    let router = match service {
        Standin::Backend => backend::router(),
        Standin::Ticker => ticker::router(issuer.map(Accounts::new).transpose()?),
        Standin::Alerts => alerts::router(),
    };
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let mut stop = signal(SignalKind::terminate())?;
    tokio::select! {
        served = async { axum::serve(listener, router.layer(from_fn(log))).await } => served.map_err(Into::into),
        _ = stop.recv() => Ok(()),
    }
}

async fn log(request: Request, next: Next) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let identity = Identity::of(request.headers());
    let response = next.run(request).await;
    println!(
        "{method} {uri} {} as {}",
        response.status().as_u16(),
        identity.user_id.as_deref().unwrap_or("nobody")
    );
    response
}

/// Who the edge says is calling.
#[derive(Debug, Clone, Serialize)]
struct Identity {
    user_id: Option<String>,
    email: Option<String>,
    roles: Option<String>,
    session_id: Option<String>,
    service_name: Option<String>,
    auth_method: Option<String>,
}

impl Identity {
    fn of(headers: &HeaderMap) -> Self {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Self {
            user_id: header("x-user-id"),
            email: header("x-user-email"),
            roles: header("x-user-roles"),
            session_id: header("x-session-id"),
            service_name: header("x-service-name"),
            auth_method: header("x-auth-method"),
        }
    }
}

/// The caller's user id; without one the request is refused.
#[derive(Debug, Clone)]
struct UserId(String);

impl<S: Sync> FromRequestParts<S> for UserId {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        Identity::of(&parts.headers).user_id.map(Self).ok_or(StatusCode::UNAUTHORIZED)
    }
}
