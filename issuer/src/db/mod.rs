//! The database: how it is opened, read and written. Rooms put their SQL in their own `store.rs`, one statement for
//! SQLite and PostgreSQL alike; nobody may hold a connection or a transaction while a password is hashed.

mod error;
mod figures;
mod migrations;
mod open;
mod pool;
mod readiness;
mod reads;
mod tx;
mod writer;

use std::sync::Arc;

use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use sqlx::{Any, Executor};
use tokio::sync::watch;

pub use error::{Error, Unavailable};
pub use open::{OpenError, Schema, migrate, open, pending_migrations};
pub use readiness::Readiness;
pub use reads::Reads;
pub use tx::Tx;

use figures::Figures;

/// Which kind of database it is. Statements do not depend on it; opening, locking and errors do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

/// An open database; cheap to clone.
#[derive(Debug, Clone)]
pub struct Db {
    backend: Backend,
    reads: Reads,
    writes: writer::Queue,
    bell: watch::Sender<()>,
    figures: Arc<Figures>,
}

/// Where a verb that only reads may read: [`Db::reads`], or the transaction that it is part of.
pub trait Source<'e>: Executor<'e, Database = Any> {}

impl<'e, E: Executor<'e, Database = Any>> Source<'e> for E {}

impl Db {
    /// Does `work` in a transaction and answers with its value once that is committed.
    ///
    /// `work` may be called several times, in transactions of which all but the last are rolled back: it must change
    /// nothing but the database, and leave the rest to [`Tx::after_commit`]. It is done even if the caller goes away.
    ///
    /// # Errors
    /// Those of `work` and of the commit; nothing was written then, unless a connection broke during the commit itself.
    pub async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: AsyncFn(&mut Tx<'_>) -> Result<T, Error> + Send + 'static,
    {
        self.writes.write(work).await
    }

    /// Does `work` beside a request, which waits for no writer, and fails with none. If it fails, the log tells of it.
    pub fn write_beside<T, F>(&self, event: &'static str, message: &'static str, work: F)
    where
        T: Send + 'static,
        F: AsyncFn(&mut Tx<'_>) -> Result<T, Error> + Send + 'static,
    {
        let db = self.clone();
        tokio::spawn(async move {
            if let Err(error) = db.write(work).await {
                tracing::warn!(event, error = %error, "{message}");
            }
        });
    }

    /// Changes whenever a transaction of ours was committed that [rang](Tx::ring): there may be something new to read. What
    /// other processes write is not heard.
    pub fn bell(&self) -> watch::Receiver<()> {
        self.bell.subscribe()
    }

    /// Where to read what has been committed.
    pub fn reads(&self) -> &Reads {
        &self.reads
    }

    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Resolves when nothing can be written any more: after [`Db::close`], or because the writing thread is gone.
    pub async fn ended(&self) {
        self.writes.ended().await;
    }

    /// Finishes what was brought to be written, then closes every connection. A server that says nothing holds it up no longer
    /// than a transaction.
    pub async fn close(&self) {
        self.writes.close().await;
        self.reads.close().await;
    }

    pub fn register(&self, registry: &mut Registry) {
        self.figures.register(registry);
        let help = "Connections that reads may use at the same time";
        registry.register("db_read_connections_max", help, ConstGauge::new(i64::from(self.reads.most())));
    }
}
