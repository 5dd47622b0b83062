//! Identity headers from outside, however they are written: none reaches an upstream, also where nothing but the filter stands
//! in their way.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::net::TcpStream;

use super::stage::{Stage, bearer, config, token};
use super::{module, raw};

const IDENTITY: [&str; 5] = ["x-user-id", "x-user-email", "x-user-roles", "x-session-id", "x-auth-method"];

/// What some server takes for these names; all are good names of headers (RFC 9110 §5.6.2).
fn spellings() -> Vec<String> {
    let separated = |name: &str| ["-", "_", ".", "!", "~", "'", "|"].map(|by| name.replace('-', by));
    let mixed = ["x-user_id", "x_user-id", "x.user-roles"].map(str::to_owned);
    IDENTITY.iter().flat_map(|name| separated(name)).chain(mixed).collect()
}

/// That the upstream was told of this person by the edge, once, and of nobody by the client.
fn told(text: &str, identities: &[&str]) {
    let named: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("x-user-id: ")).collect();
    assert_eq!(named, identities, "{text}");
    assert!(!text.contains("mallory"), "{text}");
}

#[tokio::test]
async fn no_spelling_of_an_identity_header_reaches_an_upstream() {
    let stage = Stage::start(module(), &[config()]).await;
    let port = stage.edge.port;
    let ada = bearer(&token("ada", 900));
    let lower: Vec<_> = spellings().iter().map(|name| format!("{name}: mallory")).collect();
    let upper: Vec<_> = spellings().iter().map(|name| format!("{}:mallory", name.to_uppercase())).collect();
    let twice = ["x-user-id: mallory", "X-User-Id:", "x-user-id:\tmallory", "x-user-id: u-ada,mallory"];
    let twice = twice.map(str::to_owned).to_vec();
    for forged in [&lower, &upper, &twice] {
        let forged: Vec<_> = forged.iter().map(String::as_bytes).collect();
        let public = raw::request(port, b"GET", b"/public/x", &forged).await;
        assert!(public.reached(), "{}", public.text);
        told(&public.text, &[]);
        let known = raw::request(port, b"GET", b"/api/x", &[&forged[..], &[ada.as_bytes()]].concat()).await;
        assert!(known.reached(), "{}", known.text);
        told(&known.text, &["u-ada"]);
        // Between credential and identity, nominated for removal at the next hop.
        for connection in [&b"connection: x-user-id, x-user-roles"[..], b"connection: close, x-user-id"] {
            let headers =
                [&forged[..], &[ada.as_bytes(), connection, b"proxy-connection: x-user-id"]].concat();
            let nominated = raw::request(port, b"GET", b"/api/x", &headers).await;
            assert!(nominated.reached(), "{}", nominated.text);
            told(&nominated.text, &["u-ada"]);
        }
        let handshake: [&[u8]; 4] = [
            b"connection: x-user-id, Upgrade",
            b"connection: x-user-roles",
            b"upgrade: websocket",
            b"sec-websocket-version: 13",
        ];
        let refused = raw::request(port, b"GET", b"/ws/refuses", &[&forged[..], &handshake].concat()).await;
        assert!(refused.is_refused(401, "missing_token"), "{}", refused.text);
        let headers = [&forged[..], &handshake, &[ada.as_bytes()]].concat();
        assert_eq!(raw::request(port, b"GET", b"/ws/refuses", &headers).await.status, 400, "by the upstream");
    }
    // What is no header at all, or two in one.
    for odd in [
        &b"x-user-id : mallory"[..],
        b"x-user-id\t: mallory",
        b" x-user-id: mallory",
        b"x-note: 1\r\n x-user-id: mallory",
        b"x-note: 1\rx-user-id: mallory",
        b"x-note: 1\nx-user-id: mallory",
        b"x-note: \0x-user-id: mallory",
        b"x-user-id\xff: mallory",
        b": mallory",
        b"x-user-id mallory",
    ] {
        let answer = raw::request(port, b"GET", b"/api/x", &[odd, ada.as_bytes()]).await;
        if answer.reached() {
            // At most as part of what is harmless.
            assert!(!answer.text.contains("\nx-user-id: mallory"), "{}", answer.text);
            assert_eq!(answer.identities(), ["u-ada"], "{}", answer.text);
        }
    }
    let connections = stage.upstream.seen();
    let connections = connections.lines().filter_map(|line| line.strip_prefix("connection: "));
    assert!(connections.clone().all(|list| list.eq_ignore_ascii_case("upgrade")), "{connections:?}");
    stage.stop().await;
}

#[tokio::test]
async fn by_http2_and_as_trailers_they_reach_none_either() {
    let stage = Stage::start(module(), &[config()]).await;
    let ada = format!("Bearer {}", token("ada", 900));
    let (names, edge) = (spellings(), stage.edge.port);
    let forged: Vec<_> = names.iter().map(|name| (&**name, "mallory")).collect();
    for (path, authorization, identities) in
        [("/public/x", None, &[][..]), ("/api/x", Some(&*ada), &["u-ada"])]
    {
        let pseudo = [(":method", "GET"), (":scheme", "http"), (":authority", "edge"), (":path", path)];
        let token = authorization.map(|token| ("authorization", token));
        let sent = pseudo.into_iter().chain(forged.clone()).chain(token);
        told(&raw::http2(edge, &sent.clone().collect::<Vec<_>>()).await, identities);
        // These are malformed (RFC 9113 §8.2): the request is refused as a whole.
        for odd in
            [("X-User-Id", "mallory"), ("connection", "x-user-id"), ("x-user-id ", "mallory"), ("", "x")]
        {
            let answer = raw::http2(edge, &sent.clone().chain([odd]).collect::<Vec<_>>()).await;
            assert!(!answer.contains("x-forwarded-proto"), "{odd:?}: {answer}");
        }
    }

    let mut trailers = HeaderMap::new();
    for name in
        spellings().iter().map(String::as_str).chain(["x-request-id", "x_request_id", "authorization"])
    {
        trailers
            .insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static("mallory"));
    }
    trailers.insert("x-checksum", HeaderValue::from_static("7"));
    for (path, identities) in [("/public/x", &[][..]), ("/api/x", &["u-ada"])] {
        let (client, connection) =
            h2::client::handshake(TcpStream::connect(("127.0.0.1", edge)).await.unwrap()).await.unwrap();
        tokio::spawn(connection);
        let request =
            http::Request::post(stage.edge.url(path)).header("authorization", &ada).body(()).unwrap();
        let (answer, mut body) = client.ready().await.unwrap().send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"body"), false).unwrap();
        body.send_trailers(trailers.clone()).unwrap();
        let mut echoed = answer.await.unwrap().into_body();
        let mut text = String::new();
        while let Some(part) = echoed.data().await {
            text.push_str(std::str::from_utf8(&part.unwrap()).unwrap());
        }
        assert!(text.contains("x-checksum: 7\r\n"), "trailers go on: {text}");
        told(&text, identities);

        let lines: String =
            trailers.iter().map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap())).collect();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: edge\r\nauthorization: {ada}\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n{lines}\r\n"
        );
        let answer = raw::send(edge, request.as_bytes()).await;
        assert!(answer.text.contains("x-checksum: 7\r\n"), "trailers go on: {}", answer.text);
        told(&answer.text, identities);
    }
    assert!(!stage.upstream.seen().contains("mallory"));
    stage.stop().await;
}
