//! Revocation, live WebSockets and API keys on real Envoy with two workers.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::module;
use super::stage::{KEY, Reply, Stage, bearer, close_frame, config, last_frame, token};

async fn start() -> Stage {
    Stage::start(module(), &[config()]).await
}

#[tokio::test]
async fn a_session_that_ends_is_refused_and_its_streams_get_a_close_frame() {
    let stage = start().await;
    let (ada, bob) = (bearer(&token("ada", 900)), bearer(&token("bob", 900)));
    for _ in 0..10 {
        assert!(stage.get(&ada).await.reached());
    }
    let mut streams = Vec::new();
    for _ in 0..8 {
        streams.push(stage.open("/ws/quotes", &ada).await);
    }
    let mut silent = stage.open("/ws/silent", &ada).await;
    let mut other = stage.open("/ws/quotes", &bob).await;
    stage.issuer.revoke("s-ada");
    stage.until("ada is revoked", &ada, |answer| answer.is_refused(401, "revoked")).await;
    for stream in &mut streams {
        assert_eq!(last_frame(stream).await, close_frame("Authentication required"));
    }
    assert_eq!(last_frame(&mut silent).await, b"", "nobody spoke");
    assert!(stage.get(&bob).await.reached());
    let mut part = [0; 20_000];
    other.read_exact(&mut part).await.unwrap();
    drop(other);
    stage.logged(r#""reason":"revoked""#).await;
    stage.stop().await;
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let stage = start().await;
    let mut stream = stage.open("/ws/quotes", &bearer(&token("ada", 3))).await;
    let mut longer = stage.open("/ws/quotes", &bearer(&token("ada", 900))).await;
    assert_eq!(last_frame(&mut stream).await, close_frame("Token expired"));
    let mut part = [0; 20_000];
    longer.read_exact(&mut part).await.unwrap();
    stage.logged(r#""reason":"token_expired""#).await;
    stage.stop().await;
}

#[tokio::test]
async fn an_api_key_is_exchanged_once_for_all_who_bring_it() {
    let stage = Arc::new(start().await);
    // Time for others to bring the same key.
    stage.issuer.plays("/exchange", |_| Reply::Late(Duration::from_millis(100), Box::new(Reply::Honest)));
    let header = format!("x-api-key: {KEY}");
    let calls = (0..40).map(|_| {
        let (stage, header) = (Arc::clone(&stage), header.clone());
        tokio::spawn(async move { stage.get(&header).await })
    });
    for call in calls.collect::<Vec<_>>() {
        let answer = call.await.unwrap();
        assert!(answer.reached(), "{}", answer.text);
        assert_eq!(answer.identities(), ["u-key"], "{}", answer.text);
        assert!(answer.text.contains("x-auth-method: api_key\r\n"), "{}", answer.text);
        assert!(!answer.text.contains("x-api-key"), "{}", answer.text);
    }
    let exchanges = stage.issuer.asked("/exchange");
    assert!((1..=2).contains(&exchanges), "{exchanges} exchanges by two workers");
    assert!(stage.get("x-other: 1").await.is_refused(401, "missing_credential"));
    stage.issuer.revoke("s-key");
    stage.until("the key is still good", &header, |answer| answer.status == 401).await;
    stage.logged(r#""reason":"missing_credential""#).await;
    Arc::into_inner(stage).unwrap().stop().await;
}
