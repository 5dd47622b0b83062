//! The database: where it lives, how it is opened, which migrations it has had. Rooms put their SQL in their own
//! `store.rs`, written for SQLite and PostgreSQL alike; nobody may hold a connection while a password is hashed.

mod readiness;

use std::path::Path;
use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::migrate::{AppliedMigration, Migrate as _, MigrateError, Migrator};
use sqlx::{AnyConnection, AnyPool, Connection as _, Executor as _};

use crate::config::Database;

/// The pool every store works on; cheap to clone.
pub type Db = AnyPool;
pub use readiness::Readiness;
pub use sqlx::Error;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// SQLite has one writer; more connections only serve readers, and each costs a thread and a page cache.
const MAX_CONNECTIONS: u32 = 4;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("database.url: {file} cannot be used: {reason}")]
    Unusable { file: String, reason: String },
}

/// Until PostgreSQL is served too.
fn sqlite(database: &Database) -> Result<&Path, OpenError> {
    let unsupported = || unusable(Path::new(&database.url.to_string()), "PostgreSQL is not supported yet");
    database.url.file().ok_or_else(unsupported)
}

fn unusable(file: &Path, reason: impl std::fmt::Display) -> OpenError {
    OpenError::Unusable { file: file.display().to_string(), reason: reason.to_string() }
}

/// Opens the database, creating its file if there is none, brings it up to date and makes sure it can be written.
///
/// # Errors
/// [`OpenError`], in one line, naming the file.
pub async fn open(database: &Database) -> Result<Db, OpenError> {
    let file = sqlite(database)?;
    let pool = connect(file, "rwc").await?;
    MIGRATIONS.run(&pool).await.map_err(|error| unusable(file, migration_failure(&error)))?;
    // A file that became read-only since its last migration shows only when something writes.
    write_probe(&pool).await.map_err(|error| unusable(file, error))?;
    Ok(pool)
}

/// How many migrations the database still needs; `None` if it does not exist yet. Changes nothing.
///
/// # Errors
/// [`OpenError`] if it exists and cannot be used, or was migrated by another version of this program.
pub async fn pending_migrations(database: &Database) -> Result<Option<usize>, OpenError> {
    let file = sqlite(database)?;
    if !file.exists() {
        return Ok(None);
    }
    sqlx::any::install_default_drivers();
    // Nothing but the lock of a reader while an issuer runs; otherwise not even the files that a log needs.
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    let mode = if Path::new(&log).exists() { "mode=ro" } else { "immutable=1" };
    let url = format!("sqlite://{}?{mode}", percent_encode(file));
    let mut connection = AnyConnection::connect(&url).await.map_err(|error| unusable(file, error))?;
    let fail = |error: MigrateError| unusable(file, migration_failure(&error));
    let known = connection.list_applied_migrations(&MIGRATIONS.table_name).await;
    let applied = known.or_else(|error| if no_table(&error) { Ok(Vec::new()) } else { Err(fail(error)) })?;
    connection.close().await.map_err(|error| unusable(file, error))?;
    applied.iter().try_for_each(check_known).map_err(fail)?;
    Ok(Some(MIGRATIONS.iter().count().saturating_sub(applied.len())))
}

/// Refuses a migration that the database has had and this program would not run.
fn check_known(applied: &AppliedMigration) -> Result<(), MigrateError> {
    match MIGRATIONS.iter().find(|ours| ours.version == applied.version) {
        None => Err(MigrateError::VersionMissing(applied.version)),
        Some(ours) if ours.checksum != applied.checksum => {
            Err(MigrateError::VersionMismatch(applied.version))
        }
        Some(_) => Ok(()),
    }
}

/// Writes something that nobody reads: other statements may succeed without touching the disk.
async fn write_probe(db: &Db) -> Result<(), Error> {
    let write = "INSERT INTO write_probe (id, writes) VALUES (1, 1)
                 ON CONFLICT (id) DO UPDATE SET writes = write_probe.writes + 1";
    sqlx::query(write).execute(db).await.map(drop)
}

/// Whether it is the database that cannot at the moment, rather than the statement that is wrong: busy, locked,
/// read-only, failing or full (SQLite's primary result codes 5, 6, 8, 10 and 13).
pub fn is_unavailable(error: &Error) -> bool {
    match error {
        Error::PoolTimedOut | Error::PoolClosed | Error::Io(_) => true,
        Error::Database(error) => {
            let code = error.code().and_then(|code| code.parse::<u32>().ok());
            code.is_some_and(|code| matches!(code & 0xff, 5 | 6 | 8 | 10 | 13))
        }
        _ => false,
    }
}

async fn connect(file: &Path, mode: &str) -> Result<Db, OpenError> {
    sqlx::any::install_default_drivers();
    let url = format!("sqlite://{}?mode={mode}", percent_encode(file));
    let fail = |error: Error| unusable(file, error);
    // The pool would try again and again, and then say only that it timed out.
    let mut first = AnyConnection::connect(&url).await.map_err(fail)?;
    prepare(&mut first).await.map_err(fail)?;
    first.close().await.map_err(fail)?;
    AnyPoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(Duration::from_secs(5))
        .idle_timeout(Duration::from_secs(300))
        .max_lifetime(None)
        .after_connect(|connection, _| Box::pin(prepare(connection)))
        .connect(&url)
        .await
        .map_err(fail)
}

async fn prepare(connection: &mut AnyConnection) -> Result<(), Error> {
    for pragma in [
        "PRAGMA busy_timeout = 5000",
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL",
        "PRAGMA foreign_keys = ON",
    ] {
        connection.execute(pragma).await?;
    }
    Ok(())
}

/// The path as the part of an URL: sqlx decodes it again.
fn percent_encode(path: &Path) -> String {
    let mut encoded = String::new();
    for &byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn migration_failure(error: &MigrateError) -> String {
    match error {
        MigrateError::VersionMissing(version) => {
            format!("migration {version} is unknown: a newer version of countersign has migrated it")
        }
        error => reason(error),
    }
}

/// The innermost cause: the wrappers only say that a migration was being executed.
fn reason(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn no_table(error: &MigrateError) -> bool {
    reason(error).contains("no such table")
}
