//! Credentials whose keys AWS KMS wraps. Whatever KMS does, it concerns credentials only: nobody is kept from logging in, and
//! no issuer from starting.

pub(crate) mod stand_in;

use countersign_issuer::config::Settings;
use countersign_issuer::trading_accounts::{Rewrap, rewrap};
use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::json;

use crate::broker_stand_in::KITE_SECRET;
use crate::command::{countersign, run};
use crate::stage::{Folder, Person, TestApp};
use crate::trading_accounts::{ACCOUNTS, Ticker, kite, linked};
use stand_in::{Manner, StandIn};

/// The lines of a configuration whose current key is this one.
pub(crate) fn with_key(kms: &StandIn, key: &str) -> String {
    format!("[encryption]\nkms_key = \"{key}\"\n{}", kms.reached())
}

/// An issuer with a key of KMS.
async fn issuer(kms: &StandIn) -> TestApp {
    TestApp::with(&with_key(kms, &kms.new_key().await), |_| ()).await
}

/// `[encryption]` as these lines say.
fn told(settings: &mut Settings, lines: &str) {
    settings.encryption = Folder::new(&format!("[encryption]\n{lines}")).settings().encryption;
}

async fn another(app: &TestApp, person: &Person, user_id_broker: &str) -> String {
    let mut account = kite();
    account["user_id_broker"] = json!(user_id_broker);
    linked(app, person, account).await
}

async fn figures(app: &TestApp) -> String {
    let answer = app.internally(Method::GET, "/metrics").await.expect(StatusCode::OK);
    String::from_utf8(answer.body.to_vec()).unwrap()
}

#[tokio::test]
async fn each_use_of_credentials_is_one_call_of_kms_and_is_counted() {
    let kms = StandIn::start().await;
    let app = issuer(&kms).await;
    let ada = app.registered("ada@example.com").await;
    let ticker = Ticker::of(&app).await;
    // Who starts, registers and logs in asks nothing of it.
    assert_eq!(kms.asked(), [""; 0]);
    let id = linked(&app, &ada, kite()).await;
    assert_eq!(kms.asked(), ["Encrypt"]);
    for _ in 0..3 {
        assert_eq!(ticker.read(&id).await.expect(StatusCode::OK).json()["api_secret"], KITE_SECRET);
        // Nothing is kept from one reading to the next.
        assert_eq!(kms.asked(), ["Decrypt"]);
    }
    let key_id = app.value::<String>("SELECT key_id FROM trading_accounts").await;
    assert!(key_id.starts_with("aws-kms:arn:aws:kms:eu-central-1:"), "{key_id}");
    let figures = figures(&app).await;
    for line in [
        "countersign_kms_calls_total{call=\"encrypt\",outcome=\"done\"} 1",
        "countersign_kms_calls_total{call=\"decrypt\",outcome=\"done\"} 3",
        "countersign_kms_requests_total 4",
        "countersign_kms_call_duration_seconds_count{call=\"decrypt\"} 3",
    ] {
        assert!(figures.contains(line), "no {line}: {figures}");
    }
}

#[tokio::test]
async fn kms_does_not_unwrap_what_was_moved_or_changed() {
    let kms = StandIn::start().await;
    for change in [
        "UPDATE trading_accounts SET
           ciphertext = (SELECT o.ciphertext FROM trading_accounts o WHERE o.user_id_broker = 'CD5678'),
           wrapped_key = (SELECT o.wrapped_key FROM trading_accounts o WHERE o.user_id_broker = 'CD5678')
         WHERE user_id_broker = 'AB1234'",
        "UPDATE trading_accounts SET user_id = (SELECT id FROM users WHERE email = 'bob@example.com')
         WHERE user_id_broker = 'AB1234'",
        "UPDATE trading_accounts SET wrapped_key = substr(wrapped_key, 1, 60) WHERE user_id_broker = 'AB1234'",
        "UPDATE trading_accounts SET ciphertext = substr(ciphertext, 1, 40) WHERE user_id_broker = 'AB1234'",
    ] {
        let app = issuer(&kms).await;
        let ticker = Ticker::of(&app).await;
        let ada = app.registered("ada@example.com").await;
        app.registered("bob@example.com").await;
        let id = linked(&app, &ada, kite()).await;
        another(&app, &ada, "CD5678").await;
        assert_eq!(app.execute(change).await, 1, "{change}");
        ticker.read(&id).await.refused(500, "internal");
    }
}

