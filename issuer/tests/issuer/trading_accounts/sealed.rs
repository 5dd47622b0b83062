//! Credentials at rest: nothing in the database reads as a secret, and what was moved, changed, or sealed with a key that is
//! gone is not given out.

use countersign_issuer::config::{Encryption, Secret, Settings};
use countersign_issuer::db::Backend;
use countersign_issuer::trading_accounts::{Rewrap, rewrap};
use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use http::StatusCode;
use serde_json::json;

use super::{ENCRYPTION, SECRETS, Ticker, alpaca, but, kite, linked, verify};
use crate::broker_stand_in::{KITE_SECRET, REQUEST_TOKEN, StandIn};
use crate::stage::{Person, TestApp};

const OLD: &[u8] = b"the key of these tests only, and of no other";
const NEW: &[u8] = b"another key, that takes its place after a while";

fn keys(settings: &mut Settings, current: &[u8], previous: &[&[u8]]) {
    let previous = previous.iter().map(|key| Secret::new(key)).collect();
    settings.encryption = Encryption::with_files(Some(Secret::new(current)), previous);
}

/// Two accounts of one user and one of another.
async fn three(app: &TestApp) -> (Person, [String; 3]) {
    let ada = app.registered("ada@example.com").await;
    let bob = app.registered("bob@example.com").await;
    let second = but(kite(), "user_id_broker", json!("CD5678"));
    let third = but(kite(), "user_id_broker", json!("EF9012"));
    let ids =
        [linked(app, &ada, kite()).await, linked(app, &ada, second).await, linked(app, &bob, third).await];
    (ada, ids)
}

#[tokio::test]
async fn a_ciphertext_in_another_place_or_changed_is_not_given_out() {
    for change in [
        // Another row, of the same user and of another, with its key and without.
        "UPDATE trading_accounts SET
           ciphertext = (SELECT o.ciphertext FROM trading_accounts o WHERE o.user_id_broker = 'CD5678'),
           wrapped_key = (SELECT o.wrapped_key FROM trading_accounts o WHERE o.user_id_broker = 'CD5678')
         WHERE user_id_broker = 'AB1234'",
        "UPDATE trading_accounts SET
           ciphertext = (SELECT o.ciphertext FROM trading_accounts o WHERE o.user_id_broker = 'EF9012'),
           wrapped_key = (SELECT o.wrapped_key FROM trading_accounts o WHERE o.user_id_broker = 'EF9012')
         WHERE user_id_broker = 'AB1234'",
        "UPDATE trading_accounts SET
           ciphertext = (SELECT o.ciphertext FROM trading_accounts o WHERE o.user_id_broker = 'CD5678')
         WHERE user_id_broker = 'AB1234'",
        // The whole row given to another user.
        "UPDATE trading_accounts SET user_id = (SELECT id FROM users WHERE email = 'bob@example.com')
         WHERE user_id_broker = 'AB1234'",
        // Another column.
        "UPDATE trading_accounts SET ciphertext = wrapped_key WHERE user_id_broker = 'AB1234'",
        "UPDATE trading_accounts SET wrapped_key = ciphertext WHERE user_id_broker = 'AB1234'",
        // Cut off, and longer.
        "UPDATE trading_accounts SET ciphertext = substr(ciphertext, 1, 40) WHERE user_id_broker = 'AB1234'",
        "UPDATE trading_accounts SET ciphertext = substr(ciphertext, 2) WHERE user_id_broker = 'AB1234'",
        "UPDATE trading_accounts SET wrapped_key = substr(wrapped_key, 1, 3) WHERE user_id_broker = 'AB1234'",
    ] {
        let app = TestApp::with(ENCRYPTION, |_| ()).await;
        let ticker = Ticker::of(&app).await;
        let (_, ids) = three(&app).await;
        ticker.read(&ids[0]).await.expect(StatusCode::OK);
        assert_eq!(app.execute(change).await, 1, "{change}");
        let answer = ticker.read(&ids[0]).await.refused(500, "internal");
        assert!(!String::from_utf8_lossy(&answer.body).contains(KITE_SECRET), "{change}");
        for id in &ids[1..] {
            ticker.read(id).await.expect(StatusCode::OK);
        }
        // Nothing was read, so nothing says that it was.
        let told = "SELECT COUNT(*) FROM audit_events WHERE type = 'credentials_read'";
        assert_eq!(app.value::<i64>(told).await, 3);
    }
}

