//! One request to a broker: HTTPS with the certificates of this machine, no redirects, no proxy, and an answer of bounded
//! size within a bounded time.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use http::header::{ACCEPT, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;

use super::Unavailable;

/// Longer answers are not read; bytes.
const LONGEST: usize = 64 * 1024;

/// How long to wait if the broker does not say, and the longest that is believed; seconds.
const WAIT: i64 = 10;
pub(super) const LONGEST_WAIT: i64 = 3600;

type Inner = HyperClient<HttpsConnector<HttpConnector>, Body>;

pub(super) struct Client {
    /// Made when a broker is asked for the first time: most issuers never ask one, and reading certificates takes time.
    inner: OnceLock<Inner>,
    timeout: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// What a broker answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Null if it is not JSON.
    pub(super) body: Value,
    /// Seconds.
    pub(super) retry_after: i64,
}

impl Answer {
    /// A text in the body; empty if there is none such.
    pub(super) fn text(&self, pointer: &str) -> &str {
        self.body.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }
}

impl Client {
    pub(super) fn new(timeout: i64) -> Self {
        Self { inner: OnceLock::new(), timeout: Duration::from_secs(timeout.unsigned_abs()) }
    }

    fn inner(&self) -> Result<&Inner, Unavailable> {
        if let Some(inner) = self.inner.get() {
            return Ok(inner);
        }
        let inner = connect().map_err(|error| away(&error))?;
        Ok(self.inner.get_or_init(|| inner))
    }

    /// # Errors
    /// [`Unavailable::Away`].
    pub(super) async fn send(&self, mut request: Request<Body>) -> Result<Answer, Unavailable> {
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static("countersign"));
        let inner = self.inner()?;
        let sent = async {
            let response = inner.request(request).await.map_err(|error| away(&error))?;
            let (parts, body) = response.into_parts();
            let retry_after =
                parts.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            let bytes = to_bytes(Body::new(body), LONGEST).await.map_err(|error| away(&error))?;
            Ok(Answer {
                status: parts.status,
                body: serde_json::from_slice(&bytes).unwrap_or_default(),
                retry_after: retry_after.unwrap_or(WAIT).clamp(1, LONGEST_WAIT),
            })
        };
        tokio::time::timeout(self.timeout, sent).await.map_err(|error| away(&error))?
    }
}

/// Without certificates on this machine, no broker is believed.
fn connect() -> Result<Inner, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let trust = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // The configuration takes http for this machine only.
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(trust).https_or_http().enable_http1().build();
    // No connection is kept: there are few questions, and a broker that closes one meanwhile is no failure.
    Ok(HyperClient::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector))
}

/// Errors of the connection tell no secret: what was sent is not part of them.
fn away(error: &(dyn std::error::Error + 'static)) -> Unavailable {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let error = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    tracing::warn!(event = "broker_unavailable", error, "a broker gave no answer");
    Unavailable::Away
}
