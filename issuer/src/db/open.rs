//! Opening the database: its file or its server, its migrations, its connections.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::any::AnyPoolOptions;
use sqlx::migrate::MigrateError;
use sqlx::{AnyConnection, Connection as _, Executor as _};
use tokio::sync::watch;

use super::pool::{Pool, TRUSTED};
use super::tx::Stalls;
use super::{Backend, Db, Error, Figures, Reads, migrations, readiness, writer};
use crate::ambient::Ids;
use crate::config::{Database, DatabaseUrl, Settings, belong_as};
use crate::secrets::Ring;

/// SQLite reads on as many connections; each costs a thread and a page cache.
const SQLITE_READERS: u32 = 4;

/// What to do about migrations that the database still needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// Run them, and create the file of SQLite if there is none.
    Migrate,
    /// Refuse the database.
    Expect,
}

/// Why a database cannot be used, in one line that names it and never its password.
#[derive(Debug, thiserror::Error)]
#[error("database.url: {database} cannot be used: {reason}")]
pub struct OpenError {
    database: String,
    reason: String,
}

impl OpenError {
    fn new(url: &DatabaseUrl, reason: impl std::fmt::Display) -> Self {
        Self { database: url.to_string(), reason: reason.to_string() }
    }
}

/// Opens the database and makes sure that it is up to date and can be written.
///
/// # Errors
/// [`OpenError`].
pub async fn open(settings: &Settings, schema: Schema, ids: &Ids) -> Result<Db, OpenError> {
    let database = &settings.database;
    let url = &database.url;
    match schema {
        Schema::Migrate => migrate(database).await?,
        Schema::Expect => match pending_migrations(database).await? {
            Some(0) => {}
            Some(_) => {
                return Err(OpenError::new(url, "it is not up to date; `countersign migrate` does that"));
            }
            None => return Err(OpenError::new(url, "it does not exist; `countersign migrate` creates it")),
        },
    }
    let fail = |error: sqlx::Error| OpenError::new(url, Error::from(error));
    let (figures, bell) = (Arc::<Figures>::default(), watch::Sender::default());
    let desk = writer::Desk {
        ids: ids.clone(),
        ring: Ring::from(&settings.archive_secrets()),
        stalls: Stalls::default(),
        bell: bell.clone(),
        figures: Arc::clone(&figures),
        patience: database.patience,
    };
    let (backend, address) = (backend(url), address(url, "rw"));
    let (reads, writes) = match backend {
        Backend::Sqlite => {
            let prepare = {
                let address = address.clone();
                move || async move { connect(&address, backend).await }
            };
            let writes = writer::start(desk, prepare, writer::one_writer).await;
            (pool(&address, backend, SQLITE_READERS).await, writes)
        }
        Backend::Postgres => {
            // Half for reading, half for writing.
            let half = (database.max_connections / 2).max(1);
            let prepare = {
                let address = address.clone();
                move || async move { pool(&address, backend, half).await }
            };
            let writes = writer::start(desk, prepare, writer::many_writers).await;
            (pool(&address, backend, half).await, writes)
        }
    };
    let patience = match backend {
        // Nothing is far away.
        Backend::Sqlite => Duration::MAX,
        Backend::Postgres => database.patience,
    };
    let reads = Reads::new(reads.map_err(fail)?, patience);
    let db = Db { backend, reads, writes: writes.map_err(fail)?, bell, figures };
    // A database that became read-only since its last migration shows only when something writes.
    readiness::write_probe(&db).await.map_err(|error| OpenError::new(url, error))?;
    Ok(db)
}

/// Brings the database up to date, creating the file of SQLite if there is none. Of several at the same time one does
/// it and the others wait.
///
/// # Errors
/// [`OpenError`].
pub async fn migrate(database: &Database) -> Result<(), OpenError> {
    let url = &database.url;
    let _alone = match url {
        DatabaseUrl::Sqlite { file } => {
            Some(lock_and_create(file).map_err(|error| OpenError::new(url, error))?)
        }
        DatabaseUrl::Postgres(_) => None,
    };
    let mut connection = first(url, "rw").await?;
    let result = migrations::run(&mut connection, backend(url)).await;
    let _ = connection.close().await;
    result.map_err(|error| OpenError::new(url, migrations::failure(&error)))
}

