//! A database that goes away in the middle of a request, with a word or without, and comes back.
//!
//! PostgreSQL is reached through a gate of ours, which falls shut at a `COMMIT`: all of a transaction has been done then,
//! and nothing of it stays. SQLite's file is locked by somebody else, so that nothing can be written to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use countersign_issuer::db::{Error, Unavailable};
use futures_util::future::join_all;
use sqlx::{AnyConnection, Connection as _, Executor as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::stage::{TestApp, database};

pub(crate) enum Outage {
    Sqlite { address: String, lock: Option<AnyConnection> },
    Postgres(Arc<Gate>),
}

impl Outage {
    /// An issuer with more configuration, and what its database is in the hands of.
    pub(crate) async fn ahead(more: &str) -> (TestApp, Self) {
        if let Some((lines, server)) = database() {
            let gate = Gate::to(server.clone()).await;
            let lines = lines.replace(&server, &gate.address.to_string());
            return (TestApp::with(&format!("{lines}{more}"), |_| ()).await, Self::Postgres(gate));
        }
        let app = TestApp::with(more, |_| ()).await;
        // Otherwise the writer waits five seconds for whoever holds the lock.
        app.execute("PRAGMA busy_timeout = 0").await;
        let address = format!("sqlite://{}?mode=rw", app.folder.path("issuer.db").display());
        (app, Self::Sqlite { address, lock: None })
    }

    /// From the commit of this number on, counted from one, until [`Outage::end`]. SQLite is locked at once.
    pub(crate) async fn begin_at_commit(&mut self, number: i64) {
        match self {
            Self::Sqlite { address, lock } => {
                let mut connection = AnyConnection::connect(address).await.unwrap();
                connection.execute("BEGIN IMMEDIATE").await.unwrap();
                *lock = Some(connection);
            }
            Self::Postgres(gate) => gate.commits_left.store(number - 1, Ordering::SeqCst),
        }
    }

    /// Until the issuer has found out by itself that the database is there again.
    pub(crate) async fn end(&mut self, app: &TestApp) {
        match self {
            Self::Sqlite { lock, .. } => {
                let mut connection = lock.take().unwrap();
                connection.execute("ROLLBACK").await.unwrap();
                connection.close().await.unwrap();
            }
            Self::Postgres(gate) => {
                gate.commits_left.store(i64::MAX, Ordering::SeqCst);
                gate.open.send_replace(true);
            }
        }
        let db = &app.app.db;
        let works = async || {
            let reads = (0..4).map(|_| sqlx::query("SELECT 1").fetch_all(db.reads()));
            let writes = (0..4).map(|_| db.write(async |_| Ok(())));
            let (reads, writes) = tokio::join!(join_all(reads), join_all(writes));
            reads.iter().all(Result::is_ok) && writes.iter().all(Result::is_ok)
        };
        for _ in 0..20 {
            if works().await {
                return;
            }
        }
        panic!("the issuer does not find the database again");
    }
}

type Halves = (OwnedReadHalf, OwnedWriteHalf);

/// Between an issuer and PostgreSQL.
pub(crate) struct Gate {
    address: SocketAddr,
    /// Commits that it lets through.
    commits_left: AtomicI64,
    open: watch::Sender<bool>,
    /// Connections of an earlier age are open, and nothing comes through any more.
    age: watch::Sender<u64>,
}

impl Gate {
    async fn to(server: String) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gate = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            commits_left: AtomicI64::new(i64::MAX),
            open: watch::Sender::new(true),
            age: watch::Sender::new(0),
        });
        let keeper = Arc::clone(&gate);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (gate, server) = (Arc::clone(&keeper), server.clone());
                tokio::spawn(async move {
                    let (mut shut, mut age) = (gate.open.subscribe(), gate.age.subscribe());
                    if *shut.borrow() {
                        let server = TcpStream::connect(&server).await.unwrap();
                        let (mut client, mut server) = (client.into_split(), server.into_split());
                        let shut = async { drop(shut.wait_for(|open| !open).await) };
                        tokio::select! {
                            () = gate.carry(&mut client, &mut server) => {}
                            () = shut => {}
                            // Both ends stay as they are.
                            _ = age.changed() => std::future::pending().await,
                        }
                    }
                });
            }
        });
        gate
    }

    /// Until one of the two goes away, or a commit comes that is one too many.
    async fn carry(&self, client: &mut Halves, server: &mut Halves) {
        let ((from_client, to_client), (from_server, to_server)) = (client, server);
        let requests = async {
            let mut chunk = vec![0; 1 << 16];
            while let Ok(length @ 1..) = from_client.read(&mut chunk).await {
                let commits = chunk[..length].windows(7).any(|bytes| bytes == b"COMMIT\0");
                if commits && self.commits_left.fetch_sub(1, Ordering::SeqCst) <= 0 {
                    self.open.send_replace(false);
                    return;
                }
                if to_server.write_all(&chunk[..length]).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = requests => {}
            _ = tokio::io::copy(from_server, to_client) => {}
        }
    }
}

