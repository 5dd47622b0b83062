//! A stand-in for the brokers, and it says so: it speaks as much of Kite Connect 3 and of Alpaca's Trading API as proves a
//! key, for one account each, and misbehaves when it is told to.

use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use data_encoding::HEXLOWER;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// What the stand-in knows at Kite.
pub(crate) const KITE_USER: &str = "AB1234";
pub(crate) const KITE_KEY: &str = "kitekey1fortests";
pub(crate) const KITE_SECRET: &str = "kitesecret1ofthesetestsonly00001";
pub(crate) const KITE_TOKEN: &str = "kiteaccesstokenofthesetests00001";
/// What a login there would give.
pub(crate) const REQUEST_TOKEN: &str = "requesttokenofthesetests00000001";

/// What the stand-in knows at Alpaca.
pub(crate) const ALPACA_USER: &str = "PA1234567";
pub(crate) const ALPACA_KEY: &str = "PKALPACAKEYOFTESTS";
pub(crate) const ALPACA_SECRET: &str = "alpacasecret0ofthesetestsonly00000000001";

/// How it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Well,
    /// 429, to come again after 17 seconds.
    Limited,
    /// Takes the request and says nothing.
    Silent,
    /// As it should, once [`StandIn::go_on`] is called.
    Slow,
    /// This status without a body.
    Status(u16),
    /// This status, and this.
    Refuses(u16, &'static str),
    /// 200, and this.
    Says(&'static str),
    /// 200, and no end.
    Endless,
    /// To itself.
    Redirect,
}

#[derive(Clone)]
pub(crate) struct StandIn {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    manner: Mutex<Manner>,
    asked: Mutex<u64>,
    arrived: Notify,
    go_on: Notify,
}

impl StandIn {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shared = Shared {
            manner: Mutex::new(Manner::Well),
            asked: Mutex::new(0),
            arrived: Notify::new(),
            go_on: Notify::new(),
        };
        let stand_in = Self { port: listener.local_addr().unwrap().port(), shared: Arc::new(shared) };
        let router = Router::new().fallback(answer).with_state(stand_in.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        stand_in
    }

    /// The lines of a configuration that ask it.
    pub(crate) fn config(&self) -> String {
        let url = format!("http://127.0.0.1:{}", self.port);
        format!(
            "[trading_accounts]\nkite_url = \"{url}/kite\"\nalpaca_url = \"{url}/alpaca/\"\nbroker_timeout = \"1s\"\n"
        )
    }

    pub(crate) fn behave(&self, manner: Manner) {
        *self.shared.manner.lock().unwrap() = manner;
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> u64 {
        *self.shared.asked.lock().unwrap()
    }

    /// Resolves when a question has come.
    pub(crate) async fn arrived(&self) {
        self.shared.arrived.notified().await;
    }

    pub(crate) fn go_on(&self) {
        self.shared.go_on.notify_one();
    }
}

async fn answer(State(stand_in): State<StandIn>, request: Request) -> Response {
    *stand_in.shared.asked.lock().unwrap() += 1;
    stand_in.shared.arrived.notify_one();
    let manner = *stand_in.shared.manner.lock().unwrap();
    let mut response = match manner {
        Manner::Well => well(request).await,
        Manner::Limited => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "17")]).into_response(),
        Manner::Silent => std::future::pending().await,
        Manner::Slow => {
            stand_in.shared.go_on.notified().await;
            well(request).await
        }
        Manner::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Manner::Refuses(status, text) => (StatusCode::from_u16(status).unwrap(), text).into_response(),
        Manner::Says(text) => text.into_response(),
        Manner::Endless => {
            let more = || Some((Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 1 << 14])), ()));
            Body::from_stream(futures_util::stream::unfold((), move |()| async move { more() }))
                .into_response()
        }
        Manner::Redirect => {
            let location = format!("http://127.0.0.1:{}/elsewhere", stand_in.port);
            (StatusCode::TEMPORARY_REDIRECT, [("location", location)]).into_response()
        }
    };
    response.headers_mut().insert("server", "stand-in, no broker".parse().unwrap());
    response
}

async fn well(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 16).await.unwrap();
    match (parts.method.as_str(), parts.uri.path()) {
        ("POST", "/kite/session/token") => kite(&parts.headers, &body),
        ("GET", "/alpaca/v2/account") => alpaca(&parts.headers),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn kite(headers: &HeaderMap, body: &[u8]) -> Response {
    assert_eq!(headers["x-kite-version"], "3");
    let field = |name: &str| {
        let pair = url::form_urlencoded::parse(body).find(|(key, _)| key == name);
        pair.map(|(_, value)| value.into_owned()).unwrap_or_default()
    };
    let refused = |status: u16, kind: &str, message: &str| {
        let body = json!({"status": "error", "message": message, "data": null, "error_type": kind});
        (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
    };
    if field("api_key") != KITE_KEY {
        return refused(400, "InputException", "Invalid `api_key`.");
    }
    let checksum = Sha256::digest(format!("{KITE_KEY}{}{KITE_SECRET}", field("request_token")));
    if field("checksum") != HEXLOWER.encode(&checksum) {
        return refused(403, "TokenException", "Invalid `checksum`.");
    }
    if field("request_token") != REQUEST_TOKEN {
        return refused(403, "TokenException", "Token is invalid or has expired.");
    }
    let data = json!({"user_id": KITE_USER, "access_token": KITE_TOKEN, "api_key": KITE_KEY});
    Json(json!({"status": "success", "data": data})).into_response()
}

fn alpaca(headers: &HeaderMap) -> Response {
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|given| given == value);
    if is("apca-api-key-id", ALPACA_KEY) && is("apca-api-secret-key", ALPACA_SECRET) {
        return Json::<Value>(json!({"account_number": ALPACA_USER, "status": "ACTIVE"})).into_response();
    }
    (StatusCode::FORBIDDEN, Json(json!({"code": 40_310_000, "message": "forbidden."}))).into_response()
}