#[tokio::test]
async fn no_row_chooses_a_key_that_the_configuration_does_not_have() {
    let kms = StandIn::start().await;
    let app = issuer(&kms).await;
    let ada = app.registered("ada@example.com").await;
    let id = linked(&app, &ada, kite()).await;
    kms.asked();
    let foreign =
        "UPDATE trading_accounts SET key_id = 'aws-kms:arn:aws:kms:eu-central-1:666666666666:key/theirs'";
    assert_eq!(app.execute(foreign).await, 1);
    Ticker::of(&app).await.read(&id).await.refused(503, "credentials_unavailable");
    assert_eq!(kms.asked(), [""; 0]);
}

#[tokio::test]
async fn credentials_move_between_files_and_kms_and_stay_readable() {
    let kms = StandIn::start().await;
    let (one, two) = (kms.new_key().await, kms.new_key().await);
    let file = "current = \"the key of these tests only, and of no other\"\n";
    let mut app = TestApp::with(&format!("[encryption]\n{file}"), |_| ()).await;
    let ada = app.registered("ada@example.com").await;
    let ids = [linked(&app, &ada, kite()).await, another(&app, &ada, "CD5678").await];
    app.folder.write("old.kek", "the key of these tests only, and of no other");
    let old = app.folder.path("old.kek");
    let reached = kms.reached();
    for (lines, asked) in [
        (format!("kms_key = \"{one}\"\nprevious_files = [{old:?}]\n{reached}"), "Encrypt"),
        // Within KMS, no data key comes out of it.
        (format!("kms_key = \"{two}\"\nprevious_kms_keys = [\"{one}\"]\n{reached}"), "ReEncrypt"),
        (format!("{file}previous_kms_keys = [\"{two}\"]\n{reached}"), "Decrypt"),
    ] {
        app = app.restarted(|settings| told(settings, &lines)).await;
        let ticker = Ticker::of(&app).await;
        for id in &ids {
            ticker.read(id).await.expect(StatusCode::OK);
        }
        kms.asked();
        let done = rewrap(&app.app.db, &app.app.trading_accounts.envelope, |_| ()).await.unwrap();
        assert_eq!(done, Rewrap { rewrapped: 2, ..Rewrap::default() });
        assert_eq!(kms.asked(), [asked, asked]);
        for id in &ids {
            assert_eq!(ticker.read(id).await.expect(StatusCode::OK).json()["api_secret"], KITE_SECRET);
        }
    }
}

