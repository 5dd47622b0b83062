//! A stand-in for AWS KMS: moto, which has its keys, its encryption contexts and its answers. Ahead of it is a proxy of ours
//! that counts what is asked, and does what moto cannot: be slow, throttle, have a key disabled.

use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use countersign_stack::tools;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::Notify;

/// How KMS behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Well,
    /// Takes the request and says nothing.
    Silent,
    /// As it should, once [`StandIn::go_on`] is called.
    Held,
    /// So many requests are too many; those after them are answered.
    Throttles(u64),
    /// So many more are answered; then the key is disabled.
    DisabledAfter(u64),
}

#[derive(Clone)]
pub(crate) struct StandIn {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    _moto: Child,
    moto: String,
    client: Client<HttpConnector, Body>,
    folder: tempfile::TempDir,
    manner: Mutex<Manner>,
    deleted: Mutex<Option<String>>,
    asked: Mutex<Vec<String>>,
    data_keys: Mutex<Vec<String>>,
    at_once: AtomicU64,
    most_at_once: AtomicU64,
    go_on: Notify,
}

impl StandIn {
    pub(crate) async fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/issuer/kms/server.py");
        let mut command = Command::new("python3");
        command.arg(script).env("PYTHONPATH", tools::moto().unwrap()).kill_on_drop(true);
        // Until this process ends, however it does.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut moto = command.spawn().unwrap();
        let mut lines = BufReader::new(moto.stdout.take().unwrap()).lines();
        let listening: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let credentials =
            "[default]\naws_access_key_id = countersign\naws_secret_access_key = of-these-tests\n";
        std::fs::write(folder.path().join("credentials"), credentials).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stand_in = Self {
            port: listener.local_addr().unwrap().port(),
            shared: Arc::new(Shared {
                _moto: moto,
                moto: format!("http://127.0.0.1:{}/", listening["port"]),
                client: Client::builder(TokioExecutor::new()).build_http(),
                folder,
                manner: Mutex::new(Manner::Well),
                deleted: Mutex::default(),
                asked: Mutex::default(),
                data_keys: Mutex::default(),
                at_once: AtomicU64::new(0),
                most_at_once: AtomicU64::new(0),
                go_on: Notify::new(),
            }),
        };
        let router = Router::new().fallback(answer).with_state(stand_in.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        stand_in
    }

    /// The ARN of a new key.
    pub(crate) async fn new_key(&self) -> String {
        let mut request = Request::post("/").body(Body::from("{}")).unwrap();
        // By these moto knows which of its services is meant.
        for (name, value) in [
            ("x-amz-target", "TrentService.CreateKey"),
            ("content-type", "application/x-amz-json-1.1"),
            ("authorization", "AWS4-HMAC-SHA256 Credential=x/20261120/eu-central-1/kms/aws4_request"),
        ] {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        let (parts, body) = request.into_parts();
        let (status, made) = self.ask_moto(parts, to_bytes(body, 1 << 16).await.unwrap()).await;
        assert_eq!(status, StatusCode::OK, "{made:?}");
        let made: Value = serde_json::from_slice(&made).unwrap();
        made["KeyMetadata"]["Arn"].as_str().unwrap().to_owned()
    }

    /// Lines of `[encryption]` that say how this is reached.
    pub(crate) fn reached(&self) -> String {
        let credentials = self.shared.folder.path().join("credentials");
        format!(
            "kms_endpoint_url = \"http://127.0.0.1:{}\"\nkms_credentials_file = {credentials:?}\nkms_timeout = \"8s\"\n",
            self.port
        )
    }

    pub(crate) fn behave(&self, manner: Manner) {
        *self.shared.manner.lock().unwrap() = manner;
    }

    /// Nothing can be done with this key any more.
    pub(crate) fn delete(&self, key: &str) {
        *self.shared.deleted.lock().unwrap() = Some(key.to_owned());
    }

    /// What it was asked since the last look.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.asked.lock().unwrap())
    }

    /// Every data key that went by in plain text, as Base64.
    pub(crate) fn data_keys(&self) -> Vec<String> {
        self.shared.data_keys.lock().unwrap().clone()
    }

    /// Requests that were under way at the same time, at most.
    pub(crate) fn most_at_once(&self) -> u64 {
        self.shared.most_at_once.load(Ordering::SeqCst)
    }

    /// Requests that are under way.
    pub(crate) fn at_once(&self) -> u64 {
        self.shared.at_once.load(Ordering::SeqCst)
    }

    pub(crate) fn go_on(&self) {
        self.behave(Manner::Well);
        self.shared.go_on.notify_waiters();
    }

    async fn ask_moto(&self, mut parts: Parts, body: Bytes) -> (StatusCode, Bytes) {
        parts.uri = self.shared.moto.parse().unwrap();
        let request = Request::from_parts(parts, Body::from(body));
        let (parts, body) = self.shared.client.request(request).await.unwrap().into_parts();
        (parts.status, to_bytes(Body::new(body), 1 << 16).await.unwrap())
    }

    fn note(&self, body: &Bytes) {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        self.shared.data_keys.lock().unwrap().extend(body["Plaintext"].as_str().map(str::to_owned));
    }
}

/// As AWS refuses.
fn refused(kind: &str, message: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({"__type": kind, "message": message}))).into_response()
}

async fn answer(State(stand_in): State<StandIn>, request: Request) -> Response {
    let shared = &stand_in.shared;
    let now = shared.at_once.fetch_add(1, Ordering::SeqCst) + 1;
    shared.most_at_once.fetch_max(now, Ordering::SeqCst);
    let _ended = Ended(&shared.at_once);
    let target = request.headers()["x-amz-target"].to_str().unwrap().to_owned();
    shared.asked.lock().unwrap().push(target.trim_start_matches("TrentService.").to_owned());
    // Before anything is awaited: what goes on waits for what comes after.
    let held = shared.go_on.notified();
    let manner = {
        let mut manner = shared.manner.lock().unwrap();
        let now = *manner;
        *manner = match now {
            Manner::Throttles(left) => Manner::Throttles(left.saturating_sub(1)),
            Manner::DisabledAfter(left) => Manner::DisabledAfter(left.saturating_sub(1)),
            other => other,
        };
        now
    };
    match manner {
        Manner::Silent => std::future::pending().await,
        Manner::Held => held.await,
        Manner::Throttles(1..) => return refused("ThrottlingException", "Rate exceeded"),
        Manner::DisabledAfter(0) => return refused("DisabledException", "the key is disabled"),
        Manner::Well | Manner::Throttles(0) | Manner::DisabledAfter(_) => {}
    }
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 16).await.unwrap();
    let is_named = |key: &String| String::from_utf8_lossy(&body).contains(key.as_str());
    if shared.deleted.lock().unwrap().as_ref().is_some_and(is_named) {
        return refused("KMSInvalidStateException", "the key is pending deletion");
    }
    stand_in.note(&body);
    let (status, answer) = stand_in.ask_moto(parts, body).await;
    stand_in.note(&answer);
    (status, [("content-type", "application/x-amz-json-1.1")], answer).into_response()
}

/// Counts down when a request is answered or given up.
struct Ended<'a>(&'a AtomicU64);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
