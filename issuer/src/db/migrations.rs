//! Which migrations the database has had. Both backends get the same ones under the same numbers. Two things differ: the
//! type of binary columns, and lines that only PostgreSQL understands, which are comments to SQLite.

use sqlx::migrate::{AppliedMigration, Migrate as _, MigrateError, Migration, Migrator};
use sqlx::{AnyConnection, AssertSqlSafe, SqlSafeStr as _};

use super::Backend;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// What a line begins with that only PostgreSQL runs.
const POSTGRES_ONLY: &str = "-- PostgreSQL: ";

/// The migrations as this backend runs them.
fn of(backend: Backend) -> Migrator {
    let adapted = |migration: &Migration| match backend {
        Backend::Sqlite => migration.clone(),
        Backend::Postgres => {
            let sql = migration.sql.as_str().replace(" BLOB", " BYTEA").replace(POSTGRES_ONLY, "");
            let (version, description) = (migration.version, migration.description.clone());
            let sql = AssertSqlSafe(sql).into_sql_str();
            Migration::new(version, description, migration.migration_type, sql, migration.no_tx)
        }
    };
    Migrator::with_migrations(MIGRATIONS.iter().map(adapted).collect())
}

/// Brings the database up to date. On PostgreSQL an advisory lock keeps other starters waiting meanwhile; on SQLite
/// that is the caller's to do.
pub(super) async fn run(connection: &mut AnyConnection, backend: Backend) -> Result<(), MigrateError> {
    of(backend).run(connection).await
}

/// How many migrations the database still needs. Changes nothing.
///
/// # Errors
/// If it was migrated by another version of this program, or does not answer.
pub(super) async fn pending(connection: &mut AnyConnection, backend: Backend) -> Result<usize, MigrateError> {
    let ours = of(backend);
    let known = connection.list_applied_migrations(&ours.table_name).await;
    let applied = known.or_else(|error| if no_table(&error) { Ok(Vec::new()) } else { Err(error) })?;
    applied.iter().try_for_each(|applied| check_known(&ours, applied))?;
    Ok(ours.iter().count().saturating_sub(applied.len()))
}

/// Refuses a migration that the database has had and this program would not run.
fn check_known(ours: &Migrator, applied: &AppliedMigration) -> Result<(), MigrateError> {
    match ours.iter().find(|ours| ours.version == applied.version) {
        None => Err(MigrateError::VersionMissing(applied.version)),
        Some(ours) if ours.checksum != applied.checksum => {
            Err(MigrateError::VersionMismatch(applied.version))
        }
        Some(_) => Ok(()),
    }
}

/// What went wrong, for the operator.
pub(super) fn failure(error: &MigrateError) -> String {
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
    let reason = reason(error);
    reason.contains("no such table") || (reason.contains("relation") && reason.contains("does not exist"))
}
