//! Revocation, live WebSockets and API keys on real Envoy with two workers. The issuer's internal listener and the upstream
//! are stand-ins, which say what a test wants them to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign_claims::AccessClaims;
use countersign_stack::process::{self, Service};
use countersign_stack::tools;
use countersign_tests::host::{Issuer, jwks};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::module;

const TEMPLATE: &str = include_str!("live.yaml");
const PATIENCE: Duration = Duration::from_secs(20);
const TOKEN: &str = "cs_service_0123456789";
const KEY: &str = "cs_key_0123456789";

fn issuer() -> Issuer {
    Issuer::new("k1", 1)
}

fn now() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "Envoy's clock cannot be moved")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

fn claims(name: &str, lifetime: i64) -> AccessClaims {
    AccessClaims {
        sub: format!("u-{name}"),
        session_id: Some(format!("s-{name}")),
        iat: None,
        auth_time: None,
        exp: now() + lifetime,
        ..Issuer::claims()
    }
}

fn token(name: &str, lifetime: i64) -> String {
    issuer().token(&claims(name, lifetime))
}

/// What the stand-in for the issuer has: sessions that have ended, in order, and how often it was asked about keys.
#[derive(Default)]
struct Internal {
    revoked: watch::Sender<Vec<String>>,
    exchanges: Mutex<usize>,
}

impl Internal {
    fn revoke(&self, session: &str) {
        self.revoked.send_modify(|revoked| revoked.push(session.into()));
    }

    async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let internal = Arc::clone(&self);
            tokio::spawn(async move {
                let mut stream = stream;
                while let Some(request) = read_head(&mut stream).await {
                    assert!(request.contains(&format!("x-service-token: {TOKEN}\r\n")), "{request}");
                    let answer = internal.answer(&mut stream, &request).await.to_string();
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", answer.len());
                    if stream.write_all(format!("{head}{answer}").as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    }

    async fn answer(&self, stream: &mut TcpStream, request: &str) -> Value {
        if request.starts_with("POST /exchange ") {
            let expected = format!(r#"{{"api_key":"{KEY}"}}"#);
            let mut body = vec![0; expected.len()];
            stream.read_exact(&mut body).await.unwrap();
            assert_eq!(String::from_utf8(body).unwrap(), expected);
            *self.exchanges.lock().unwrap() += 1;
            // Time for others to bring the same key.
            sleep(Duration::from_millis(100)).await;
            let claims = AccessClaims { amr: vec!["api_key".into()], ..claims("key", 900) };
            return json!({"access_token": issuer().token(&claims), "expires_in": 900});
        }
        let path = request.split(' ').nth(1).unwrap();
        let since =
            path.split("since=").nth(1).and_then(|rest| rest.split('&').next()?.parse::<usize>().ok());
        let mut revoked = self.revoked.subscribe();
        if let Some(since) = since {
            let news = revoked.wait_for(|revoked| revoked.len() > since);
            let _ = timeout(Duration::from_secs(20), news).await;
        }
        let revoked = self.revoked.borrow().clone();
        let entries = revoked.iter().skip(since.unwrap_or(0));
        let entries: Vec<_> = entries.map(|id| json!({"session_id": id, "exp": now() + 900})).collect();
        json!({"epoch": "e1", "sequence": revoked.len(), "entries": entries, "reset": since.is_none(), "complete": true})
    }
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(
        String::from_utf8(head)
            .unwrap()
            .to_ascii_lowercase()
            .replacen("get ", "GET ", 1)
            .replacen("post ", "POST ", 1),
    )
}

/// An upstream: echoes the request as its answer, or opens a WebSocket. `/ws/silent` says one word, others go on.
async fn upstream(listener: TcpListener) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            while let Some(request) = read_head(&mut stream).await {
                if !request.contains("upgrade: websocket") {
                    let head =
                        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{request}", request.len());
                    if stream.write_all(head.as_bytes()).await.is_err() {
                        return;
                    }
                    continue;
                }
                let head =
                    b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
                stream.write_all(head).await.unwrap();
                stream.write_all(b"\x81\x07welcome").await.unwrap();
                if request.contains("/ws/silent") {
                    let _ = stream.read_u8().await;
                    return;
                }
                // A long frame, written so that chunks end anywhere, and a short one.
                let long = [&[0x82, 126, 0x23, 0x28][..], &[0x88; 9000], b"\x81\x02hi"].concat();
                loop {
                    for part in long.chunks(1237) {
                        if stream.write_all(part).await.is_err() {
                            return;
                        }
                        sleep(Duration::from_millis(2)).await;
                    }
                }
            }
        });
    }
}

