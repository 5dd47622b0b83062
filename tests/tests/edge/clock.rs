//! Clocks that are set, and a process that stood still, on real Envoy: its clocks are moved from outside, by a library that is
//! preloaded. Its issuer goes by the clock of the machine all the time.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

use countersign_claims::AccessClaims;
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use super::module;
use super::raw::Answer;
use super::stage::{
    KEY, Reply, Stage, bearer, claims, close_frame, config, issuer, last_frame, remote_keys, token,
};

/// What is written to it is how far ahead Envoy's clocks are.
struct Clocks {
    folder: TempDir,
}

impl Clocks {
    /// The machine's own.
    fn build() -> Self {
        let clocks = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::write(clocks.file(), [0; 16]).unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/edge/clock/moved.c");
        let mut compiler = Command::new("cc");
        compiler
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(clocks.library())
            .arg(source);
        assert!(compiler.status().unwrap().success());
        clocks
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ahead")
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("moved.so")
    }

    async fn stage(&self, config: serde_json::Value) -> Stage {
        let (library, file) = (self.library(), self.file());
        let environment = [("LD_PRELOAD", library.as_os_str()), ("CLOCKS_AHEAD", file.as_os_str())];
        Stage::start_with(module(), &[config], "", &environment).await
    }

    /// Sets the wall clock.
    fn set(&self, ahead: i64) {
        self.write(0, ahead);
    }

    /// Lets time pass, as it does for a process that stands still.
    fn pass(&self, seconds: i64) {
        self.write(0, seconds);
        self.write(8, seconds);
    }

    fn write(&self, at: u64, ahead: i64) {
        let file = std::fs::File::options().write(true).open(self.file()).unwrap();
        file.write_all_at(&ahead.to_ne_bytes(), at).unwrap();
    }
}

const HOUR: i64 = 3600;

fn revoked(answer: &Answer) -> bool {
    answer.is_refused(401, "revoked")
}

fn expired(answer: &Answer) -> bool {
    answer.is_refused(401, "token_expired")
}

/// Keys that are exchanged for tokens of a day.
fn exchange_for_a_day(stage: &Stage) {
    stage.issuer.plays("/exchange", |asked| {
        if asked.body != format!(r#"{{"api_key":"{KEY}"}}"#) {
            return Reply::Honest;
        }
        let claims = AccessClaims { amr: vec!["api_key".into()], ..claims("key", 24 * HOUR) };
        Reply::Answer(200, json!({"access_token": issuer().token(&claims), "expires_in": 900}).to_string())
    });
}

#[tokio::test]
async fn a_clock_that_is_set_forward_and_back_lets_nobody_in_and_stops_nothing() {
    let clocks = Clocks::build();
    let mut config = remote_keys("/jwks");
    (config["revocations"]["max_staleness"], config["revocations"]["when_stale"]) =
        (json!("1m"), json!("refuse"));
    let stage = clocks.stage(config).await;
    exchange_for_a_day(&stage);
    let key = format!("x-api-key: {KEY}");
    let [ada, eve, bob] = ["ada", "eve", "bob"].map(|name| bearer(&token(name, 900)));
    let root = bearer(&token("root", 24 * HOUR));
    stage.until("keys and feed are there", &ada, Answer::reached).await;
    stage.issuer.revoke("s-eve");
    stage.until("eve is revoked", &eve, revoked).await;
    stage.until("the key is good", &key, Answer::reached).await;
    let mut stream = stage.open("/ws/quotes", &ada).await;
    let mut longer = stage.open("/ws/quotes", &root).await;

    clocks.set(HOUR);
    stage.until("ada's time is over", &ada, expired).await;
    assert_eq!(last_frame(&mut stream).await, close_frame("Token expired"));
    // What was known of the feed is an hour old, for all that can be told, until it is asked again.
    stage.until("the feed is asked again", &root, Answer::reached).await;
    stage.until("the key is good", &key, Answer::reached).await;
    stage.until("another is asked about", "x-api-key: another", |answer| answer.status == 401).await;

    // What was over for a while, and forgotten, is not over now.
    clocks.set(0);
    stage.until("ada's time goes on", &ada, Answer::reached).await;
    stage.until("eve is still revoked", &eve, revoked).await;
    stage.issuer.revoke("s-bob");
    stage.until("bob is revoked", &bob, revoked).await;

    clocks.set(-HOUR);
    stage.issuer.revoke("s-ada");
    stage.until("ada is revoked", &ada, revoked).await;
    for header in [&eve, &bob] {
        assert!(revoked(&stage.get(header).await));
    }
    stage.until("the key is good", &key, Answer::reached).await;
    let asked = stage.issuer.asked("/jwks");
    stage
        .until("keys are fetched", &root, |answer| answer.reached() && stage.issuer.asked("/jwks") > asked)
        .await;
    stage.issuer.revoke("s-root");
    assert_eq!(last_frame(&mut longer).await, close_frame("Authentication required"));
    stage.stop().await;
}

#[tokio::test]
async fn an_envoy_that_stood_still_for_five_minutes_goes_on_with_what_is_true_now() {
    const STOOD: i64 = 300;
    let clocks = Clocks::build();
    let mut config = config();
    (config["revocations"]["max_staleness"], config["revocations"]["when_stale"]) =
        (json!("1m"), json!("refuse"));
    let stage = clocks.stage(config).await;
    exchange_for_a_day(&stage);
    let key = format!("x-api-key: {KEY}");
    let (ada, bob) = (bearer(&token("ada", STOOD - 60)), bearer(&token("bob", 900)));
    let root = bearer(&token("root", 900));
    for header in [&ada, &bob, &root, &key] {
        stage.until("it is served", header, Answer::reached).await;
    }
    let mut streams = [
        (stage.open("/ws/quotes", &ada).await, "Token expired"),
        (stage.open("/ws/quotes", &bob).await, "Authentication required"),
    ];
    stage.edge.signal(Signal::STOP);
    clocks.pass(STOOD);
    stage.issuer.revoke("s-bob");
    let asked = stage.issuer.asked("/exchange");
    stage.edge.signal(Signal::CONT);

    stage.until("ada's time is over", &ada, expired).await;
    stage.until("bob is revoked", &bob, revoked).await;
    stage.until("root is served", &root, Answer::reached).await;
    for (stream, reason) in &mut streams {
        assert_eq!(last_frame(stream).await, close_frame(reason));
    }
    stage
        .until("the key is asked about again", &key, |answer| {
            answer.reached() && stage.issuer.asked("/exchange") > asked
        })
        .await;
    stage.stop().await;
}