#[tokio::test]
async fn a_kms_that_hangs_is_a_503_in_time_and_keeps_nobody_from_logging_in() {
    let kms = StandIn::start().await;
    let lines = with_key(&kms, &kms.new_key().await);
    let app = TestApp::with(&lines, |settings| settings.encryption.kms.timeout = 1).await;
    let ada = app.registered("ada@example.com").await;
    let id = linked(&app, &ada, kite()).await;
    let ticker = Ticker::of(&app).await;
    kms.behave(Manner::Silent);
    let reads = join_all((0..40).map(|_| ticker.read(&id)));
    let logins = async {
        for _ in 0..3 {
            app.logged_in("ada@example.com").await;
        }
        app.get(ACCOUNTS).by(&ada).await.expect(StatusCode::OK);
    };
    let (answers, ()) = tokio::join!(reads, logins);
    for answer in answers {
        assert_eq!(answer.refused(503, "credentials_unavailable").header("retry-after"), "1");
    }
    assert!(
        figures(&app).await.contains("countersign_kms_calls_total{call=\"decrypt\",outcome=\"timeout\"} 40")
    );
    // What was not read is not said to have been.
    let told = "SELECT COUNT(*) FROM audit_events WHERE type = 'credentials_read'";
    assert_eq!(app.value::<i64>(told).await, 0);
    kms.behave(Manner::Well);
    ticker.read(&id).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn an_issuer_starts_without_kms_and_finds_it_when_it_is_back() {
    let kms = StandIn::start().await;
    let key = kms.new_key().await;
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = format!("http://127.0.0.1:{}", away.local_addr().unwrap().port());
    drop(away);
    let lines = with_key(&kms, &key);
    let there = lines.split('"').find(|part| part.starts_with("http://")).unwrap().to_owned();
    let app = TestApp::with(&lines.replace(&there, &nowhere), |_| ()).await;
    let ada = app.registered("ada@example.com").await;
    app.post(ACCOUNTS, kite()).by(&ada).await.refused(503, "credentials_unavailable");
    assert_eq!(app.get(ACCOUNTS).by(&ada).await.expect(StatusCode::OK).json(), json!([]));
    app.get("/readyz").await.expect(StatusCode::OK);
    assert!(
        figures(&app)
            .await
            .contains("countersign_kms_calls_total{call=\"encrypt\",outcome=\"unreachable\"} 1")
    );
    let app = app.restarted(|settings| told(settings, lines.trim_start_matches("[encryption]\n"))).await;
    let id = linked(&app, &ada, kite()).await;
    Ticker::of(&app).await.read(&id).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn what_kms_throttles_is_tried_again_and_not_for_ever() {
    let kms = StandIn::start().await;
    let app = issuer(&kms).await;
    let ada = app.registered("ada@example.com").await;
    kms.behave(Manner::Throttles(2));
    let id = linked(&app, &ada, kite()).await;
    assert_eq!(kms.asked(), ["Encrypt"; 3]);
    kms.behave(Manner::Throttles(1_000));
    Ticker::of(&app).await.read(&id).await.refused(503, "credentials_unavailable");
    assert_eq!(kms.asked(), ["Decrypt"; 3]);
    let figures = figures(&app).await;
    for line in [
        "countersign_kms_calls_total{call=\"encrypt\",outcome=\"done\"} 1",
        "countersign_kms_calls_total{call=\"decrypt\",outcome=\"throttled\"} 1",
        "countersign_kms_requests_total 6",
    ] {
        assert!(figures.contains(line), "no {line}: {figures}");
    }
}

#[tokio::test]
async fn no_more_than_32_calls_are_under_way_at_once() {
    let kms = StandIn::start().await;
    let app = issuer(&kms).await;
    let ada = app.registered("ada@example.com").await;
    let id = linked(&app, &ada, kite()).await;
    let ticker = Ticker::of(&app).await;
    kms.behave(Manner::Held);
    let full = async {
        while kms.at_once() < 32 {
            tokio::task::yield_now().await;
        }
        kms.go_on();
    };
    let (answers, ()) = tokio::join!(join_all((0..100).map(|_| ticker.read(&id))), full);
    assert_eq!(kms.most_at_once(), 32);
    for answer in answers {
        answer.expect(StatusCode::OK);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_disabled_in_the_middle_stops_a_rewrap_which_goes_on_once_it_is_back() {
    let kms = StandIn::start().await;
    let (one, two) = (kms.new_key().await, kms.new_key().await);
    let folder = Folder::new(&with_key(&kms, &one)).for_a_process();
    let app = TestApp::after_with(folder, |settings| {
        (settings.hashing.memory_kib, settings.hashing.passes) = (16, 1);
        settings.trading_accounts.attempts_per_minute = 50;
    })
    .await;
    let mut ids = Vec::new();
    for n in 0..5 {
        let person = app.registered(&format!("{n}@example.com")).await;
        let names: Vec<String> = (0..50).map(|n| format!("AB{n}")).collect();
        ids.extend(join_all(names.iter().map(|name| another(&app, &person, name))).await);
    }
    let text = std::fs::read_to_string(app.folder.config()).unwrap();
    let lines = format!("kms_key = \"{two}\"\nprevious_kms_keys = [\"{one}\"]");
    app.folder.write("countersign.toml", &text.replace(&format!("kms_key = \"{one}\""), &lines));
    let after = app.folder.settings().encryption;
    let rewrap = || tokio::task::block_in_place(|| run(&app.folder, &["keys", "rewrap"]));
    // In the second stretch of those that are written together.
    kms.behave(Manner::DisabledAfter(225));
    let stopped = rewrap();
    assert_eq!((stopped.code, stopped.err.lines().count()), (1, 1), "{}", stopped.err);
    for told in ["running this again goes on", "DisabledException", two.as_str()] {
        assert!(stopped.err.contains(told), "{}", stopped.err);
    }
    let still =
        "SELECT COUNT(*) FROM trading_accounts WHERE key_id = (SELECT MIN(key_id) FROM trading_accounts)";
    assert!([50, 200].contains(&app.value::<i64>(still).await));
    kms.behave(Manner::Well);
    let issuer = app.beside_with(Settings { encryption: after, ..app.settings.clone() }).await;
    let ticker = Ticker::of(&issuer).await;
    for id in &ids {
        assert_eq!(ticker.read(id).await.expect(StatusCode::OK).json()["api_secret"], KITE_SECRET);
    }
    let done = rewrap();
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(
        done.out.starts_with("protected by aws-kms:") && done.out.contains(": credentials of 50 accounts"),
        "{}",
        done.out
    );
    assert_eq!(issuer.value::<i64>("SELECT COUNT(DISTINCT key_id) FROM trading_accounts").await, 1);
    for id in &ids {
        ticker.read(id).await.expect(StatusCode::OK);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_key_that_is_gone_or_a_spoiled_record_keeps_no_other_from_being_rewrapped() {
    let kms = StandIn::start().await;
    let [one, two, three] = [kms.new_key().await, kms.new_key().await, kms.new_key().await];
    let folder = Folder::new(&with_key(&kms, &one)).for_a_process();
    let app = TestApp::after_with(folder, |settings| {
        (settings.hashing.memory_kib, settings.hashing.passes) = (16, 1);
    })
    .await;
    let ada = app.registered("ada@example.com").await;
    for name in ["AB1", "AB2"] {
        another(&app, &ada, name).await;
    }
    let reached = kms.reached();
    let after = |current: &str, previous: &str| {
        format!("kms_key = \"{current}\"\nprevious_kms_keys = [{previous}]\n{reached}")
    };
    let app = app.restarted(|settings| told(settings, &after(&two, &format!("\"{one}\"")))).await;
    for name in ["CD1", "CD2"] {
        another(&app, &ada, name).await;
    }
    let spoil =
        "UPDATE trading_accounts SET wrapped_key = substr(wrapped_key, 1, 0) WHERE user_id_broker = 'CD1'";
    assert_eq!(app.execute(spoil).await, 1);
    kms.delete(&one);
    let text = std::fs::read_to_string(app.folder.config()).unwrap();
    let lines = format!("kms_key = \"{three}\"\nprevious_kms_keys = [\"{one}\", \"{two}\"]");
    app.folder.write("countersign.toml", &text.replace(&format!("kms_key = \"{one}\""), &lines));
    let done = tokio::task::block_in_place(|| run(&app.folder, &["keys", "rewrap"]));
    assert_eq!((done.code, done.err.lines().count()), (1, 1), "{}", done.err);
    assert!(done.out.contains(": credentials of 1 account"), "{}", done.out);
    let key =
        format!("those of 2 stay as they are: the key \"aws-kms:{one}\" cannot be used: KMSInvalidState");
    for told in [key.as_str(), "those of 1 do not open and stay as they are"] {
        assert!(done.err.contains(told), "{}", done.err);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_tells_of_a_kms_or_a_key_that_cannot_be_used() {
    let kms = StandIn::start().await;
    let key = kms.new_key().await;
    let check = |lines: String| {
        let folder = Folder::on_a_file();
        let text = std::fs::read_to_string(folder.config()).unwrap();
        folder.write("countersign.toml", &format!("{lines}{text}"));
        tokio::task::block_in_place(|| run(&folder.for_a_process(), &["check"]))
    };
    let good = check(with_key(&kms, &key));
    assert_eq!(good.code, 0, "{}", good.out);
    assert_eq!(kms.asked(), ["Encrypt", "Decrypt"]);
    // A key that nobody has made; moto says so as KMS does.
    let (region, _) = key.split_once("key/").unwrap();
    let unknown = format!("{region}key/00000000-0000-0000-0000-000000000000");
    kms.behave(Manner::Well);
    let wrong = check(with_key(&kms, &unknown));
    assert_eq!(wrong.code, 1, "{}", wrong.out);
    assert!(
        wrong.out.contains("encryption.kms_key: ") && wrong.out.contains("NotFoundException"),
        "{}",
        wrong.out
    );
    kms.behave(Manner::DisabledAfter(0));
    let disabled = check(with_key(&kms, &key));
    assert!(disabled.code == 1 && disabled.out.contains("DisabledException"), "{}", disabled.out);
    kms.behave(Manner::Silent);
    let hangs = check(with_key(&kms, &key));
    assert!(hangs.code == 1 && hangs.out.contains("cannot be used: "), "{}", hangs.out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_of_aws_are_found_as_its_sdk_does() {
    let kms = StandIn::start().await;
    let lines = with_key(&kms, &kms.new_key().await);
    let lines: String = lines
        .lines()
        .filter(|line| !line.contains("credentials_file"))
        .map(|line| format!("{line}\n"))
        .collect();
    let folder = Folder::on_a_file();
    let text = std::fs::read_to_string(folder.config()).unwrap();
    folder.write("countersign.toml", &format!("{lines}{text}"));
    let folder = folder.for_a_process();
    let check = |variables: &[(&str, &str)]| {
        let mut check = countersign(&folder.config());
        // Not from the machine that this runs on, if it is one of Amazon's.
        check.arg("check").env("AWS_EC2_METADATA_DISABLED", "true").envs(variables.iter().copied());
        let output = tokio::task::block_in_place(|| check.output().unwrap());
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, out) =
        check(&[("AWS_ACCESS_KEY_ID", "countersign"), ("AWS_SECRET_ACCESS_KEY", "of-these-tests")]);
    assert_eq!(code, Some(0), "{out}");
    assert_eq!(kms.asked(), ["Encrypt", "Decrypt"]);
    let (code, out) = check(&[]);
    assert!(code == Some(1) && out.contains("encryption.kms_key: "), "{out}");
    assert_eq!(kms.asked(), [""; 0]);
}

#[tokio::test]
async fn a_wrong_key_is_a_503_and_nothing_is_kept() {
    let kms = StandIn::start().await;
    let key = kms.new_key().await;
    let (region, _) = key.split_once("key/").unwrap();
    let unknown = format!("{region}key/00000000-0000-0000-0000-000000000000");
    let app = TestApp::with(&with_key(&kms, &unknown), |_| ()).await;
    let ada = app.registered("ada@example.com").await;
    let refused = app.post(ACCOUNTS, kite()).by(&ada).await.refused(503, "credentials_unavailable");
    assert!(!String::from_utf8_lossy(&refused.body).contains("arn:"));
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM trading_accounts").await, 0);
    assert!(
        figures(&app).await.contains("countersign_kms_calls_total{call=\"encrypt\",outcome=\"refused\"} 1")
    );
}
