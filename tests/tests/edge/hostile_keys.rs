//! An issuer's keys that are not what they should be, each at a filter of its own in one Envoy: none takes the place of those in
//! force, and the next good set is taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use countersign_tests::host::{Issuer, jwks};
use serde_json::{Value, json};

use super::stage::{Reply, Stage, bearer, claims, issuer, remote_keys, token};
use super::{module, raw};

fn mallory() -> Issuer {
    Issuer::new("mallory", 66)
}

/// A set with Mallory's key in it, and with this one.
fn beside(key: Value) -> String {
    let mut set = jwks([&issuer(), &mallory()]);
    set["keys"].as_array_mut().unwrap().push(key);
    set.to_string()
}

fn changed(name: &str, value: Value) -> Value {
    let mut key = jwks([&Issuer::new("k2", 2)])["keys"][0].take();
    key[name] = value;
    key
}

fn many(count: usize) -> String {
    let keys: Vec<_> = (0..count).map(|number| changed("kid", json!(format!("k{number}")))).collect();
    json!({"keys": keys}).to_string()
}

/// What the issuer says instead of its keys.
fn hostile() -> Vec<(&'static str, Reply)> {
    let said = Reply::Answer;
    let bytes = |text: String| Reply::Bytes(text.into_bytes());
    let set = jwks([&mallory()]).to_string();
    let head = |lines: &str| format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
    vec![
        ("ten-thousand", said(200, many(10_000))),
        ("three-hundred", said(200, many(300))),
        ("huge", said(200, format!("{}{set}", " ".repeat(8 << 20)))),
        ("deep", said(200, "[".repeat(60_000))),
        ("empty", said(200, String::new())),
        ("no-json", said(200, "<html>".into())),
        ("no-text", bytes(head("content-length: 3\r\n") + "\u{0}\u{1}\u{2}")),
        ("keys-are-an-object", said(200, json!({"keys": {"0": mallory().jwk()}}).to_string())),
        ("keys-are-text", said(200, json!({"keys": set}).to_string())),
        ("a-key-is-null", said(200, beside(Value::Null))),
        ("a-key-is-a-number", said(200, beside(json!(7)))),
        ("kid-is-a-list", said(200, beside(changed("kid", json!(["k2"]))))),
        ("two-with-one-kid", said(200, beside(changed("kid", json!("k1"))))),
        ("a-private-key", said(200, beside(changed("d", json!("AA"))))),
        ("a-weak-key", said(200, beside(changed("x", json!("A".repeat(43)))))),
        ("a-short-key", said(200, beside(changed("x", json!("AAAA"))))),
        ("no-keys", said(200, json!({"keys": []}).to_string())),
        ("symmetric", said(200, json!({"keys": [{"kty": "oct", "kid": "k1", "k": "AAAA"}]}).to_string())),
        ("twice", said(200, format!("{set}{set}"))),
        ("500", said(500, set.clone())),
        ("404", said(404, set.clone())),
        ("204", said(204, String::new())),
        (
            "redirect",
            bytes(format!(
                "HTTP/1.1 302 Found\r\nlocation: /jwks/elsewhere\r\ncontent-length: {}\r\n\r\n{set}",
                set.len()
            )),
        ),
        ("breaks-off", bytes(head(&format!("content-length: {}\r\n", set.len() + 1)) + &set)),
        ("no-http", bytes(set.clone())),
        ("hangs-up", bytes(String::new())),
        ("slow", Reply::Silence),
        ("drips", Reply::Drips((head("content-length: 5000\r\n") + &" ".repeat(5000)).into_bytes())),
    ]
}

#[tokio::test]
async fn no_hostile_key_set_takes_the_place_of_the_one_in_force() {
    let cases = hostile();
    let paths: Vec<_> = cases.iter().map(|(name, _)| format!("/jwks/{name}")).collect();
    let configs: Vec<_> = paths.iter().map(|path| remote_keys(path)).collect();
    let stage = Stage::start(module(), &configs).await;
    // With each, the first answer is a good one, and in the end all are.
    let repentant = Arc::new(AtomicBool::new(false));
    for ((_, reply), path) in cases.into_iter().zip(&paths) {
        let repentant = Arc::clone(&repentant);
        let mut asked = 0;
        stage.issuer.plays(path, move |_| {
            asked += 1;
            match () {
                () if repentant.load(Ordering::Relaxed) => {
                    Reply::Answer(200, jwks([&issuer(), &Issuer::new("k2", 2)]).to_string())
                }
                () if asked == 1 => Reply::Honest,
                () => reply.clone(),
            }
        });
    }
    for path in &paths {
        stage.logged(&format!("keys from issuer{path} not taken: ")).await;
    }
    let (ada, forged) = (bearer(&token("ada", 900)), bearer(&mallory().token(&claims("ada", 900))));
    for (port, path) in stage.edge.ports.iter().zip(&paths) {
        let served = raw::request(*port, b"GET", b"/api/x", &[ada.as_bytes()]).await;
        assert!(served.reached(), "{path}: {}", served.text);
        let refused = raw::request(*port, b"GET", b"/api/x", &[forged.as_bytes()]).await;
        assert!(refused.is_refused(401, "unknown_key"), "{path}: {}", refused.text);
    }
    assert_eq!(stage.issuer.asked("/jwks/elsewhere"), 0, "nobody follows the redirect");
    assert!(!stage.upstream.seen().contains(forged.as_str()));

    repentant.store(true, Ordering::Relaxed);
    let new = bearer(&Issuer::new("k2", 2).token(&claims("ada", 900)));
    for (port, path) in stage.edge.ports.iter().zip(&paths) {
        let reached = |answer: &raw::Answer| answer.reached();
        stage.until_at(*port, &format!("the good keys of {path}"), &new, reached).await;
    }
    stage.stop().await;
}
