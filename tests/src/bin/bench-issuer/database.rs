//! The databases on which the issuer is measured, each new for a run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sqlx::any::{AnyPoolOptions, install_default_drivers};
use sqlx::{AnyPool, AssertSqlSafe, query_scalar, raw_sql};

/// Names the PostgreSQL server, as for the tests: `postgres://user:password@host:port/database`.
pub(crate) const POSTGRES: &str = "TEST_DATABASE_URL";

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }

    /// A query for the names of a table's columns.
    pub(crate) fn columns_of(self, table: &str) -> String {
        match self {
            Self::Sqlite => format!("SELECT name FROM pragma_table_info('{table}')"),
            Self::Postgres => format!(
                "SELECT CAST(column_name AS TEXT) FROM information_schema.columns \
                 WHERE table_name = '{table}' AND table_schema = 'public' ORDER BY ordinal_position"
            ),
        }
    }

    /// What a server does by itself some time after many rows have come, done now.
    pub(crate) fn after_bulk(self) -> &'static str {
        match self {
            Self::Sqlite => "PRAGMA wal_checkpoint(TRUNCATE)",
            Self::Postgres => "VACUUM ANALYZE",
        }
    }
}

/// A database of our own.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) kind: Kind,
    /// For the issuer's configuration.
    pub(crate) url: String,
    /// Where databases are made and dropped: the server's URL.
    server: Option<String>,
    name: String,
}

impl Database {
    /// An empty one; a SQLite file is made in `folder`.
    pub(crate) async fn create(kind: Kind, folder: &Path) -> Result<Self> {
        install_default_drivers();
        let name = format!("countersign_bench_{}", std::process::id());
        match kind {
            Kind::Sqlite => {
                let file: PathBuf = folder.join("issuer.db");
                let url = format!("sqlite:{}", file.display());
                Ok(Self { kind, url, server: None, name })
            }
            Kind::Postgres => {
                let server = std::env::var(POSTGRES)
                    .with_context(|| format!("{POSTGRES} does not name a PostgreSQL server"))?;
                statement(&server, &format!("CREATE DATABASE {name}")).await?;
                let url = beside(&server, &name).context("a URL without a database")?;
                Ok(Self { kind, url, server: Some(server), name })
            }
        }
    }

    pub(crate) async fn pool(&self) -> Result<AnyPool> {
        pool(&self.url).await
    }

    /// What the durability of its commits rests on.
    pub(crate) async fn about(&self) -> Result<serde_json::Value> {
        let pool = self.pool().await?;
        let about = match self.kind {
            Kind::Sqlite => {
                let version: String = query_scalar("SELECT sqlite_version()").fetch_one(&pool).await?;
                serde_json::json!({ "version": version })
            }
            Kind::Postgres => {
                let mut about = serde_json::Map::new();
                for setting in ["server_version", "fsync", "synchronous_commit", "shared_buffers"] {
                    let show = format!("SELECT current_setting('{setting}')");
                    let value: String = query_scalar(AssertSqlSafe(show)).fetch_one(&pool).await?;
                    about.insert(setting.to_owned(), value.into());
                }
                about.into()
            }
        };
        pool.close().await;
        Ok(about)
    }

    /// Removes it; a file goes with its folder.
    pub(crate) async fn drop(self) -> Result<()> {
        match &self.server {
            Some(server) => {
                statement(server, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)).await
            }
            None => Ok(()),
        }
    }
}

/// The URL of another database on the same server.
fn beside(url: &str, name: &str) -> Option<String> {
    let (place, parameters) = url.split_once('?').map_or((url, None), |(place, rest)| (place, Some(rest)));
    let (server, _) = place.rsplit_once('/').filter(|(server, _)| !server.ends_with('/'))?;
    Some(parameters.map_or(format!("{server}/{name}"), |rest| format!("{server}/{name}?{rest}")))
}

async fn pool(url: &str) -> Result<AnyPool> {
    AnyPoolOptions::new().max_connections(1).connect(url).await.context("cannot reach the database")
}

async fn statement(url: &str, statement: &str) -> Result<()> {
    let pool = pool(url).await?;
    raw_sql(AssertSqlSafe(statement.to_owned())).execute(&pool).await?;
    pool.close().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_of_the_database_is_another() {
        assert_eq!(beside("postgres://u:p@h:1/x", "y").unwrap(), "postgres://u:p@h:1/y");
        assert_eq!(beside("postgres://h/x?sslmode=disable", "y").unwrap(), "postgres://h/y?sslmode=disable");
        assert_eq!(beside("postgres://h", "y"), None);
    }
}
