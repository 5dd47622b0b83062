//! The revocation feed: what a reader is told, in which order, how soon, and what it costs while nothing happens.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use countersign_issuer::ambient::UnixTime;
use countersign_issuer::db::Db;
use countersign_issuer::feed::store::revoke_session;
use countersign_issuer::router;
use countersign_issuer::services::Scope;
use countersign_issuer::web::{Connections, bind, serve};
use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::services::{EXCHANGE, FEED, revoke_service, service, service_called};
use crate::stage::{Call, NOON, PASSWORD, Person, TestApp, part};

/// Long enough for any machine, and short enough for a test that fails.
const PATIENCE: Duration = Duration::from_secs(20);

struct Reader {
    token: String,
    epoch: String,
    sequence: i64,
}

impl Reader {
    async fn of(app: &TestApp) -> Self {
        let token = service(app, &[Scope::RevocationsRead]).await;
        let mut reader = Self { token, epoch: String::new(), sequence: 0 };
        let first = reader.read(app, 0).await;
        assert_eq!((&first["reset"], &first["complete"]), (&json!(true), &json!(true)), "{first}");
        reader
    }

    fn call(&self, app: &TestApp, query: &str) -> Call {
        app.internally(Method::GET, &format!("{FEED}?{query}")).header("x-service-token", &self.token)
    }

    fn next(&self, app: &TestApp, wait: u64) -> Call {
        self.call(app, &format!("since={}&epoch={}&wait={wait}", self.sequence, self.epoch))
    }

    /// What comes next; the reader has read it then.
    async fn read(&mut self, app: &TestApp, wait: u64) -> Value {
        let page = tokio::time::timeout(PATIENCE, self.next(app, wait).into_future());
        let page = page.await.expect("it waits for what was there").expect(StatusCode::OK).json();
        self.epoch = page["epoch"].as_str().unwrap().to_owned();
        self.sequence = page["sequence"].as_i64().unwrap();
        page
    }
}

