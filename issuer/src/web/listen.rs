//! Listening and stopping: connections are few enough and speak soon enough to leave room for others; requests under
//! way are finished, for a bounded time, before the process ends.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::server::TlsStream;
use tower::ServiceExt as _;

use super::Tls;

/// What connections may take.
#[derive(Debug, Clone, Copy)]
pub struct Connections {
    /// More wait in the kernel's queue until one ends.
    pub most: usize,
    /// How long a connection may be without a complete request head, be it slow, silent or idle.
    pub head: Duration,
    /// How long requests under way may take to finish once the process was told to stop.
    pub drain: Duration,
}

impl Default for Connections {
    /// 4096 connections, or three quarters of the open files that this process may have.
    fn default() -> Self {
        let files = getrlimit(Resource::Nofile).current.and_then(|files| usize::try_from(files).ok());
        let most = files.map_or(4096, |files| (files / 4 * 3).clamp(1, 4096));
        Self { most, head: Duration::from_secs(10), drain: Duration::from_secs(10) }
    }
}

/// What keeps an address from being served.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: cannot listen on {address}: {reason}")]
pub struct ListenError {
    /// The key of the configuration that names the address.
    setting: &'static str,
    address: SocketAddr,
    reason: std::io::Error,
}

/// # Errors
/// [`ListenError`] if the address is taken or not ours.
pub async fn bind(setting: &'static str, address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|reason| ListenError { setting, address, reason })
}

/// An address that is ours, and what is spoken there: plain http, or https.
#[derive(Debug)]
pub struct Listening {
    socket: TcpListener,
    tls: Option<Arc<Tls>>,
}

impl Listening {
    pub fn new(socket: TcpListener, tls: Option<Arc<Tls>>) -> Self {
        Self { socket, tls }
    }
}

impl From<TcpListener> for Listening {
    fn from(socket: TcpListener) -> Self {
        Self::new(socket, None)
    }
}

/// Serves until `stop` resolves, then drains.
pub async fn serve(
    listening: impl Into<Listening>,
    router: Router,
    limits: Connections,
    stop: impl Future<Output = ()>,
) {
    let Listening { mut socket, tls } = listening.into();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head);
    let slots = Arc::new(Semaphore::new(limits.most));
    let open = GracefulShutdown::new();
    // Dropped at the end: a client that is slow to shake hands must not hold it up.
    let (running, stopped) = watch::channel(());
    let mut stop = pin!(stop);
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            // The trait's `accept` waits where the socket's own would fail: without file descriptors, say.
            let (stream, peer) = Listener::accept(&mut socket).await;
            (slot, stream, peer)
        };
        let (slot, stream, peer) = tokio::select! {
            connection = next => connection,
            () = &mut stop => break,
        };
        let router = router.clone();
        let service = service_fn(move |request: http::Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().oneshot(request)
        });
        let (http, watcher, tls, stopped) = (http.clone(), open.watcher(), tls.clone(), stopped.clone());
        tokio::spawn(async move {
            // A client that goes away or talks nonsense is its own affair.
            match tls {
                None => {
                    let _ = watcher.watch(http.serve_connection(TokioIo::new(stream), service)).await;
                }
                Some(tls) => {
                    if let Some(stream) = shake_hands(&tls, stream, limits.head, stopped).await {
                        let _ = watcher.watch(http.serve_connection(TokioIo::new(stream), service)).await;
                    }
                }
            }
            drop(slot);
        });
    }
    drop((socket, running));
    if tokio::time::timeout(limits.drain, open.shutdown()).await.is_err() {
        tracing::warn!(event = "drain_timeout", "requests under way were cut off");
    }
}

/// `None` for a client that does not, in time, or that is none of ours.
async fn shake_hands(
    tls: &Tls,
    stream: TcpStream,
    limit: Duration,
    mut stopped: watch::Receiver<()>,
) -> Option<TlsStream<TcpStream>> {
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(limit, tls.accept(stream)) => shaken.ok()?,
        _ = stopped.changed() => return None,
    };
    // Also what a port scan looks like, so it is no warning.
    shaken.inspect_err(|error| tracing::info!(event = "handshake_failed", error = %error, "no TLS")).ok()
}
