//! The filter in an Envoy of the test's own, before an upstream that tells what reached it and an issuer that says what a
//! test wants it to.

mod issuer;
mod upstream;

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use countersign_claims::AccessClaims;
use countersign_tests::host::{Issuer, jwks};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use super::alone::{Alone, PATIENCE};
use super::raw::{self, Answer};
use issuer::Played;
pub(crate) use issuer::Reply;
use upstream::Upstream;

const TEMPLATE: &str = include_str!("stage.yaml");
/// By what the issuer knows the edge.
pub(crate) const SERVICE_TOKEN: &str = "cs_service_0123456789";
/// The one API key that an honest issuer knows.
pub(crate) const KEY: &str = "cs_key_0123456789";

pub(crate) fn issuer() -> Issuer {
    Issuer::new("k1", 1)
}

pub(crate) fn now() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "Envoy and its issuer go by the clock of the machine")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

/// Somebody whose token is good for so many seconds from now on.
pub(crate) fn claims(name: &str, lifetime: i64) -> AccessClaims {
    AccessClaims {
        sub: format!("u-{name}"),
        session_id: Some(format!("s-{name}")),
        iat: None,
        auth_time: None,
        exp: now() + lifetime,
        ..Issuer::claims()
    }
}

pub(crate) fn token(name: &str, lifetime: i64) -> String {
    issuer().token(&claims(name, lifetime))
}

/// The header line.
pub(crate) fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}")
}

/// The issuer's keys are in it; what else there is to know, the issuer is asked for.
pub(crate) fn config() -> Value {
    json!({
        "issuer": "user_service", "audiences": ["trading_platform"], "clock_skew": "0s",
        "keys": {"inline": jwks([&issuer()])},
        "revocations": {"cluster": "issuer", "path": "/revocations"},
        "api_keys": {"cluster": "issuer", "path": "/exchange"},
        "rules": [
            {"name": "public", "match": {"prefix": "/public/"}, "allow": "anyone"},
            {"name": "ws", "match": {"prefix": "/ws/", "upgrade": "websocket"},
             "credentials": ["bearer", "query:token", "subprotocol"], "allow": "authenticated"},
            {"name": "api", "match": {"prefix": "/api/"}, "credentials": ["bearer", "api_key"], "allow": "authenticated"},
        ],
    })
}

/// [`config`] with the keys from the issuer.
pub(crate) fn remote_keys(path: &str) -> Value {
    let mut config = config();
    config["keys"] = json!({"remote": {"cluster": "issuer", "path": path, "refresh": "1s", "timeout": "1s"}});
    config
}

pub(crate) struct Stage {
    pub(crate) edge: Alone,
    pub(crate) issuer: Arc<Played>,
    pub(crate) upstream: Arc<Upstream>,
}

impl Stage {
    /// With a listener for each of the configurations, all in one VM, and two workers.
    pub(crate) async fn start(module: &Path, configs: &[Value]) -> Self {
        Self::start_with(module, configs, "", &[]).await
    }

    /// With more at the end of the bootstrap and in the environment.
    pub(crate) async fn start_with(
        module: &Path,
        configs: &[Value],
        more: &str,
        environment: &[(&str, &OsStr)],
    ) -> Self {
        let [first, second] =
            [TcpListener::bind("127.0.0.1:0").await, TcpListener::bind("127.0.0.1:0").await]
                .map(Result::unwrap);
        let filled = TEMPLATE
            .replace("$MODULE", module.to_str().unwrap())
            .replace("$TOKEN", SERVICE_TOKEN)
            .replace("$UPSTREAM", &first.local_addr().unwrap().port().to_string())
            .replace("$ISSUER", &second.local_addr().unwrap().port().to_string());
        let (head, listener) = filled.split_at(filled.find("    - name: edge-").unwrap());
        let listeners = configs.iter().enumerate().map(|(number, config)| {
            // Envoy lists them by name.
            listener.replace("$NUMBER", &format!("{number:02}")).replace("$CONFIG", &config.to_string())
        });
        let bootstrap = format!("{head}{}\n{more}", listeners.collect::<String>());
        let (upstream, issuer) = (Arc::<Upstream>::default(), Arc::<Played>::default());
        tokio::spawn(Arc::clone(&upstream).serve(first));
        tokio::spawn(Arc::clone(&issuer).serve(second));
        Self { edge: Alone::start_with(&bootstrap, 2, environment).await, issuer, upstream }
    }