struct Edge {
    service: Service,
    port: u16,
    internal: Arc<Internal>,
    _folder: TempDir,
}

impl Edge {
    async fn start() -> Self {
        let config = json!({
            "issuer": "user_service", "audiences": ["trading_platform"], "clock_skew": "0s",
            "keys": {"inline": jwks([&issuer()])},
            "revocations": {"cluster": "issuer-internal", "path": "/revocations"},
            "api_keys": {"cluster": "issuer-internal", "path": "/exchange"},
            "rules": [
                {"name": "ws", "match": {"prefix": "/ws/", "upgrade": "websocket"}, "allow": "authenticated"},
                {"name": "api", "match": {"prefix": "/api/"}, "credentials": ["bearer", "api_key"], "allow": "authenticated"},
            ],
        });
        let internal = Arc::new(Internal::default());
        let [first, second] =
            [TcpListener::bind("127.0.0.1:0").await, TcpListener::bind("127.0.0.1:0").await]
                .map(Result::unwrap);
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let filled = TEMPLATE
            .replace("$MODULE", module().to_str().unwrap())
            .replace("$TOKEN", TOKEN)
            .replace("$CONFIG", &config.to_string())
            .replace("$UPSTREAM", &first.local_addr().unwrap().port().to_string())
            .replace("$INTERNAL", &second.local_addr().unwrap().port().to_string());
        std::fs::write(file("envoy.yaml"), filled).unwrap();
        tokio::spawn(upstream(first));
        tokio::spawn(Arc::clone(&internal).serve(second));
        let mut command = process::command(&tools::envoy().unwrap());
        command.arg("--config-path").arg(file("envoy.yaml")).arg("--admin-address-path").arg(file("admin"));
        command.args(["--disable-hot-restart", "--log-level", "warning", "--concurrency", "2"]);
        let service = Service::start("envoy", &mut command, folder.path(), false).unwrap();
        let mut edge = Self { service, port: 0, internal, _folder: folder };
        let deadline = Instant::now() + PATIENCE;
        while edge.port == 0 {
            assert_eq!(edge.service.has_ended(), None, "{}", edge.service.last_words().await);
            assert!(Instant::now() < deadline, "Envoy does not listen");
            sleep(Duration::from_millis(20)).await;
            let admin = std::fs::read_to_string(edge._folder.path().join("admin")).unwrap_or_default();
            edge.port = listening(&admin).await.unwrap_or_default();
        }
        edge
    }

    async fn get(&self, header: &str) -> (u16, String) {
        let request = format!("GET /api/x HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n{header}\r\n\r\n");
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
    }

    async fn open(&self, path: &str, token: &str) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: edge\r\nauthorization: Bearer {token}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await.unwrap();
        assert!(head.starts_with("http/1.1 101"), "{head}");
        let mut welcome = [0; 9];
        stream.read_exact(&mut welcome).await.unwrap();
        assert_eq!(&welcome, b"\x81\x07welcome");
        stream
    }

    /// That the access log has a line with this in it, that no VM has trapped, and that nothing secret is logged.
    async fn stop(self, logged: &str) {
        let deadline = Instant::now() + PATIENCE;
        let log = loop {
            let log = std::fs::read_to_string(&self.service.log).unwrap();
            if log.contains(logged) {
                break log;
            }
            assert!(Instant::now() < deadline, "no {logged} in {log}");
            sleep(Duration::from_millis(50)).await;
        };
        assert!(!log.contains("panicked") && !log.contains("RuntimeError"), "{log}");
        assert!(!log.contains(KEY) && !log.contains(TOKEN) && !log.contains("eyJ"), "{log}");
        self.service.stop().await.unwrap();
    }
}