#[tokio::test]
async fn a_key_that_is_gone_makes_credentials_unavailable_and_never_the_login() {
    let app = TestApp::with(ENCRYPTION, |_| ()).await;
    let (_, ids) = three(&app).await;
    let app = app.restarted(|settings| keys(settings, NEW, &[])).await;
    let ada = app.logged_in("ada@example.com").await;
    let ticker = Ticker::of(&app).await;
    ticker.read(&ids[0]).await.refused(503, "credentials_unavailable");
    assert_eq!(super::listed(&app, &ada).await.len(), 2);
    // New ones are sealed with the new key.
    let fourth = linked(&app, &ada, but(kite(), "user_id_broker", json!("GH3456"))).await;
    ticker.read(&fourth).await.expect(StatusCode::OK);
    // Nor does the name of another key help.
    let renamed = "UPDATE trading_accounts SET key_id = (SELECT o.key_id FROM trading_accounts o WHERE
                   o.user_id_broker = 'GH3456') WHERE user_id_broker = 'AB1234'";
    assert_eq!(app.execute(renamed).await, 1);
    ticker.read(&ids[0]).await.refused(500, "internal");
    assert_eq!(app.execute("UPDATE trading_accounts SET key_id = 'aws-kms:unknown'").await, 4);
    ticker.read(&fourth).await.refused(503, "credentials_unavailable");
    // With no key at all, too, everything else goes on.
    let app = app.restarted(|settings| settings.encryption = Encryption::with_files(None, Vec::new())).await;
    app.logged_in("ada@example.com").await;
    Ticker::of(&app).await.read(&fourth).await.refused(503, "credentials_unavailable");
}

#[tokio::test]
async fn a_key_is_replaced_without_anyone_noticing() {
    let app = TestApp::with(ENCRYPTION, |_| ()).await;
    let (_, ids) = three(&app).await;
    let app = app.restarted(|settings| keys(settings, NEW, &[OLD])).await;
    let ticker = Ticker::of(&app).await;
    let ciphertexts = "SELECT COUNT(DISTINCT ciphertext) FROM trading_accounts";
    assert_eq!(app.value::<i64>(ciphertexts).await, 3);
    for id in &ids {
        ticker.read(id).await.expect(StatusCode::OK);
    }
    let (db, envelope) = (&app.app.db, &app.app.trading_accounts.envelope);
    let done = rewrap(db, envelope, |_| ()).await.unwrap();
    assert_eq!(done, Rewrap { rewrapped: 3, ..Rewrap::default() });
    assert_eq!(rewrap(db, envelope, |_| ()).await.unwrap(), Rewrap::default());
    // The old one can go.
    let app = app.restarted(|settings| keys(settings, NEW, &[])).await;
    let ticker = Ticker::of(&app).await;
    for id in &ids {
        assert_eq!(ticker.read(id).await.expect(StatusCode::OK).json()["api_secret"], KITE_SECRET);
    }
}

#[tokio::test]
async fn a_record_that_does_not_open_keeps_no_other_from_being_rewrapped() {
    let app = TestApp::with(ENCRYPTION, |_| ()).await;
    let (_, ids) = three(&app).await;
    app.execute(
        "UPDATE trading_accounts SET wrapped_key = substr(wrapped_key, 2) WHERE user_id_broker = 'CD5678'",
    )
    .await;
    let app = app.restarted(|settings| keys(settings, NEW, &[OLD])).await;
    let done = rewrap(&app.app.db, &app.app.trading_accounts.envelope, |_| ()).await.unwrap();
    assert_eq!(done, Rewrap { rewrapped: 2, lost: 1, ..Rewrap::default() });
    let ticker = Ticker::of(&app).await;
    ticker.read(&ids[0]).await.expect(StatusCode::OK);
    ticker.read(&ids[1]).await.refused(500, "internal");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rewrapping_beside_calls_that_replace_credentials_loses_none() {
    let app = TestApp::with(ENCRYPTION, |_| ()).await;
    let ada = app.registered("ada@example.com").await;
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(linked(&app, &ada, but(kite(), "user_id_broker", json!(format!("AB{n}")))).await);
    }
    let app = app.restarted(|settings| keys(settings, NEW, &[OLD])).await;
    // An issuer that has not been restarted yet: it seals with the old key.
    let mut behind = app.settings.clone();
    keys(&mut behind, OLD, &[NEW]);
    let behind = app.beside_with(behind).await;
    let rotations = ids.iter().enumerate().map(|(n, id)| {
        let issuer = if n % 2 == 0 { &app } else { &behind };
        let new = json!({"api_key": "new", "api_secret": format!("secret{n}")});
        super::rotate(issuer, &ada, id, new).into_future()
    });
    let rotations = futures_util::future::join_all(rotations);
    let (db, envelope) = (&app.app.db, &app.app.trading_accounts.envelope);
    let (answers, first) = tokio::join!(rotations, rewrap(db, envelope, |_| ()));
    first.unwrap();
    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK), "{answers:?}");
    assert_eq!(rewrap(db, envelope, |_| ()).await.unwrap().lost, 0);
    let app = app.restarted(|settings| keys(settings, NEW, &[])).await;
    let ticker = Ticker::of(&app).await;
    for (n, id) in ids.iter().enumerate() {
        let read = ticker.read(id).await.expect(StatusCode::OK).json();
        assert_eq!(read["api_secret"], format!("secret{n}"));
    }
}