    /// GET below `/api/`, with this header line.
    pub(crate) async fn get(&self, header: &str) -> Answer {
        raw::request(self.edge.port, b"GET", b"/api/x", &[header.as_bytes()]).await
    }

    /// Asks until both workers answer as wanted.
    pub(crate) async fn until(&self, what: &str, header: &str, wanted: impl Fn(&Answer) -> bool) {
        self.until_at(self.edge.port, what, header, wanted).await;
    }

    /// The same at one of several listeners.
    pub(crate) async fn until_at(
        &self,
        port: u16,
        what: &str,
        header: &str,
        wanted: impl Fn(&Answer) -> bool,
    ) {
        let deadline = Instant::now() + PATIENCE;
        let mut in_a_row = 0;
        while in_a_row < BOTH_WORKERS {
            let answer = raw::request(port, b"GET", b"/api/x", &[header.as_bytes()]).await;
            if wanted(&answer) {
                in_a_row += 1;
            } else {
                assert!(Instant::now() < deadline, "{what}: {}", answer.text);
                in_a_row = 0;
                sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Opens a WebSocket and reads the upstream's first word.
    pub(crate) async fn open(&self, path: &str, header: &str) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.edge.port)).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: edge\r\n{header}\r\n{HANDSHAKE}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        // No more than the head is read: the stream goes on.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        let mut welcome = [0; WELCOME.len()];
        stream.read_exact(&mut welcome).await.unwrap();
        assert_eq!(welcome, WELCOME);
        stream
    }

    /// Waits until the log has this in it.
    pub(crate) async fn logged(&self, needle: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.edge.log().contains(needle) {
            assert!(Instant::now() < deadline, "no {needle} in {}", self.edge.log());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// That the edge serves as before, behind each listener, that no VM has trapped, and that nothing secret is logged.
    /// Returns the log.
    pub(crate) async fn stop(self) -> String {
        self.stop_with(&token("control", 900)).await
    }

    /// The same, with the token of somebody who must be served.
    pub(crate) async fn stop_with(self, token: &str) -> String {
        for port in &self.edge.ports {
            let served = raw::request(*port, b"GET", b"/api/x", &[bearer(token).as_bytes()]).await;
            assert!(served.reached(), "{}", served.text);
            assert_eq!(served.identities(), ["u-control"], "{}", served.text);
        }
        let log = self.edge.stop().await;
        // An empty log would prove nothing: what was admitted stands in it, too.
        assert!(log.contains(r#""path":"/api/x","reason":null"#), "{log}");
        assert!(!log.contains(KEY) && !log.contains(SERVICE_TOKEN) && !log.contains("eyJ"), "{log}");
        log
    }
}

/// So many answers in a row come from both workers: each is on a connection of its own, and the kernel draws a worker for it.
pub(crate) const BOTH_WORKERS: usize = 16;

pub(crate) const HANDSHAKE: &str = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                                    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
/// What the upstream says first on a WebSocket.
pub(crate) const WELCOME: [u8; 9] = *b"\x81\x07welcome";

/// Reads frames until the connection ends; the last of them, which must be whole.
pub(crate) async fn last_frame(stream: &mut TcpStream) -> Vec<u8> {
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

/// The frame by which the edge ends a WebSocket.
pub(crate) fn close_frame(reason: &str) -> Vec<u8> {
    [&[0x88, u8::try_from(reason.len() + 2).unwrap(), 0x03, 0xf0], reason.as_bytes()].concat()
}

impl Answer {
    /// Whether it is the upstream's, which gives back what reached it.
    pub(crate) fn reached(&self) -> bool {
        self.status == 200 && self.text.contains("x-forwarded-proto: ")
    }

    /// Whom the upstream was told of.
    pub(crate) fn identities(&self) -> Vec<&str> {
        self.text.lines().filter_map(|line| line.strip_prefix("x-user-id: ")).collect()
    }

    /// That it is a refusal with this reason.
    pub(crate) fn is_refused(&self, status: u16, reason: &str) -> bool {
        self.status == status && self.text.contains(&format!(r#""reason":"{reason}""#))
    }
}

/// The next request, without its body; `None` at the end of the connection.
async fn read_head(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_until(b'\n', &mut head).await.ok()? == 0 {
            return None;
        }
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

fn content_length(head: &str) -> usize {
    head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or_default()
}
