//! Credentials in a process that logs everything, that is killed, and that is told to rewrap.

use std::collections::BTreeMap;
use std::process::Stdio;

use countersign_issuer::audit::Origin;
use countersign_issuer::config::{Encryption, Secret};
use countersign_issuer::trading_accounts::AccountId;
use futures_util::future::join_all;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{PATIENCE, Running, send_to};
use crate::broker_stand_in::{REQUEST_TOKEN, StandIn};
use crate::command::{countersign, run};
use crate::kms;
use crate::stage::{Folder, PASSWORD, TestApp};
use crate::trading_accounts::{ACCOUNTS, ENCRYPTION, SECRETS, alpaca, kite, linked};

/// The body of an answer, which has this status.
#[track_caller]
pub(super) fn body(answer: &str, status: u16) -> Value {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap()
}

/// The whole answer to what this token sends; `None` if there is none.
pub(super) fn send_by(issuer: std::net::SocketAddr, token: &str, path: &str, body: &Value) -> Option<String> {
    let body = body.to_string();
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}");
    let head = format!("{head}\r\ncontent-type: application/json\r\ncontent-length: {length}");
    send_to(issuer, &format!("{head}\r\n\r\n{body}"))
}

/// The access token of someone new.
pub(super) fn registered(issuer: &Running, email: &str) -> String {
    let answer =
        issuer.post("/v1/auth/register", &json!({"email": email, "password": PASSWORD, "name": "Ada"}));
    body(&answer, 201)["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_everything_has_no_credential() {
    let stand_in = StandIn::start().await;
    let more = format!("{ENCRYPTION}{}[log]\nlevel = \"trace\"\nformat = \"json\"\n", stand_in.config());
    let issuer = Running::start_as(Folder::new(&more), |command| command);
    tokio::task::spawn_blocking(move || {
        let token = registered(&issuer, "ada@example.com");
        let send = |path: &str, body: &Value| send_by(issuer.address, &token, path, body).unwrap();
        let id = body(&send(ACCOUNTS, &kite()), 201)["account_id"].as_str().unwrap().to_owned();
        let (verify, rotate) = (format!("{ACCOUNTS}/{id}/verify"), format!("{ACCOUNTS}/{id}/rotate"));
        body(&send(&verify, &json!({"request_token": REQUEST_TOKEN})), 200);
        body(&send(&rotate, &kite()), 200);
        let second = body(&send(ACCOUNTS, &alpaca()), 201)["account_id"].as_str().unwrap().to_owned();
        body(&send(&format!("{ACCOUNTS}/{second}/verify"), &json!({})), 200);
        // Also of what is refused.
        body(&send(ACCOUNTS, &kite()), 409);
        let mut odd = kite();
        odd["api_secret"] = json!(format!("{} ", odd["api_secret"].as_str().unwrap()));
        body(&send(ACCOUNTS, &odd), 422);
        issuer.signal("TERM");
        let (mut lines, mut told) = (0, false);
        while let Ok(line) = issuer.log.recv_timeout(PATIENCE) {
            let text = line.to_string();
            for secret in SECRETS {
                assert!(!text.contains(secret), "{text}");
            }
            lines += 1;
            told |= line["event"] == "trading_account_verified";
        }
        // At this level the libraries below us talk, too.
        assert!(told && lines > 100, "{lines}");
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_everything_has_no_data_key_on_its_way_to_kms() {
    let kms = kms::stand_in::StandIn::start().await;
    let broker = StandIn::start().await;
    let lines = format!("{}{}", kms::with_key(&kms, &kms.new_key().await), broker.config());
    let folder = Folder::new(&format!("{lines}[log]\nlevel = \"trace\"\nformat = \"json\"\n"));
    let issuer = Running::start_as(folder, |command| command);
    tokio::task::spawn_blocking(move || {
        let token = registered(&issuer, "ada@example.com");
        let send = |path: &str, body: &Value| send_by(issuer.address, &token, path, body).unwrap();
        let id = body(&send(ACCOUNTS, &alpaca()), 201)["account_id"].as_str().unwrap().to_owned();
        body(&send(&format!("{ACCOUNTS}/{id}/verify"), &json!({})), 200);
        issuer.signal("TERM");
        let data_keys = kms.data_keys();
        // Once in the question, once in the answer.
        assert!(data_keys.len() == 2 && data_keys[0] == data_keys[1]);
        let (mut lines, mut of_the_sdk) = (0, 0);
        while let Ok(line) = issuer.log.recv_timeout(PATIENCE) {
            let text = line.to_string();
            for secret in SECRETS.iter().copied().chain([data_keys[0].as_str()]) {
                assert!(!text.contains(secret), "{text}");
            }
            lines += 1;
            of_the_sdk += u64::from(line["target"].as_str().is_some_and(|target| target.starts_with("aws_")));
        }
        assert!(lines > 100 && of_the_sdk > 5, "{lines} {of_the_sdk}");
    })
    .await
    .unwrap();
}

#[test]
fn a_process_that_crashes_leaves_no_picture_of_its_memory() {
    let issuer = Running::start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", issuer.child.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(line.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
}

/// Links and rotates as four people until there are so many answers, kills the issuer, and gives back what was answered:
/// each account with the secret it had last.
fn killed_after(answers: usize) -> (Folder, BTreeMap<String, String>) {
    let lines = format!("{ENCRYPTION}[trading_accounts]\nattempts_per_minute = 1000\n");
    let mut issuer = Running::start_as(Folder::new(&lines), |command| command);
    let tokens: Vec<String> = (0..4).map(|n| registered(&issuer, &format!("{n}@example.com"))).collect();
    let (answered, done) = std::sync::mpsc::channel();
    std::thread::scope(|threads| {
        for token in &tokens {
            let (answered, address) = (answered.clone(), issuer.address);
            threads.spawn(move || {
                let ok = |answer: Option<String>, status: u16| {
                    answer.filter(|answer| answer.starts_with(&format!("HTTP/1.1 {status}")))
                };
                for n in 0..45 {
                    let mut account = kite();
                    account["user_id_broker"] = json!(format!("AB{n}"));
                    account["api_secret"] = json!(format!("first{n}"));
                    let Some(made) = ok(send_by(address, token, ACCOUNTS, &account), 201) else { return };
                    let id = body(&made, 201)["account_id"].as_str().unwrap().to_owned();
                    answered.send((id.clone(), format!("first{n}"))).unwrap();
                    account["api_secret"] = json!(format!("second{n}"));
                    let rotate = format!("{ACCOUNTS}/{id}/rotate");
                    let Some(_) = ok(send_by(address, token, &rotate, &account), 200) else { return };
                    answered.send((id, format!("second{n}"))).unwrap();
                }
            });
        }
        // As many as come before; the threads end when they get no answer.
        let mut last = BTreeMap::new();
        for _ in 0..answers {
            let (id, secret) = done.recv_timeout(PATIENCE).unwrap();
            last.insert(id, secret);
        }
        issuer.child.kill().unwrap();
        drop(answered);
        last.extend(done.iter());
        issuer.child.wait().unwrap();
        (std::mem::replace(&mut issuer.folder, Folder(tempfile::tempdir().unwrap())), last)
    })
}

#[test]
fn what_was_linked_or_rotated_is_whole_after_a_kill() {
    for answers in [1, 6, 19, 40, 85] {
        let (folder, last) = killed_after(answers);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let app = TestApp::after(folder).await;
            let ids = "SELECT id FROM trading_accounts";
            let ids: Vec<String> = sqlx::query_scalar(ids).fetch_all(app.app.db.reads()).await.unwrap();
            // What was answered is there, and at most what each of the four was waiting for beside it.
            assert!(last.keys().all(|id| ids.contains(id)));
            assert!(ids.len() <= last.len() + 4, "{} {}", ids.len(), last.len());
            for id in ids {
                let id = AccountId::parse(&id).unwrap();
                let (account, read) =
                    app.app.trading_accounts.credentials(&id, Origin::command()).await.unwrap();
                let n = account.user_id_broker.trim_start_matches("AB");
                let (first, second) = (format!("first{n}"), format!("second{n}"));
                let read = read.api_secret.expose_secret();
                // What was under way when it was killed may have been done, and is whole then, too.
                match last.get(id.as_str()) {
                    Some(secret) if *secret == second => assert_eq!(read, second),
                    Some(_) => assert!([first, second].iter().any(|one| one == read)),
                    None => assert_eq!(read, first),
                }
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewrap_that_is_killed_is_gone_on_with_and_loses_nothing() {
    const KEYS: [&str; 2] = [
        "the first key-encryption key, as random as the other",
        "the second key-encryption key, as random as the first",
    ];
    let keys = |current: usize| {
        let [current, other] = [current, 1 - current].map(|key| Secret::new(KEYS[key].as_bytes()));
        Encryption::with_files(Some(current), vec![other])
    };
    let folder = Folder::new("[encryption]\ncurrent_file = \"one.kek\"\nprevious_files = [\"two.kek\"]\n")
        .for_a_process();
    folder.write("one.kek", KEYS[0]);
    folder.write("two.kek", KEYS[1]);
    let mut app = TestApp::after_with(folder, |settings| {
        (settings.hashing.memory_kib, settings.hashing.passes) = (16, 1);
        settings.trading_accounts.attempts_per_minute = 1000;
    })
    .await;
    let mut ids = Vec::new();
    for n in 0..6 {
        let ada = app.registered(&format!("{n}@example.com")).await;
        let link = |n: usize| {
            let mut account = kite();
            account["user_id_broker"] = json!(format!("AB{n}"));
            let (app, ada) = (&app, &ada);
            async move { linked(app, ada, account).await }
        };
        ids.extend(join_all((0..50).map(link)).await);
    }
    for round in 0..4 {
        let current = (round + 1) % 2;
        app.folder.write("one.kek", KEYS[current]);
        app.folder.write("two.kek", KEYS[1 - current]);
        let mut command = countersign(&app.folder.config());
        let mut child = command.args(["keys", "rewrap"]).stdout(Stdio::null()).spawn().unwrap();
        // At another moment each time: at once, and after so many have been done.
        let encryption = keys(current);
        app = app.restarted(|settings| settings.encryption = encryption).await;
        let envelope = &app.app.trading_accounts.envelope;
        let wanted = i64::try_from(round).unwrap() * 75;
        let key = envelope.current().unwrap().to_owned();
        while child.try_wait().unwrap().is_none() {
            let done = "SELECT COUNT(*) FROM trading_accounts WHERE key_id = $1";
            let done: i64 =
                sqlx::query_scalar(done).bind(key.clone()).fetch_one(app.app.db.reads()).await.unwrap();
            if done >= wanted {
                break;
            }
        }
        let _ = child.kill();
        child.wait().unwrap();
        // Half done is as good as before for whoever reads.
        for id in &ids {
            let id = AccountId::parse(id).unwrap();
            app.app.trading_accounts.credentials(&id, Origin::command()).await.unwrap();
        }
        let again = run(&app.folder, &["keys", "rewrap"]);
        assert_eq!(again.code, 0, "{}", again.err);
        assert!(again.out.contains("protected by file:"), "{}", again.out);
        let left = "SELECT COUNT(*) FROM trading_accounts WHERE key_id <> $1";
        let left: i64 = sqlx::query_scalar(left).bind(key).fetch_one(app.app.db.reads()).await.unwrap();
        assert_eq!(left, 0);
    }
    assert_eq!(ids.len(), 300);
}