async fn listening(admin: &str) -> Option<u16> {
    reqwest::get(format!("http://{admin}/ready")).await.ok()?.error_for_status().ok()?;
    let listeners =
        reqwest::get(format!("http://{admin}/listeners?format=json")).await.ok()?.text().await.ok()?;
    let listeners: Value = serde_json::from_str(&listeners).ok()?;
    listeners["listener_statuses"][0]["local_address"]["socket_address"]["port_value"]
        .as_u64()?
        .try_into()
        .ok()
}

/// Reads frames until the connection ends; the last of them, which must be whole.
async fn last_frame(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the connection ends").unwrap();
    let (mut rest, mut last) = (&bytes[..], &bytes[..0]);
    while !rest.is_empty() {
        let size = match rest[1] {
            126 => 4 + usize::from(u16::from_be_bytes([rest[2], rest[3]])),
            size => 2 + usize::from(size),
        };
        (last, rest) = rest.split_at(size);
    }
    last.to_vec()
}

fn close(reason: &str) -> Vec<u8> {
    [&[0x88, u8::try_from(reason.len() + 2).unwrap(), 0x03, 0xf0], reason.as_bytes()].concat()
}

#[tokio::test]
async fn a_session_that_ends_is_refused_and_its_streams_get_a_close_frame() {
    let edge = Edge::start().await;
    let (ada, bob) = (token("ada", 900), token("bob", 900));
    let bearer = |token: &str| format!("authorization: Bearer {token}");
    for _ in 0..10 {
        assert_eq!(edge.get(&bearer(&ada)).await.0, 200);
    }
    let mut streams = Vec::new();
    for _ in 0..8 {
        streams.push(edge.open("/ws/quotes", &ada).await);
    }
    let mut silent = edge.open("/ws/silent", &ada).await;
    let mut other = edge.open("/ws/quotes", &bob).await;
    edge.internal.revoke("s-ada");
    let deadline = Instant::now() + PATIENCE;
    let mut refused = 0;
    // Both workers: sixteen in a row.
    while refused < 16 {
        let (status, answer) = edge.get(&bearer(&ada)).await;
        refused = if status == 401 && answer.contains(r#""reason":"revoked""#) { refused + 1 } else { 0 };
        assert!(Instant::now() < deadline, "{answer}");
    }
    for stream in &mut streams {
        assert_eq!(last_frame(stream).await, close("Authentication required"));
    }
    assert_eq!(last_frame(&mut silent).await, b"", "nobody spoke");
    assert_eq!(edge.get(&bearer(&bob)).await.0, 200);
    let mut part = [0; 20_000];
    other.read_exact(&mut part).await.unwrap();
    drop(other);
    edge.stop(r#""reason":"revoked""#).await;
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let edge = Edge::start().await;
    let mut stream = edge.open("/ws/quotes", &token("ada", 3)).await;
    let mut longer = edge.open("/ws/quotes", &token("ada", 900)).await;
    assert_eq!(last_frame(&mut stream).await, close("Token expired"));
    let mut part = [0; 20_000];
    longer.read_exact(&mut part).await.unwrap();
    edge.stop(r#""reason":"token_expired""#).await;
}

#[tokio::test]
async fn an_api_key_is_exchanged_once_for_all_who_bring_it() {
    let edge = Arc::new(Edge::start().await);
    let header = format!("x-api-key: {KEY}");
    let calls = (0..40).map(|_| {
        let (edge, header) = (Arc::clone(&edge), header.clone());
        tokio::spawn(async move { edge.get(&header).await })
    });
    for call in calls.collect::<Vec<_>>() {
        let (status, answer) = call.await.unwrap();
        assert_eq!(status, 200, "{answer}");
        assert!(
            answer.contains("x-user-id: u-key\r\n") && answer.contains("x-auth-method: api_key\r\n"),
            "{answer}"
        );
        assert!(!answer.contains("x-api-key"), "{answer}");
    }
    let exchanges = *edge.internal.exchanges.lock().unwrap();
    assert!((1..=2).contains(&exchanges), "{exchanges} exchanges by two workers");
    assert_eq!(edge.get("x-other: 1").await.0, 401);
    edge.internal.revoke("s-key");
    let deadline = Instant::now() + PATIENCE;
    while edge.get(&header).await.0 != 401 {
        assert!(Instant::now() < deadline, "the key is still good");
    }
    Arc::into_inner(edge).unwrap().stop("missing_credential").await;
}
