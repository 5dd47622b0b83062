//! A feed of revocations that goes backwards, repeats, jumps or lies, each at a filter of its own in one Envoy: what was revoked
//! stays so, nobody else is refused, and the next good answer is taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::alone::PATIENCE;
use super::stage::{Reply, Stage, bearer, config, now, token};
use super::{module, raw};

/// A page that goes on from number 10, with Ada's session in it.
fn page() -> Value {
    let ada = json!({"session_id": "s-ada", "exp": now() + 900});
    json!({"epoch": "e1", "sequence": 12, "entries": [ada], "reset": false, "complete": true})
}

fn with(name: &str, value: Value) -> String {
    let mut page = page();
    page[name] = value;
    page.to_string()
}

fn with_entry(entry: Value) -> String {
    let mut page = page();
    page["entries"].as_array_mut().unwrap().push(entry);
    page.to_string()
}

/// What the issuer says after a good beginning, which was number 10. None of it can be believed.
fn hostile() -> Vec<(&'static str, Reply)> {
    let said = |body: String| Reply::Answer(200, body);
    let framed = |length: usize| {
        let body = page().to_string();
        Reply::Bytes(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes())
    };
    let length = page().to_string().len();
    let crowd: Vec<_> =
        (0..40_000).map(|n| json!({"session_id": format!("s-{n}"), "exp": now() + 900})).collect();
    let unfinished = |mut page: Value, entries: Value| {
        (page["entries"], page["complete"]) = (entries, json!(false));
        page.to_string()
    };
    vec![
        ("backwards", said(with("sequence", json!(9)))),
        ("to-zero", said(with("sequence", json!(0)))),
        ("below-zero", said(with("sequence", json!(-1)))),
        ("sequence-is-text", said(with("sequence", json!("12")))),
        ("sequence-too-large", said(page().to_string().replace("12", "18446744073709551616"))),
        ("another-epoch", said(with("epoch", json!("e2")))),
        ("no-epoch", said(with("epoch", Value::Null))),
        ("empty-epoch", said(with("epoch", json!("")))),
        ("long-epoch", said(with("epoch", json!("e".repeat(65))))),
        ("epoch-for-the-question", said(with("epoch", json!("e1&since=0 HTTP/1.1\r\nx-user-id: mallory")))),
        (
            "does-not-advance",
            said(unfinished(json!({"epoch": "e1", "sequence": 10, "reset": false}), json!([]))),
        ),
        ("advances-with-nothing", said(unfinished(page(), json!([])))),
        ("no-size", said(with("entries", Value::Null))),
        ("entries-are-an-object", said(with("entries", json!({})))),
        ("an-entry-is-null", said(with_entry(Value::Null))),
        ("exp-is-text", said(with_entry(json!({"session_id": "s-bob", "exp": "soon"})))),
        ("exp-is-no-number", said(with_entry(json!({"session_id": "s-bob", "exp": 1e30})))),
        ("session-is-a-number", said(with_entry(json!({"session_id": 7, "exp": now() + 900})))),
        ("no-page", said("{}".into())),
        ("no-json", said("<html>".into())),
        ("deep", said("[".repeat(60_000))),
        ("a-crowd", said(with("entries", json!(crowd)))),
        ("huge", said(format!("{}{}", " ".repeat(4 << 20), page()))),
        ("says-more-than-it-sends", framed(length + 1)),
        ("says-less-than-it-sends", framed(length - 1)),
        ("500", Reply::Answer(500, page().to_string())),
        ("401", Reply::Answer(401, page().to_string())),
        ("204", Reply::Answer(204, String::new())),
        ("redirect", Reply::Answer(302, page().to_string())),
        ("hangs-up", Reply::Bytes(Vec::new())),
        ("no-http", Reply::Bytes(page().to_string().into_bytes())),
    ]
}