fn handles(page: &Value) -> Vec<String> {
    let entries = page["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry["session_id"].as_str().unwrap().to_owned()).collect()
}

fn session_of(person: &Person) -> String {
    part(&person.access_token, 1)["session_id"].as_str().unwrap().to_owned()
}

async fn log_out(app: &TestApp, person: &Person) {
    app.post("/v1/auth/logout", json!({})).by(person).await.expect(StatusCode::NO_CONTENT);
}

/// Entries that no session had, numbered in this order.
async fn revoked(db: &Db, ids: Vec<String>, until: i64) {
    let work = db.write(async move |tx| {
        for id in &ids {
            revoke_session(tx, id, UnixTime::from_seconds(until)).await?;
        }
        Ok(())
    });
    work.await.unwrap();
}

#[tokio::test]
async fn whatever_ends_a_session_is_told_with_the_time_until_which_it_matters() {
    let app = TestApp::new().await;
    let root = app.admin("root@example.com").await;
    let (ada, phone) = (app.registered("ada@example.com").await, app.logged_in("ada@example.com").await);
    let mut reader = Reader::of(&app).await;
    assert_eq!(reader.read(&app, 0).await["entries"], json!([]));

    log_out(&app, &ada).await;
    let page = reader.read(&app, 0).await;
    // 15 minutes of a token, 30 seconds of skew, and as long as signing one may take.
    let entry = json!({"session_id": session_of(&ada), "exp": NOON + 900 + 30 + 30});
    assert_eq!(page["entries"], json!([entry]));
    assert_eq!((&page["reset"], &page["complete"]), (&json!(false), &json!(true)));

    let change = json!({"current_password": PASSWORD, "password": "another-velvet-tundra-31"});
    let other = app.logged_in("ada@example.com").await;
    app.post("/v1/auth/password/change", change).by(&other).await.expect(StatusCode::NO_CONTENT);
    assert_eq!(handles(&reader.read(&app, 0).await), [session_of(&phone)]);

    // A refresh token that comes back after the grace.
    let bob = app.registered("bob@example.com").await;
    app.refresh(&bob.refresh_token).await.expect(StatusCode::OK);
    app.pass(31);
    app.refresh(&bob.refresh_token).await.refused_grant("refresh_reused");
    assert_eq!(handles(&reader.read(&app, 0).await), [session_of(&bob)]);

    app.deactivate("ada@example.com").await;
    assert_eq!(handles(&reader.read(&app, 0).await), [session_of(&other)]);
    let carol = app.registered("carol@example.com").await;
    let delete = app.call(Method::DELETE, &format!("/v1/admin/users/{}", carol.id)).by(&root);
    delete.await.expect(StatusCode::NO_CONTENT);
    assert_eq!(handles(&reader.read(&app, 0).await), [session_of(&carol)]);
}

#[tokio::test]
async fn who_begins_gets_what_is_alive_and_nothing_that_is_over() {
    let app = TestApp::new().await;
    revoked(&app.app.db, vec!["over".into()], NOON).await;
    revoked(&app.app.db, vec!["alive".into()], NOON + 1).await;
    let mut reader = Reader::of(&app).await;
    let page = reader.call(&app, "").await.json();
    assert_eq!((handles(&page), page["sequence"].as_i64()), (vec!["alive".to_owned()], Some(2)));
    // Another history, a number that we have not come to, half of what is needed.
    let epoch = reader.epoch.clone();
    for query in [
        "since=0".to_owned(),
        format!("epoch={epoch}"),
        "since=2&epoch=another".to_owned(),
        format!("since=3&epoch={epoch}"),
        format!("since=9223372036854775807&epoch={epoch}&wait=30"),
    ] {
        let page = reader.call(&app, &query).await.expect(StatusCode::OK).json();
        assert_eq!((&page["reset"], handles(&page)), (&json!(true), vec!["alive".to_owned()]), "{query}");
    }
    assert_eq!(handles(&reader.call(&app, &format!("since=1&epoch={epoch}")).await.json()), ["alive"]);
    // The sequence goes on also where its entries are gone.
    app.pass(1);
    countersign_issuer::sessions::sweep(&app.app.db, app.clock.now()).await.unwrap();
    reader.sequence = 1;
    let page = reader.read(&app, 0).await;
    assert_eq!((handles(&page).len(), &page["reset"], reader.sequence), (0, &json!(false), 2));
}

#[tokio::test]
async fn a_long_feed_comes_in_bounded_pages_also_after_a_reset() {
    let app = TestApp::new().await;
    let names = |range: std::ops::Range<i64>| range.map(|n| n.to_string()).collect::<Vec<_>>();
    revoked(&app.app.db, names(1..2_501), NOON + 900).await;
    let token = service(&app, &[Scope::RevocationsRead]).await;
    let mut reader = Reader { token, epoch: String::new(), sequence: 0 };
    let mut told = Vec::new();
    for (reset, complete, count) in [(true, false, 1000), (false, false, 1000), (false, true, 500)] {
        let page = reader.read(&app, 30).await;
        assert_eq!((&page["reset"], &page["complete"]), (&json!(reset), &json!(complete)));
        assert_eq!(handles(&page).len(), count);
        told.extend(handles(&page));
    }
    assert_eq!(told, names(1..2_501));
    assert_eq!(reader.sequence, 2_500);
}

#[tokio::test]
async fn odd_questions_are_422() {
    let app = TestApp::new().await;
    let reader = Reader::of(&app).await;
    for (query, field) in [
        ("since=-1", "since"),
        ("since=x", "since"),
        ("since=%2B1", "since"),
        ("since=9223372036854775808", "since"),
        ("since=1&since=2", "since"),
        ("wait=31", "wait"),
        ("wait=-1", "wait"),
        ("wait=1.5", "wait"),
        ("epoch=a&epoch=b", "epoch"),
    ] {
        assert_eq!(reader.call(&app, query).await.invalid_fields(), [field], "{query}");
    }
    reader.call(&app, "since=%ff").await.refused(422, "invalid_fields");
    let long = format!("since=0&epoch={}", "e".repeat(5_000));
    assert_eq!(reader.call(&app, &long).await.expect(StatusCode::OK).json()["reset"], true);
    for method in [Method::POST, Method::DELETE] {
        let call = app.internally(method, FEED).header("x-service-token", &reader.token);
        call.await.refused(405, "method_not_allowed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_waits_is_woken_by_any_issuer() {
    let one = TestApp::new().await;
    let two = one.beside().await;
    let mut reader = Reader::of(&one).await;
    for writer in [&one, &two, &one, &two] {
        let person = writer.registered(&format!("{}@example.com", reader.sequence)).await;
        let logout = async {
            waiting(&one, 1.0).await;
            log_out(writer, &person).await;
        };
        let (page, ()) = tokio::join!(reader.read(&one, 30), logout);
        assert_eq!(handles(&page), [session_of(&person)]);
    }
}

fn figure(app: &TestApp, name: &str) -> f64 {
    let figures = app.app.metrics.text();
    figures.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap().parse().unwrap()
}

/// Waits until so many readers wait.
async fn waiting(app: &TestApp, readers: f64) {
    let all = async {
        while (figure(app, "countersign_feed_waiting") - readers).abs() > 0.5 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("they do not wait");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_wait_all_are_told_and_one_looks() {
    let app = TestApp::new().await;
    let reader = Reader::of(&app).await;
    assert!(figure(&app, "countersign_feed_looks_total") < 0.5, "nobody waits, and somebody looks");
    let ada = app.registered("ada@example.com").await;
    let began = Instant::now();
    let logout = async {
        waiting(&app, 50.0).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let looks = figure(&app, "countersign_feed_looks_total");
        log_out(&app, &ada).await;
        looks
    };
    let readers = join_all((0..50).map(|_| reader.next(&app, 30).into_future()));
    let (pages, looks) = tokio::join!(readers, logout);
    for page in pages {
        assert_eq!(handles(&page.expect(StatusCode::OK).json()), [session_of(&ada)]);
    }
    // One every twentieth of a second for all of them, and one when the first of them came.
    assert!(looks <= began.elapsed().as_secs_f64() * 20.0 + 2.0, "{looks}");
    waiting(&app, 0.0).await;
    let after = figure(&app, "countersign_feed_looks_total");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!((figure(&app, "countersign_feed_looks_total") - after).abs() < 0.5, "somebody goes on looking");
}

#[tokio::test]
async fn a_wait_in_vain_ends_with_what_the_reader_knew() {
    let app = TestApp::new().await;
    let mut reader = Reader::of(&app).await;
    let (epoch, sequence) = (reader.epoch.clone(), reader.sequence);
    let page = reader.read(&app, 1).await;
    let nothing =
        json!({"epoch": epoch, "sequence": sequence, "entries": [], "reset": false, "complete": true});
    assert_eq!(page, nothing);
}

#[tokio::test]
async fn a_wait_ends_when_the_process_stops_and_none_begins() {
    let app = TestApp::new().await;
    let mut reader = Reader::of(&app).await;
    let stop = async {
        waiting(&app, 1.0).await;
        app.app.feed.stop();
    };
    let (page, ()) = tokio::join!(reader.read(&app, 30), stop);
    assert_eq!(page["entries"], json!([]));
    reader.read(&app, 30).await;
}

#[tokio::test]
async fn a_restart_begins_an_epoch_and_no_revocation_is_lost() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    log_out(&app, &ada).await;
    let mut reader = Reader::of(&app).await;
    let old = reader.epoch.clone();
    let app = app.restarted(|_| ()).await;
    let page = reader.read(&app, 30).await;
    assert_eq!((&page["reset"], handles(&page)), (&json!(true), vec![session_of(&ada)]));
    assert_ne!(reader.epoch, old);
    // As after restoring a backup: the numbers are smaller, and what came in between is not known any more.
    app.execute("UPDATE counters SET value = 0 WHERE name = 'revocations'").await;
    app.execute("DELETE FROM revocations").await;
    assert_eq!(reader.read(&app, 30).await["reset"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn another_issuer_that_starts_wakes_who_waits() {
    let one = TestApp::new().await;
    let mut reader = Reader::of(&one).await;
    let start = async {
        waiting(&one, 1.0).await;
        one.beside().await
    };
    let (page, _two) = tokio::join!(reader.read(&one, 30), start);
    assert_eq!(page["reset"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_number_is_seen_before_a_smaller_one() {
    let one = TestApp::new().await;
    let two = one.beside().await;
    let mut reader = Reader::of(&one).await;
    // The first has drawn its number and is not committed; the second cannot pass it.
    let (drawn, has_drawn) = oneshot::channel::<()>();
    let (go, may_go) = oneshot::channel::<()>();
    let channels = std::sync::Mutex::new(Some((drawn, may_go)));
    let (first_db, second_db) = (one.app.db.clone(), two.app.db.clone());
    let first = tokio::spawn(async move {
        let work = first_db.write(async move |tx| {
            revoke_session(tx, "first", UnixTime::from_seconds(NOON + 900)).await?;
            let channels = channels.lock().unwrap().take();
            if let Some((drawn, may_go)) = channels {
                drawn.send(()).unwrap();
                may_go.await.unwrap();
            }
            Ok(())
        });
        work.await.unwrap();
    });
    has_drawn.await.unwrap();
    let second = tokio::spawn(async move { revoked(&second_db, vec!["second".into()], NOON + 900).await });
    for _ in 0..20 {
        assert_eq!(handles(&reader.read(&two, 0).await), Vec::<String>::new());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!second.is_finished());
    go.send(()).unwrap();
    first.await.unwrap();
    second.await.unwrap();
    assert_eq!(handles(&reader.read(&two, 0).await), ["first", "second"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_misses_nothing_however_many_write_at_once() {
    let one = TestApp::new().await;
    let two = one.beside().await;
    let mut reader = Reader::of(&one).await;
    let writes = (0..60).map(|n| {
        let db = if n % 2 == 0 { one.app.db.clone() } else { two.app.db.clone() };
        tokio::spawn(async move { revoked(&db, vec![format!("{n}-a"), format!("{n}-b")], NOON + 900).await })
    });
    let writes: Vec<_> = writes.collect();
    let mut told = Vec::new();
    while told.len() < 120 {
        told.extend(handles(&reader.read(&two, 5).await));
    }
    for write in writes {
        write.await.unwrap();
    }
    assert_eq!(reader.read(&one, 0).await["entries"], json!([]));
    told.sort();
    let mut all: Vec<String> = (0..60).flat_map(|n| [format!("{n}-a"), format!("{n}-b")]).collect();
    all.sort();
    assert_eq!(told, all);
}

async fn listening(app: &TestApp) -> SocketAddr {
    let listener = bind("server.listen", ([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = router::internal(app.app.clone());
    tokio::spawn(serve(listener, router, Connections::default(), std::future::pending()));
    address
}

#[tokio::test]
async fn a_reader_that_hangs_up_waits_no_longer() {
    let app = TestApp::new().await;
    let reader = Reader::of(&app).await;
    let address = listening(&app).await;
    let request = format!(
        "GET {FEED}?since={}&epoch={}&wait=30 HTTP/1.1\r\nhost: x\r\nx-service-token: {}\r\n\r\n",
        reader.sequence, reader.epoch, reader.token
    );
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    waiting(&app, 20.0).await;
    let mut last = streams.pop().unwrap();
    drop(streams);
    waiting(&app, 1.0).await;
    // Whoever looked for all of them may have been among those who went.
    let ada = app.registered("ada@example.com").await;
    log_out(&app, &ada).await;
    let mut answer = [0; 4096];
    let read = tokio::time::timeout(PATIENCE, last.read(&mut answer)).await.expect("it waits").unwrap();
    assert!(String::from_utf8_lossy(&answer[..read]).starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn more_readers_than_may_wait_are_told_so_and_news_come_all_the_same() {
    let app = TestApp::new().await;
    let mut reader = Reader::of(&app).await;
    let waits = join_all((0..1000).map(|_| reader.next(&app, 30).into_future()));
    let others = async {
        waiting(&app, 1000.0).await;
        reader.next(&app, 30).await.refused(503, "busy");
        // Who does not want to wait is answered.
        reader.next(&app, 0).await.expect(StatusCode::OK);
        revoked(&app.app.db, vec!["x".into()], NOON + 900).await;
    };
    let (pages, ()) = tokio::join!(waits, others);
    assert!(pages.iter().all(|page| page.status == StatusCode::OK));
    assert_eq!(handles(&reader.read(&app, 0).await), ["x"]);
}

#[tokio::test]
async fn a_database_that_is_away_is_a_503_and_no_empty_answer() {
    let app = TestApp::new().await;
    let mut reader = Reader::of(&app).await;
    app.execute("ALTER TABLE revocation_epoch RENAME TO hidden").await;
    // The token has been found; the feed cannot be read, and nothing is said about what is in it.
    assert!(reader.next(&app, 1).await.status.is_server_error());
    app.execute("ALTER TABLE hidden RENAME TO revocation_epoch").await;
    // The first look at the feed wakes the reader without news. It must be over before the table is hidden again.
    assert_eq!(handles(&reader.read(&app, 1).await), Vec::<String>::new());
    assert!(figure(&app, "countersign_feed_looks_total") > 0.5);
    let (page, ()) = tokio::join!(reader.read(&app, 30), async {
        waiting(&app, 1.0).await;
        app.execute("ALTER TABLE revocation_epoch RENAME TO hidden").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        app.execute("ALTER TABLE hidden RENAME TO revocation_epoch").await;
        revoked(&app.app.db, vec!["x".into()], NOON + 900).await;
    });
    assert_eq!(handles(&page), ["x"]);
}

#[tokio::test]
async fn after_the_clock_was_set_back_what_ends_is_told_for_as_long_as_its_tokens_live() {
    let app = TestApp::new().await;
    let (ada, bob) = (app.registered("ada@example.com").await, app.registered("bob@example.com").await);
    let carol = app.registered("carol@example.com").await;
    let made = app.post("/v1/api-keys", json!({"name": "robot"})).by(&carol).await.json();
    let edge = service(&app, &[Scope::ApiKeysExchange, Scope::RevocationsRead]).await;
    let ticker = service_called(&app, "ticker", &["alerts:write"]).await;

    // An hour fast: one logs in, one refreshes, a key is exchanged, a service gets a token.
    app.pass(3_600);
    let late = app.logged_in("ada@example.com").await;
    let refreshed = app.refresh(&bob.refresh_token).await.expect(StatusCode::OK).json();
    let exchange = app.internally(Method::POST, EXCHANGE).header("x-service-token", &edge);
    let exchanged = exchange.json(json!({"api_key": made["api_key"]})).await.expect(StatusCode::OK).json();
    let form =
        [("grant_type", "client_credentials"), ("client_id", "ticker"), ("client_secret", ticker.as_str())];
    let issued = app.call(Method::POST, "/v1/auth/token").form(&form).await.expect(StatusCode::OK).json();
    let noted = async {
        while app.value::<i64>("SELECT COUNT(*) FROM api_keys WHERE last_used_at > 0").await == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, noted).await.expect("the use of the key was not noted");
    app.pass(-3_600);
    // What is used once more at the right time is used last at the other all the same.
    let again = refreshed["refresh_token"].as_str().unwrap();
    app.refresh(again).await.expect(StatusCode::OK);
    let form =
        [("grant_type", "client_credentials"), ("client_id", "ticker"), ("client_secret", ticker.as_str())];
    app.call(Method::POST, "/v1/auth/token").form(&form).await.expect(StatusCode::OK);

    for person in ["ada", "bob", "carol"] {
        app.deactivate(&format!("{person}@example.com")).await;
    }
    revoke_service(&app, "ticker", None).await;
    let page = app.internally(Method::GET, FEED).header("x-service-token", &edge).await.json();
    let entries = page["entries"].as_array().unwrap();
    let text = |body: &Value| body["access_token"].as_str().unwrap().to_owned();
    for token in [late.access_token, text(&refreshed), text(&exchanged), text(&issued)] {
        let claims = part(&token, 1);
        let handle = if claims["credential_id"].is_null() { "session_id" } else { "credential_id" };
        let told = entries.iter().find(|entry| entry["session_id"] == claims[handle]).unwrap();
        let (told, expires) = (told["exp"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
        assert!(told >= expires + 30, "{handle}: {told} {expires}");
    }
    // What was used at the right time only is told of for no longer than ever.
    let early = entries.iter().find(|entry| entry["session_id"] == session_of(&ada).as_str()).unwrap();
    assert_eq!(early["exp"], NOON + 900 + 30 + 30);
}

#[tokio::test]
async fn what_longer_tokens_of_an_earlier_configuration_need_stays_as_long_as_they_live() {
    let app = TestApp::with("[tokens]\naccess_lifetime = \"1h\"\n", |_| ()).await;
    app.lifetimes.exchange(&app.app.db, app.clock.now()).await.unwrap();
    let ada = app.registered("ada@example.com").await;
    let app = app.restarted(|settings| settings.tokens.access_lifetime = 900).await;
    log_out(&app, &ada).await;
    let token = service(&app, &[Scope::RevocationsRead]).await;
    let page = app.internally(Method::GET, FEED).header("x-service-token", &token).await.json();
    assert_eq!(page["entries"][0]["exp"], NOON + 3600 + 30 + 30);
}
