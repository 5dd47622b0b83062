//! An issuer that is slow, down or hostile about API keys: nobody gets in by its answers who should not, and keys and tokens that
//! are good are not held up.

use std::time::Duration;

use countersign_claims::AccessClaims;
use countersign_tests::host::Issuer;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::alone::PATIENCE;
use super::stage::{BOTH_WORKERS, KEY, Reply, Stage, bearer, claims, config, issuer, token};
use super::{module, raw};

/// What a key is exchanged for.
fn given(token: impl Into<Value>) -> Reply {
    Reply::Answer(200, json!({"access_token": token.into(), "expires_in": 900}).to_string())
}

/// Of somebody who should not get in.
fn by_key(change: impl FnOnce(&mut AccessClaims)) -> AccessClaims {
    let mut claims = AccessClaims { amr: vec!["api_key".into()], ..claims("mallory", 900) };
    change(&mut claims);
    claims
}

/// What the issuer says about a key of this name, and how the request with it is refused.
fn hostile() -> Vec<(&'static str, Reply, u16)> {
    let good = issuer().token(&by_key(|_| {}));
    let whole = json!({"access_token": good}).to_string();
    let said = Reply::Answer;
    let bytes = |text: String| Reply::Bytes(text.into_bytes());
    let ours = |change: fn(&mut AccessClaims)| given(issuer().token(&by_key(change)));
    vec![
        ("slow", Reply::Late(Duration::from_secs(5), Box::new(given(&*good))), 503),
        ("silent", Reply::Silence, 503),
        (
            "drips",
            Reply::Drips(format!("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{whole}").into_bytes()),
            503,
        ),
        ("hangs-up", bytes(String::new()), 503),
        ("no-http", bytes(whole.clone()), 503),
        ("breaks-off", bytes(format!("HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n{whole}")), 503),
        ("500", said(500, whole.clone()), 503),
        ("201", said(201, whole.clone()), 503),
        ("204", said(204, String::new()), 503),
        ("302", said(302, whole.clone()), 503),
        ("401-of-the-edge", said(401, json!({"reason": "service_token_invalid"}).to_string()), 503),
        ("401-of-nobody", said(401, whole.clone()), 503),
        ("401-unknown", said(401, json!({"reason": "api_key_invalid"}).to_string()), 401),
        ("401-ended", said(401, json!({"reason": "api_key_revoked"}).to_string()), 401),
        ("401-odd", said(401, json!({"reason": "api_key_\r\nx-user-id: mallory"}).to_string()), 401),
        ("empty", said(200, String::new()), 503),
        ("no-json", said(200, "<html>".into()), 503),
        ("deep", said(200, "[".repeat(20_000)), 503),
        ("no-token", said(200, "{}".into()), 503),
        ("a-number", given(7), 503),
        ("an-empty-token", given(""), 503),
        ("huge", said(200, format!("{}{whole}", " ".repeat(4 << 20))), 503),
        ("a-long-token", given("x".repeat(9_000)), 503),
        ("no-jwt", given("a.b.c\r\nx-user-id: mallory"), 401),
        ("forged", given(Issuer::new("k1", 66).token(&by_key(|_| {}))), 401),
        ("of-another-key", given(Issuer::new("k9", 66).token(&by_key(|_| {}))), 503),
        ("for-a-password", ours(|claims| claims.amr = vec!["pwd".into()]), 401),
        ("for-nothing", ours(|claims| claims.amr = vec![]), 401),
        ("expired", ours(|claims| claims.exp -= 1000), 503),
        ("of-another-issuer", ours(|claims| claims.iss = "elsewhere".into()), 401),
        ("of-an-odd-user", ours(|claims| claims.sub = "u\r\nx-user-roles: admin".into()), 401),
    ]
}

