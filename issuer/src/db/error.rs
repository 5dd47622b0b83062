//! What can go wrong with the database, told apart by what a caller can do about it. The two backends number their
//! errors differently, so each is read by its own table.

use std::fmt;

use sqlx::error::{DatabaseError, ErrorKind};
use sqlx::postgres::PgDatabaseError;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot at the moment; the same call may succeed later.
    #[error("{why}: {source}")]
    Unavailable { why: Unavailable, source: sqlx::Error },
    /// Another transaction came first; the same one succeeds when it is tried again.
    #[error("another transaction came first: {0}")]
    Conflict(sqlx::Error),
    /// A rule of the schema forbids it. `on` is `table.column` on both backends.
    #[error("a row breaks the rule on {on}")]
    Constraint { on: String, source: sqlx::Error },
    /// The statement or the schema is wrong, or a privilege is missing: trying again does not help.
    #[error("{0}")]
    Bug(sqlx::Error),
    /// The work panicked; nothing of it was written.
    #[error("a transaction panicked")]
    Panicked,
    /// The database is being closed.
    #[error("the database is closed")]
    Closed,
}

/// Why the database cannot at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    Locked,
    Full,
    ReadOnly,
    NotAllowed,
    Broken,
    Disconnected,
    Overloaded,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Locked => "the database is locked by another process",
            Self::Full => "the disk is full",
            Self::ReadOnly => "the database is read-only",
            Self::NotAllowed => "this user may not read and write the database",
            Self::Broken => "reading or writing the database's files fails",
            Self::Disconnected => "there is no connection to the database",
            Self::Overloaded => "no connection to the database came free in time",
        })
    }
}

impl Error {
    /// Whether it is the database that cannot, rather than the statement that is wrong.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Conflict(_) | Self::Closed)
    }
}

impl From<sqlx::Error> for Error {
    fn from(source: sqlx::Error) -> Self {
        let kind = match &source {
            sqlx::Error::Database(error) => match error.try_downcast_ref::<PgDatabaseError>() {
                Some(error) => postgres(error),
                None => sqlite(error.as_ref()),
            },
            sqlx::Error::PoolTimedOut => Kind::Unavailable(Unavailable::Overloaded),
            // What makes no sense came over a connection that was cut, or goes to something else: another one is better.
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::WorkerCrashed => Kind::Unavailable(Unavailable::Disconnected),
            sqlx::Error::PoolClosed => return Self::Closed,
            _ => Kind::Bug,
        };
        match kind {
            Kind::Unavailable(why) => Self::Unavailable { why, source },
            Kind::Conflict => Self::Conflict(source),
            Kind::Constraint(on) => Self::Constraint { on, source },
            Kind::Bug => Self::Bug(source),
        }
    }
}

enum Kind {
    Unavailable(Unavailable),
    Conflict,
    Constraint(String),
    Bug,
}

/// By SQLite's primary result code, the low byte of the extended one (sqlite.org/rescode.html).
fn sqlite(error: &dyn DatabaseError) -> Kind {
    let code = error.code().and_then(|code| code.parse::<u32>().ok()).unwrap_or_default();
    match code & 0xff {
        // PERM, AUTH, CANTOPEN
        3 | 14 | 23 => Kind::Unavailable(Unavailable::NotAllowed),
        // BUSY, LOCKED
        5 | 6 => Kind::Unavailable(Unavailable::Locked),
        8 => Kind::Unavailable(Unavailable::ReadOnly),
        // IOERR
        10 => Kind::Unavailable(Unavailable::Broken),
        13 => Kind::Unavailable(Unavailable::Full),
        // "UNIQUE constraint failed: users.email"
        19 => Kind::Constraint(error.message().rsplit(": ").next().unwrap_or_default().to_owned()),
        _ => Kind::Bug,
    }
}

/// By SQLSTATE (PostgreSQL, appendix A).
fn postgres(error: &PgDatabaseError) -> Kind {
    let code = error.code();
    match code.split_at_checked(2).unwrap_or_default() {
        ("40", _) => Kind::Conflict,
        ("08", _) | ("57", "P01" | "P02" | "P03" | "P05") => Kind::Unavailable(Unavailable::Disconnected),
        ("57", "014") | ("55", "P03") => Kind::Unavailable(Unavailable::Locked),
        ("53", "100") => Kind::Unavailable(Unavailable::Full),
        ("53", _) => Kind::Unavailable(Unavailable::Overloaded),
        ("58", _) => Kind::Unavailable(Unavailable::Broken),
        ("25", "006") => Kind::Unavailable(Unavailable::ReadOnly),
        ("23", _) => Kind::Constraint(constrained(error)),
        _ => Kind::Bug,
    }
}

/// `users_email_key`, as PostgreSQL names the constraint of `users.email`, in the words of SQLite.
fn constrained(error: &PgDatabaseError) -> String {
    let table = error.table().unwrap_or_default();
    let name = error.constraint().unwrap_or_default();
    let column = match error.kind() {
        ErrorKind::NotNullViolation => error.column().unwrap_or_default(),
        _ => name
            .strip_prefix(table)
            .and_then(|rest| rest.strip_prefix('_'))
            .and_then(|rest| rest.strip_suffix("_key"))
            .unwrap_or(name),
    };
    format!("{table}.{column}")
}

#[cfg(test)]
mod tests {
    use sqlx::{AnyConnection, Connection as _, Executor as _};

    use super::*;

    #[tokio::test]
    async fn what_sqlite_cannot_do_now_is_told_from_what_is_wrong() {
        sqlx::any::install_default_drivers();
        let refused = async |prepared: &str, statement: &'static str| {
            let mut connection = AnyConnection::connect("sqlite::memory:").await.unwrap();
            connection.execute(sqlx::AssertSqlSafe(prepared.to_owned())).await.unwrap();
            Error::from(connection.execute(statement).await.unwrap_err())
        };
        let create = "CREATE TABLE t (id INTEGER)";
        let nowhere = AnyConnection::connect("sqlite:///nowhere/at/all.db").await.unwrap_err();
        for (error, expected) in [
            (refused("PRAGMA query_only = ON", create).await, Unavailable::ReadOnly),
            (refused("PRAGMA max_page_count = 1", create).await, Unavailable::Full),
            (nowhere.into(), Unavailable::NotAllowed),
        ] {
            assert!(matches!(error, Error::Unavailable { why, .. } if why == expected), "{error:?}");
        }
        let wrong = refused(create, "SELECT nothing FROM t").await;
        assert!(matches!(wrong, Error::Bug(_)), "{wrong:?}");
    }

    #[test]
    fn what_makes_no_sense_is_the_fault_of_the_connection() {
        let error = Error::from(sqlx::Error::Protocol("unexpected message".to_owned()));
        assert!(error.is_unavailable(), "{error}");
        assert!(!Error::from(sqlx::Error::RowNotFound).is_unavailable());
    }
}