/// Long enough for any machine, and far below the time after which the kernel gives up.
const KERNEL: Duration = Duration::from_secs(40);

/// PostgreSQL, whose machine loses its power under load: nothing closes its connections. Another takes its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_vanishes_without_a_word_is_found_again_and_holds_no_stop_up() {
    let Some((lines, server)) = database() else { return };
    let gate = Gate::to(server.clone()).await;
    let lines = lines.replace(&server, &gate.address.to_string());
    let patience = Duration::from_secs(1);
    let app = TestApp::with(&lines, |settings| settings.database.patience = patience).await;
    let db = &app.app.db;
    let read = || sqlx::query("SELECT 1 FROM pg_sleep(0.05)").fetch_all(db.reads());
    let write = || {
        db.write(async |tx| {
            sqlx::query("SELECT 1 FROM pg_sleep(0.05)").fetch_all(tx.connection()).await?;
            Ok(())
        })
    };
    let load = async || {
        let (reads, writes) = ((0..4).map(|_| read()), (0..4).map(|_| write()));
        let (reads, writes) = tokio::join!(join_all(reads), join_all(writes));
        let errors = reads.into_iter().filter_map(|read| read.err().map(Error::from));
        errors.chain(writes.into_iter().filter_map(Result::err)).collect::<Vec<_>>()
    };
    let tested = async {
        for stop in [false, true] {
            // Every connection is open, and was in use just before.
            let errors = load().await;
            assert!(errors.is_empty(), "{errors:?}");
            gate.age.send_modify(|age| *age += 1);
            // One that is given up before it is over, as at the deadline of a call.
            assert!(timeout(Duration::from_millis(20), read()).await.is_err());
            if stop {
                let (errors, ()) = tokio::join!(load(), async {
                    tokio::task::yield_now().await;
                    db.close().await;
                });
                assert!(!errors.is_empty());
                return;
            }
            let errors = load().await;
            assert!(!errors.is_empty() && errors.iter().all(Error::is_unavailable), "{errors:?}");
        }
    };
    timeout(KERNEL, tested).await.expect("it waits for the kernel");
}

/// PostgreSQL that may only be read, as one that stands by for another, or that takes too long.
#[tokio::test]
async fn what_the_server_cannot_do_now_is_told_from_what_is_wrong() {
    let Ok(server) = std::env::var("TEST_DATABASE_URL") else { return };
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(&server).await.unwrap();
    connection.execute("SET default_transaction_read_only = on; SET statement_timeout = 1").await.unwrap();
    for (statement, why) in [
        ("CREATE TABLE nothing (id INTEGER)", Unavailable::ReadOnly),
        ("SELECT pg_sleep(10)", Unavailable::Locked),
    ] {
        let error = Error::from(connection.execute(statement).await.unwrap_err());
        assert!(matches!(error, Error::Unavailable { why: found, .. } if found == why), "{error:?}");
    }
    let wrong = Error::from(connection.execute("SELECT nothing FROM nowhere").await.unwrap_err());
    assert!(matches!(wrong, Error::Bug(_)), "{wrong:?}");
}