#[tokio::test]
async fn no_hostile_feed_changes_what_is_known() {
    let cases = hostile();
    let paths: Vec<_> = cases.iter().map(|(name, _)| format!("/revocations/{name}")).collect();
    let configs = paths.iter().map(|path| {
        let mut config = config();
        config["revocations"]["path"] = json!(path);
        config
    });
    let stage = Stage::start(module(), &configs.collect::<Vec<_>>()).await;
    let repentant = Arc::new(AtomicBool::new(false));
    for ((_, reply), path) in cases.into_iter().zip(&paths) {
        let repentant = Arc::clone(&repentant);
        let whole = |sequence: u64, sessions: &[&str]| {
            let entries = sessions.iter().map(|id| json!({"session_id": id, "exp": now() + 900}));
            let entries: Vec<_> = entries.collect();
            json!({"epoch": "e1", "sequence": sequence, "entries": entries, "reset": true, "complete": true})
        };
        let mut begun = false;
        stage.issuer.plays(path, move |_| match std::mem::replace(&mut begun, true) {
            _ if repentant.load(Ordering::Relaxed) => {
                Reply::Answer(200, whole(13, &["s-eve", "s-bob"]).to_string())
            }
            true => reply.clone(),
            false => Reply::Answer(200, whole(10, &["s-eve"]).to_string()),
        });
    }
    for path in &paths {
        stage.logged(&format!("revocations from issuer{path} not taken: ")).await;
    }
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|name| bearer(&token(name, 900)));
    for (port, path) in stage.edge.ports.iter().zip(&paths) {
        let get = |header: &str| {
            let header = header.to_owned();
            async move { raw::request(*port, b"GET", b"/api/x", &[header.as_bytes()]).await }
        };
        let revoked = get(&eve).await;
        assert!(revoked.is_refused(401, "revoked"), "{path}: {}", revoked.text);
        for other in [&ada, &bob] {
            let served = get(other).await;
            assert!(served.reached(), "{path}: {}", served.text);
        }
    }
    // Not more than an issuer that is away.
    for path in &paths {
        let asked = stage.issuer.asked(path);
        assert!(asked < 40, "{path} was asked {asked} times");
    }

    repentant.store(true, Ordering::Relaxed);
    for (port, path) in stage.edge.ports.iter().zip(&paths) {
        let revoked = |answer: &raw::Answer| answer.is_refused(401, "revoked");
        stage.until_at(*port, &format!("the good feed of {path}"), &bob, revoked).await;
        stage.until_at(*port, path, &eve, revoked).await;
        stage.until_at(*port, path, &ada, raw::Answer::reached).await;
    }
    assert!(!stage.upstream.seen().contains("mallory"));
    stage.stop().await;
}

/// An issuer may give everything again and again, and say the same twice.
#[tokio::test]
async fn a_feed_that_repeats_itself_or_begins_another_epoch_is_followed() {
    let stage = Stage::start(module(), &[config()]).await;
    let restarted = Arc::new(AtomicBool::new(false));
    let asked_again = Arc::clone(&restarted);
    stage.issuer.plays("/revocations", move |asked| {
        let entry = |id: &str| json!({"session_id": id, "exp": now() + 900});
        let page = match asked_again.load(Ordering::Relaxed) {
            // Restored from a backup: what came after it is lost there.
            true => json!({"epoch": "e2", "sequence": 3, "entries": [entry("s-eve"), entry("s-eve")], "reset": true, "complete": true}),
            false if asked.target.contains("since=12") => {
                json!({"epoch": "e1", "sequence": 12, "entries": [entry("s-eve"), entry("s-bob")], "reset": false, "complete": true})
            }
            false => json!({"epoch": "e1", "sequence": 12, "entries": [entry("s-eve"), entry("s-bob")], "reset": true, "complete": true}),
        };
        Reply::Answer(200, page.to_string())
    });
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|name| bearer(&token(name, 900)));
    let revoked = |answer: &raw::Answer| answer.is_refused(401, "revoked");
    stage.until("revoked", &bob, revoked).await;
    let repeated = async {
        while stage.issuer.asked("/revocations") < 3 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, repeated).await.expect("it is asked again");
    // Whichever worker is asked; each hears of it by itself.
    stage.until("revoked with the same answer", &eve, revoked).await;
    assert!(stage.get(&ada).await.reached());
    restarted.store(true, Ordering::Relaxed);
    stage.until("the set of the new epoch", &bob, raw::Answer::reached).await;
    assert!(revoked(&stage.get(&eve).await) && stage.get(&ada).await.reached());
    let log = stage.stop().await;
    assert!(!log.contains("not taken"), "{log}");
}