/// How many migrations the database still needs; `None` if it does not exist yet. Changes nothing, on disk neither.
///
/// # Errors
/// [`OpenError`] if it exists and cannot be used, or was migrated by another version of this program.
pub async fn pending_migrations(database: &Database) -> Result<Option<usize>, OpenError> {
    let url = &database.url;
    let mode = match url {
        DatabaseUrl::Sqlite { file } if !file.exists() => return Ok(None),
        // Nobody has it open: read without the files that SQLite would make beside it.
        DatabaseUrl::Sqlite { file } if !has_log(file) => "ro&immutable=1",
        DatabaseUrl::Sqlite { .. } => "ro",
        DatabaseUrl::Postgres(_) => "",
    };
    let fail = |error: MigrateError| OpenError::new(url, migrations::failure(&error));
    let address = address(url, mode);
    let mut connection = raw(&address).await.map_err(|error| OpenError::new(url, Error::from(error)))?;
    let pending = migrations::pending(&mut connection, backend(url)).await;
    let _ = connection.close().await;
    pending.map(Some).map_err(fail)
}

fn backend(url: &DatabaseUrl) -> Backend {
    match url {
        DatabaseUrl::Sqlite { .. } => Backend::Sqlite,
        DatabaseUrl::Postgres(_) => Backend::Postgres,
    }
}

/// Whether SQLite keeps its write-ahead log beside this file now.
fn has_log(file: &Path) -> bool {
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    Path::new(&log).exists()
}

/// Locks the folder against other starters until the file returned is closed, and makes the database file if there is
/// none: for its owner only, whatever the umask, because it has the hashes of passwords.
fn lock_and_create(file: &Path) -> std::io::Result<File> {
    let absolute = std::path::absolute(file)?;
    let folder = File::open(absolute.parent().unwrap_or(Path::new("/")))?;
    folder.lock()?;
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        // Root may prepare it for the user whose folder it is.
        Ok(made) => belong_as(&made, &folder.metadata()?)?,
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        Err(_) => {}
    }
    Ok(folder)
}

/// Where sqlx connects to; `mode` is SQLite's.
fn address(url: &DatabaseUrl, mode: &str) -> SecretString {
    /// What stands for itself in the path of a URL.
    const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'_').remove(b'-');
    match url {
        DatabaseUrl::Sqlite { file } => {
            let path = percent_encode(file.as_os_str().as_encoded_bytes(), PATH);
            format!("sqlite://{path}?mode={mode}").into()
        }
        DatabaseUrl::Postgres(url) => url.expose(),
    }
}

async fn raw(address: &SecretString) -> Result<AnyConnection, sqlx::Error> {
    sqlx::any::install_default_drivers();
    AnyConnection::connect(address.expose_secret()).await
}

async fn connect(address: &SecretString, backend: Backend) -> Result<AnyConnection, sqlx::Error> {
    let mut connection = raw(address).await?;
    prepare(&mut connection, backend).await?;
    Ok(connection)
}

/// The first connection, by itself: a pool would try again and again, and then say only that it timed out.
async fn first(url: &DatabaseUrl, mode: &str) -> Result<AnyConnection, OpenError> {
    connect(&address(url, mode), backend(url)).await.map_err(|error| OpenError::new(url, Error::from(error)))
}

async fn pool(address: &SecretString, backend: Backend, connections: u32) -> Result<Pool, sqlx::Error> {
    sqlx::any::install_default_drivers();
    AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(5))
        .idle_timeout(Duration::from_secs(300))
        .max_lifetime(None)
        // A connection that was just in use is not asked first whether it still works: that would be a round trip more for
        // every read. It was asked when it came back.
        .test_before_acquire(false)
        .before_acquire(|connection, pooled| {
            Box::pin(async move {
                if pooled.idle_for > TRUSTED {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .after_connect(move |connection, _| Box::pin(prepare(connection, backend)))
        .connect(address.expose_secret())
        .await
        .map(Pool::new)
}

async fn prepare(connection: &mut AnyConnection, backend: Backend) -> Result<(), sqlx::Error> {
    let settings: &[&'static str] = match backend {
        Backend::Sqlite => &[
            "PRAGMA busy_timeout = 5000",
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = FULL",
            "PRAGMA foreign_keys = ON",
        ],
        Backend::Postgres => &[
            "SET application_name = 'countersign'",
            "SET statement_timeout = '10s'",
            "SET idle_in_transaction_session_timeout = '30s'",
        ],
    };
    for setting in settings {
        connection.execute(*setting).await?;
    }
    Ok(())
}
