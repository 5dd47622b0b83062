//! Many people on one HTTP/2 connection, as behind a proxy: each stream is its own, also where some wait and others go.

use std::time::Duration;

use bytes::Bytes;
use countersign_claims::AccessClaims;
use h2::Reason;
use serde_json::json;
use tokio::net::TcpStream;

use super::module;
use super::stage::{Reply, Stage, claims, config, issuer, token};

/// The key's number.
fn number(body: &str) -> Option<u64> {
    body.strip_prefix(r#"{"api_key":"key-"#)?.strip_suffix(r#""}"#)?.parse().ok()
}

#[tokio::test]
async fn interleaved_streams_keep_their_own_tokens_and_keys() {
    const STREAMS: u64 = 96;
    let stage = Stage::start(module(), &[config()]).await;
    // Keys are answered the later the sooner they came; some are not good.
    stage.issuer.plays("/exchange", |asked| {
        let number = number(&asked.body).unwrap();
        let claims = AccessClaims { amr: vec!["api_key".into()], ..claims(&format!("key-{number}"), 900) };
        let token = json!({"access_token": issuer().token(&claims), "expires_in": 900});
        let answer = match number % 8 {
            3 => Reply::Answer(401, json!({"reason": "api_key_invalid"}).to_string()),
            _ => Reply::Answer(200, token.to_string()),
        };
        Reply::Late(Duration::from_millis(4 * (STREAMS - number)), Box::new(answer))
    });
    let stream = TcpStream::connect(("127.0.0.1", stage.edge.port)).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let (expired, forged) = (token("late", -60), token("late", 900) + "AA");
    let mut streams = Vec::new();
    for stream in 0..STREAMS {
        let request = http::Request::post(stage.edge.url("/api/x")).header("x-user-id", "mallory");
        let (request, expected) = match stream % 6 {
            0 | 1 => {
                let name = format!("p{stream}");
                let authorization = format!("Bearer {}", token(&name, 900));
                (request.header("authorization", authorization), Ok(name))
            }
            2 | 3 => {
                let refused = stream % 8 == 3;
                let expected = if refused { Err("api_key_refused") } else { Ok(format!("key-{stream}")) };
                (request.header("x-api-key", format!("key-{stream}")), expected)
            }
            4 => (request.header("authorization", format!("Bearer {expired}")), Err("token_expired")),
            _ => (request.header("authorization", format!("Bearer {forged}")), Err("malformed_token")),
        };
        client = client.ready().await.unwrap();
        let (answer, body) = client.send_request(request.body(()).unwrap(), false).unwrap();
        streams.push((stream, answer, body, expected));
    }
    // They are ended the other way round; some go away while they wait.
    for (stream, _, body, _) in streams.iter_mut().rev() {
        if *stream % 9 == 2 {
            body.send_reset(Reason::CANCEL);
        } else {
            // A request that is refused may have been answered by now.
            let _ = body.send_data(Bytes::from(format!("of {stream}")), true);
        }
    }
    for (stream, answer, _body, expected) in streams.into_iter().filter(|(stream, ..)| stream % 9 != 2) {
        let mut echoed = answer.await.unwrap().into_body();
        let mut text = String::new();
        while let Some(part) = echoed.data().await {
            text.push_str(std::str::from_utf8(&part.unwrap()).unwrap());
        }
        match expected {
            Ok(name) => {
                let told: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("x-user-id: ")).collect();
                assert_eq!(told, [format!("u-{name}")], "{stream}: {text}");
                assert!(text.contains(&format!("of {stream}\r\n")), "{stream}: {text}");
            }
            Err(reason) => assert!(text.contains(reason), "{stream}: {text}"),
        }
    }
    assert!(!stage.upstream.seen().contains("mallory"));
    stage.stop().await;
}