/// The bytes, and how they look in hexadecimal and in Base64, wherever in something longer they begin.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let bytes = secret.as_bytes();
    let mut forms = vec![bytes.to_vec(), HEXLOWER.encode(bytes).into(), HEXUPPER.encode(bytes).into()];
    for before in 0..3 {
        let longer = [&vec![0; before][..], bytes].concat();
        // Signs that depend on nothing but the secret.
        let (first, end) = ((before * 8).div_ceil(6), longer.len() * 8 / 6);
        for alphabet in [&BASE64_NOPAD, &BASE64URL_NOPAD] {
            forms.push(alphabet.encode(&longer)[first..end].into());
        }
    }
    forms
}

/// In how many of the files of the database these bytes are: the tables' own, and the log of what was written.
async fn files_with(app: &TestApp, since: &str, bytes: Vec<u8>) -> i64 {
    match app.app.db.backend() {
        Backend::Sqlite => {
            let files = ["issuer.db", "issuer.db-wal", "issuer.db-shm"].map(|name| app.folder.path(name));
            let files = files.into_iter().filter_map(|file| std::fs::read(file).ok());
            files.filter(|file| file.windows(bytes.len()).any(|window| window == bytes)).count() as i64
        }
        // The server reads its own files: they may be another user's, or on another machine.
        Backend::Postgres => {
            let files = "SELECT COUNT(*) FROM (
                   SELECT pg_relation_filepath(oid) AS path FROM pg_class
                   WHERE relnamespace = current_schema()::regnamespace AND pg_relation_filepath(oid) IS NOT NULL
                   UNION ALL
                   SELECT 'pg_wal/' || name FROM pg_ls_waldir()
                   WHERE name BETWEEN $2 AND pg_walfile_name(pg_current_wal_lsn())
                 ) files
                 WHERE position($1::bytea IN pg_read_binary_file(path, 0, 33554432, true)) > 0";
            let files = sqlx::query_scalar(files).bind(bytes).bind(since.to_owned());
            files.fetch_one(app.app.db.reads()).await.unwrap()
        }
    }
}

#[tokio::test]
async fn a_stolen_database_gives_no_credentials_away() {
    let stand_in = StandIn::start().await;
    let app = TestApp::with(&format!("{ENCRYPTION}{}", stand_in.config()), |_| ()).await;
    let is_postgres = app.app.db.backend() == Backend::Postgres;
    let mut since = String::new();
    if is_postgres {
        since = app.value("SELECT CAST(pg_walfile_name(pg_current_wal_lsn()) AS TEXT)").await;
    }
    let ada = app.registered("ada@example.com").await;
    let id = linked(&app, &ada, kite()).await;
    verify(&app, &ada, &id, json!({"request_token": REQUEST_TOKEN})).await.expect(StatusCode::OK);
    linked(&app, &ada, alpaca()).await;
    Ticker::of(&app).await.read(&id).await.expect(StatusCode::OK);
    if is_postgres {
        sqlx::query("CHECKPOINT").execute(app.app.db.reads()).await.unwrap();
    }
    // What is looked for is found if it is there.
    for there in ["PA1234567", "trading_account_linked"] {
        assert!(files_with(&app, &since, there.into()).await > 0, "{there}");
    }
    for secret in SECRETS {
        for form in forms(secret) {
            let text = String::from_utf8_lossy(&form).into_owned();
            assert_eq!(files_with(&app, &since, form).await, 0, "{text}");
        }
    }
}
