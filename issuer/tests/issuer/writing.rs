//! The one way to write, on whichever database: all or nothing, effects with the state, errors by what can be done.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use countersign_issuer::ambient::Ids;
use countersign_issuer::db::{Error, Tx};
use countersign_issuer::jobs::Lease;
use futures_util::future::join_all;
use http::StatusCode;
use serde_json::json;
use tokio::sync::{oneshot, watch};

use crate::stage::{Answer, ON_A_FILE, PASSWORD, Person, TestApp, part};

async fn note(tx: &mut Tx<'_>, name: &str) -> Result<(), Error> {
    let insert = sqlx::query("INSERT INTO counters (name, value) VALUES ($1, 0)").bind(name.to_owned());
    insert.execute(tx.connection()).await?;
    Ok(())
}

const NOTED: &str = "SELECT COUNT(*) FROM counters WHERE name LIKE 'test%'";

#[tokio::test(flavor = "multi_thread")]
async fn work_that_fails_or_panics_leaves_nothing_and_harms_nobody_in_its_commit() {
    let app = TestApp::new().await;
    let works = (0..40).map(|n: u32| {
        app.app.db.write(async move |tx| {
            note(tx, &format!("test {n}")).await?;
            match n % 4 {
                0 => note(tx, &format!("test {n}")).await,
                1 => panic!("as a bug would"),
                _ => Ok(()),
            }
        })
    });
    let results = join_all(works).await;
    for (n, result) in results.iter().enumerate() {
        match n % 4 {
            0 => assert!(
                matches!(result, Err(Error::Constraint { on, .. }) if on.starts_with("counters")),
                "{n}: {result:?}"
            ),
            1 => assert!(matches!(result, Err(Error::Panicked)), "{n}: {result:?}"),
            _ => assert!(result.is_ok(), "{n}: {result:?}"),
        }
    }
    assert_eq!(app.value::<i64>(NOTED).await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_commit_happens_once_and_never_without_it() {
    let app = TestApp::new().await;
    let happened = Arc::new(AtomicU32::new(0));
    let works = (0..16).map(|n: u32| {
        let happened = Arc::clone(&happened);
        app.app.db.write(async move |tx| {
            let happened = Arc::clone(&happened);
            tx.after_commit(move || {
                let _ = happened.fetch_add(1, Ordering::SeqCst);
            });
            if n == 7 { note(tx, "revocations").await } else { Ok(()) }
        })
    });
    join_all(works).await;
    assert_eq!(happened.load(Ordering::SeqCst), 15);
}

#[tokio::test]
async fn a_caller_who_goes_away_leaves_no_half() {
    let app = TestApp::new().await;
    let (release, mut released) = watch::channel(false);
    let blocked = released.clone();
    let waiting = app.app.db.write(async move |tx| {
        note(tx, "test one").await?;
        let _ = blocked.clone().wait_for(|go| *go).await;
        note(tx, "test two").await
    });
    // Polled until it has brought its work, then forgotten.
    let gone = tokio::time::timeout(std::time::Duration::from_millis(50), waiting).await;
    assert!(gone.is_err());
    release.send(true).unwrap();
    let _ = released.changed().await;
    app.app.db.write(async move |tx| note(tx, "test three").await).await.unwrap();
    app.app.db.close().await;
    let app = app.restarted(|_| ()).await;
    assert_eq!(app.value::<i64>(NOTED).await, 3);
}

/// Holds up the one writer of SQLite until the sender is dropped or used.
fn hold_up(app: &TestApp) -> (oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    hold_up_before(app, "UPDATE counters SET value = value")
}

/// Likewise; then this is done, ahead of all that waits.
fn hold_up_before(
    app: &TestApp,
    statement: &'static str,
) -> (oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    let (release, released) = oneshot::channel::<()>();
    let released = Arc::new(tokio::sync::Mutex::new(Some(released)));
    let db = app.app.db.clone();
    let held = tokio::spawn(async move {
        let work = db.write(async move |tx| {
            if let Some(released) = released.lock().await.take() {
                let _ = released.await;
            }
            sqlx::query(statement).execute(tx.connection()).await?;
            Ok(())
        });
        work.await.unwrap();
    });
    (release, held)
}

/// A refresh that goes on by itself.
fn refreshing(app: &TestApp, person: &Person) -> impl Future<Output = Answer> + Send + 'static {
    app.post("/v1/auth/refresh", json!({"refresh_token": person.refresh_token})).into_future()
}

#[tokio::test]
async fn a_wait_for_the_writer_does_not_count_as_grace() {
    let app = TestApp::with(ON_A_FILE, |_| ()).await;
    let ada = app.registered("ada@example.com").await;
    let (release, held) = hold_up(&app);
    tokio::task::yield_now().await;
    let first = tokio::spawn(refreshing(&app, &ada));
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    app.pass(100);
    release.send(()).unwrap();
    held.await.unwrap();
    first.await.unwrap().expect(StatusCode::OK);
    // The first answer got lost; the retry comes within the grace of when it was made.
    app.pass(30);
    app.refresh(&ada.refresh_token).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_refresh_that_waited_says_the_roles_that_hold_then() {
    let app = TestApp::with(ON_A_FILE, |_| ()).await;
    let root = app.admin("root@example.com").await;
    let (release, held) = hold_up_before(&app, "UPDATE users SET roles = 'user'");
    tokio::task::yield_now().await;
    let refreshed = tokio::spawn(refreshing(&app, &root));
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    release.send(()).unwrap();
    held.await.unwrap();
    let answer = refreshed.await.unwrap().expect(StatusCode::OK).json();
    assert_eq!(part(answer["access_token"].as_str().unwrap(), 1)["roles"], json!(["user"]));
}

#[tokio::test]
async fn the_grace_counts_from_the_commit_however_long_it_takes() {
    let app = TestApp::with(ON_A_FILE, |_| ()).await;
    let ada = app.registered("ada@example.com").await;
    let (release, held) = hold_up(&app);
    tokio::task::yield_now().await;
    let first = tokio::spawn(refreshing(&app, &ada));
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    // In the same commit, after the rotation: the commit comes a hundred seconds later.
    let (clock, late) = (app.clock.clone(), app.clock.now().plus(100));
    let db = app.app.db.clone();
    let stall = tokio::spawn(async move {
        let work = db.write(async move |_| {
            clock.set(late);
            Ok(())
        });
        work.await.unwrap();
    });
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    release.send(()).unwrap();
    for task in [held, stall] {
        task.await.unwrap();
    }
    first.await.unwrap().expect(StatusCode::OK);
    app.pass(30);
    app.refresh(&ada.refresh_token).await.expect(StatusCode::OK);
    app.pass(1);
    app.refresh(&ada.refresh_token).await.refused_grant("refresh_reused");
}

#[tokio::test]
async fn an_account_whose_session_could_not_begin_was_not_made() {
    let app = TestApp::new().await;
    app.execute("ALTER TABLE sessions RENAME TO hidden").await;
    let body = || json!({"email": "ada@example.com", "password": PASSWORD, "name": "Ada"});
    app.post("/v1/auth/register", body()).await.refused(500, "internal");
    app.execute("ALTER TABLE hidden RENAME TO sessions").await;
    app.post("/v1/auth/register", body()).await.expect(StatusCode::CREATED);
}

#[tokio::test]
async fn what_changes_and_what_is_told_of_it_are_committed_together() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    let other = app.logged_in("ada@example.com").await;
    app.execute("ALTER TABLE audit_events RENAME TO hidden").await;
    app.post("/v1/auth/logout", json!({})).by(&ada).await.refused(500, "internal");
    app.execute("ALTER TABLE hidden RENAME TO audit_events").await;
    // Nothing of the logout happened.
    app.get("/v1/users/me").by(&ada).await.expect(StatusCode::OK);
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM revocations").await, 0);
    app.post("/v1/auth/logout", json!({"all_devices": true})).by(&ada).await.expect(StatusCode::NO_CONTENT);
    app.get("/v1/users/me").by(&other).await.refused(401, "revoked");
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM revocations").await, 2);
    let last =
        "SELECT MAX(sequence) - value FROM revocations, counters WHERE name = 'revocations' GROUP BY value";
    assert_eq!(app.value::<i64>(last).await, 0);
    let logouts =
        "SELECT COUNT(*) FROM audit_events WHERE type = 'logout' AND outcome = 'success' AND subject = actor";
    assert_eq!(app.value::<i64>(logouts).await, 2);
}

#[tokio::test]
async fn revocations_are_forgotten_when_no_token_of_theirs_is_left() {
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    app.post("/v1/auth/logout", json!({})).by(&ada).await.expect(StatusCode::NO_CONTENT);
    // A lifetime, the skew, and as long as signing a token may take.
    for (passed, left) in [(959, 1), (1, 0)] {
        app.pass(passed);
        countersign_issuer::sessions::sweep(&app.app.db, app.clock.now()).await.unwrap();
        assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM revocations").await, left);
    }
}

#[tokio::test]
async fn one_issuer_has_a_lease_until_it_ends() {
    let app = TestApp::new().await;
    let ids = Ids::system();
    let (one, two) = (Lease::new("test", 60, &ids), Lease::new("test", 60, &ids));
    let take = async |lease: &Lease| lease.take(&app.app.db).await.unwrap();
    assert!(take(&one).await && take(&one).await && !take(&two).await);
    app.pass(60);
    assert!(take(&two).await && !take(&one).await);
    // A second or two are the difference of two clocks; a day is a clock that was set back.
    app.clock.set(app.clock.now().minus(2));
    assert!(!take(&one).await);
    app.clock.set(app.clock.now().minus(86_400));
    assert!(take(&one).await && !take(&two).await);
    // Whoever has none gives none up.
    two.release(&app.app.db).await;
    assert!(!take(&two).await);
    one.release(&app.app.db).await;
    assert!(take(&two).await);
}

#[tokio::test]
async fn the_longest_lifetime_is_remembered_until_its_tokens_are_gone() {
    let app = TestApp::with("[tokens]\naccess_lifetime = \"1h\"\n", |_| ()).await;
    assert!(!app.lifetimes.exchange(&app.app.db, app.clock.now()).await.unwrap());
    let app = app.restarted(|settings| settings.tokens.access_lifetime = 900).await;
    assert_eq!(app.lifetimes.longest(), 900);
    assert!(app.lifetimes.exchange(&app.app.db, app.clock.now()).await.unwrap());
    assert_eq!(app.lifetimes.longest(), 3600);
    // Two minutes for an issuer that was killed, an hour for its tokens.
    let forget = async |app: TestApp| {
        let app = app.restarted(|_| ()).await;
        app.lifetimes.exchange(&app.app.db, app.clock.now()).await.unwrap();
        app
    };
    app.pass(3719);
    let app = forget(app).await;
    assert_eq!(app.lifetimes.longest(), 3600);
    app.pass(1);
    assert_eq!(forget(app).await.lifetimes.longest(), 900);
}

#[tokio::test]
async fn a_missing_table_is_a_mistake_and_not_a_busy_database() {
    let app = TestApp::new().await;
    let wrong = app.app.db.write(async move |tx| {
        sqlx::query("SELECT 1 FROM nowhere").execute(tx.connection()).await?;
        Ok(())
    });
    assert!(matches!(wrong.await, Err(Error::Bug(_))));
}
