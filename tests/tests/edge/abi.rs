//! The edges of the ABI, where a small host could be kinder than Envoy.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use bytes::Bytes;
use countersign_claims::AccessClaims;
use countersign_tests::host::{Issuer, jwks};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::alone::{Alone, PATIENCE};
use super::module;

const TEMPLATE: &str = include_str!("abi.yaml");

struct Edge(Alone);

fn issuer() -> Issuer {
    Issuer::new("k1", 1)
}

/// A token of somebody with these roles, for all time.
fn token(sub: &str, roles: &[&str]) -> String {
    let roles = roles.iter().map(|role| (*role).to_owned()).collect();
    let claims = AccessClaims {
        sub: sub.into(),
        roles,
        iat: None,
        auth_time: None,
        exp: 4_000_000_000,
        ..Issuer::claims()
    };
    issuer().token(&claims)
}

fn config(keys: Value, rules: Value) -> String {
    let config =
        json!({"issuer": "user_service", "audiences": ["trading_platform"], "keys": keys, "rules": rules});
    config.to_string()
}

impl Edge {
    /// Two configurations in one VM: the first wants a token below `/api/`, the second an administrator below
    /// `/api/admin/`. The first has keys from a cluster, too, whose answers break off.
    async fn start() -> Self {
        let inline = jwks([&issuer()]);
        let broken = json!({"cluster": "breaks-off", "path": "/", "refresh": "1s", "timeout": "1s"});
        let first = config(
            json!({"inline": inline, "remote": broken}),
            json!([{"name": "open", "match": {"prefix": "/open/"}, "allow": "anyone"},
                   {"name": "api", "match": {"prefix": "/api/"}, "allow": "authenticated"}]),
        );
        let second = config(
            json!({"inline": inline}),
            json!([{"name": "admin", "match": {"prefix": "/api/admin/"}, "allow": {"role": "admin"}},
                   {"name": "all", "match": {"prefix": "/"}, "allow": "authenticated"}]),
        );
        let bootstrap = TEMPLATE
            .replace("$MODULE", module().to_str().unwrap())
            .replace("$FIRST", &first)
            .replace("$SECOND", &second)
            .replace("$PORT", &breaks_off().to_string());
        Self(Alone::start(&bootstrap).await)
    }

    /// The status, and whom the route was told of.
    async fn get(&self, path: &str, token: Option<&str>, odd: bool) -> (u16, Option<String>) {
        let mut request = reqwest::Client::new().get(self.0.url(path));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if odd {
            request = request.header("x-make-odd", "1");
        }
        let answer = request.send().await.unwrap();
        let seen = answer.headers().get("x-seen-user-id").map(|value| value.to_str().unwrap().to_owned());
        (answer.status().as_u16(), seen)
    }

    /// That no VM has trapped: a worker whose VM has refuses everything.
    async fn stop(self) {
        assert_eq!(
            self.get("/api/x", Some(&token("u-last", &[])), false).await,
            (200, Some("u-last".into()))
        );
        self.0.stop().await;
    }
}

/// A server that promises more than it sends. Ends with the test.
fn breaks_off() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"keys\":");
        }
    });
    port
}

#[tokio::test]
async fn two_filters_of_one_vm_decide_each_by_its_own_rules() {
    let edge = Edge::start().await;
    let (ada, root) = (token("u-ada", &["user"]), token("u-root", &["admin"]));
    for _ in 0..10 {
        assert_eq!(edge.get("/api/x", None, false).await.0, 401);
        assert_eq!(edge.get("/api/x", Some(&ada), false).await, (200, Some("u-ada".into())));
        assert_eq!(edge.get("/api/admin/x", Some(&ada), false).await.0, 403);
        assert_eq!(edge.get("/api/admin/x", Some(&root), false).await, (200, Some("u-root".into())));
        // Open to the first, not to the second.
        assert_eq!(edge.get("/open/x", None, false).await.0, 401);
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_header_name_that_is_no_text_stops_nothing() {
    let edge = Edge::start().await;
    let ada = token("u-ada", &["user"]);
    assert_eq!(edge.get("/api/x", Some(&ada), true).await, (200, Some("u-ada".into())));
    assert_eq!(edge.get("/api/x", None, true).await.0, 401);
    edge.stop().await;
}

#[tokio::test]
async fn a_call_whose_answer_breaks_off_is_a_failed_attempt() {
    let edge = Edge::start().await;
    let failed = "wasmcustom.countersign_key_fetches.result.failed: ";
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stats = edge.0.ask("/stats?filter=countersign_key_fetches").await.unwrap();
        if stats.lines().any(|line| line.strip_prefix(failed).is_some_and(|count| count != "0")) {
            break;
        }
        assert!(Instant::now() < deadline, "{stats}");
        sleep(Duration::from_millis(50)).await;
    }
    let log = edge.0.log();
    assert!(log.contains("not taken: no answer"), "{log}");
    edge.stop().await;
}

/// A hundred streams of one HTTP/2 connection: all are begun before the first is ended, and they are ended the other way
/// round.
#[tokio::test]
async fn streams_that_share_a_connection_get_each_its_own_answer() {
    let edge = Edge::start().await;
    let (ada, root) = (token("u-ada", &["user"]), token("u-root", &["admin"]));
    let cases = [
        ("/api/x", Some(&ada), (200, Some("u-ada"))),
        ("/api/x", None, (401, None)),
        ("/api/admin/x", Some(&ada), (403, None)),
        ("/api/admin/x", Some(&root), (200, Some("u-root"))),
    ];
    let stream = TcpStream::connect(("127.0.0.1", edge.0.port)).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut streams = Vec::new();
    for (path, token, expected) in cases.into_iter().cycle().take(100) {
        let mut request = http::Request::post(edge.0.url(path));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        client = client.ready().await.unwrap();
        let (answer, body) = client.send_request(request.body(()).unwrap(), false).unwrap();
        streams.push((answer, body, expected));
    }
    for (_, body, _) in streams.iter_mut().rev() {
        // A request that is refused may have been answered by now.
        let _ = body.send_data(Bytes::from_static(b"the end"), true);
    }
    for (answer, _, expected) in streams {
        let answer = answer.await.unwrap();
        let seen = answer.headers().get("x-seen-user-id").map(|value| value.to_str().unwrap());
        assert_eq!((answer.status().as_u16(), seen), expected);
    }
    edge.stop().await;
}