#[tokio::test]
async fn no_hostile_answer_about_a_key_lets_anybody_in() {
    let mut config = config();
    config["api_keys"]["timeout"] = json!("1s");
    let stage = Stage::start(module(), &[config]).await;
    let cases = hostile();
    let named: Vec<_> =
        cases.iter().map(|(name, _, status)| (format!("x-api-key: key-{name}"), *status)).collect();
    stage.issuer.plays("/exchange", move |asked| {
        let said = cases.iter().find(|(name, ..)| asked.body == format!(r#"{{"api_key":"key-{name}"}}"#));
        said.map_or(Reply::Honest, |(_, reply, _)| reply.clone())
    });
    // All at once, so that they wait beside each other, and those that are good beside them.
    let (port, ada, good) = (stage.edge.port, bearer(&token("ada", 900)), format!("x-api-key: {KEY}"));
    for _ in 0..2 {
        let mut requests = JoinSet::new();
        for (header, status) in named.clone() {
            requests.spawn(async move {
                let answer = raw::request(port, b"GET", b"/api/x", &[header.as_bytes()]).await;
                assert_eq!(answer.status, status, "{header}: {}", answer.text);
                assert!(!answer.text.contains("key-") && !answer.text.contains("eyJ"), "{}", answer.text);
            });
        }
        assert_eq!(stage.get(&good).await.identities(), ["u-key"]);
        assert_eq!(stage.get(&ada).await.identities(), ["u-ada"]);
        while let Some(done) = requests.join_next().await {
            done.unwrap();
        }
    }
    let seen = stage.upstream.seen();
    assert!(!seen.contains("mallory") && !seen.contains("key-"), "{seen}");
    let log = stage.stop().await;
    assert!(!log.contains("key-slow") && !log.contains("mallory"), "{log}");
}

#[tokio::test]
async fn an_issuer_that_is_down_takes_no_good_key_away() {
    let mut config = config();
    config["api_keys"]["cache"] = json!("1s");
    let stage = Stage::start(module(), &[config]).await;
    let good = format!("x-api-key: {KEY}");
    // Each worker knows it.
    for _ in 0..BOTH_WORKERS {
        assert_eq!(stage.get(&good).await.identities(), ["u-key"]);
    }
    let before = stage.issuer.asked("/exchange");
    stage.issuer.plays("/exchange", |_| Reply::Bytes(Vec::new()));
    // Past its second, until both have asked in vain.
    let deadline = Instant::now() + PATIENCE;
    while stage.issuer.asked("/exchange") < before + 2 {
        assert_eq!(stage.get(&good).await.identities(), ["u-key"]);
        assert!(Instant::now() < deadline, "nobody asks again");
    }
    assert_eq!(stage.get(&good).await.identities(), ["u-key"]);
    let unknown = stage.get("x-api-key: another").await;
    assert!(unknown.is_refused(503, "unavailable"), "{}", unknown.text);
    stage.issuer.plays("/exchange", |_| Reply::Honest);
    stage
        .until("the issuer is back", "x-api-key: another", |answer| answer.is_refused(401, "api_key_refused"))
        .await;
    stage.stop().await;
}

#[tokio::test]
async fn an_issuer_that_does_not_answer_holds_no_good_key_up() {
    let mut config = config();
    config["api_keys"]["cache"] = json!("1s");
    // Longer than this test waits for anything.
    config["api_keys"]["timeout"] = json!("30s");
    let stage = Stage::start(module(), &[config]).await;
    let good = format!("x-api-key: {KEY}");
    for _ in 0..BOTH_WORKERS {
        assert_eq!(stage.get(&good).await.identities(), ["u-key"]);
    }
    let before = stage.issuer.asked("/exchange");
    stage.issuer.plays("/exchange", |_| Reply::Silence);
    let deadline = Instant::now() + PATIENCE;
    while stage.issuer.asked("/exchange") < before + 2 {
        assert_eq!(stage.get(&good).await.identities(), ["u-key"]);
        assert!(Instant::now() < deadline, "it waits for the issuer, or nobody asks");
    }
    for _ in 0..BOTH_WORKERS {
        assert_eq!(stage.get(&good).await.identities(), ["u-key"]);
    }
    assert!(Instant::now() < deadline, "it waits for the issuer");
    // What ends it does not wait for that answer either.
    stage.issuer.revoke("s-key");
    stage.until("it is revoked", &good, |answer| answer.is_refused(401, "revoked")).await;
    stage.stop().await;
}
