//! Who has an account: so many people with a session each, filled in by SQL. All are copies of one account and one
//! session that the issuer made itself, so that nothing here knows which columns there are.

use anyhow::{Context, Result, ensure};
use sqlx::{AnyPool, AssertSqlSafe, query_scalar, raw_sql};

use crate::database::Kind;

/// The account that all others are copied from.
pub(crate) const FIRST: &str = "first@bench.example";
pub(crate) const PASSWORD: &str = "tundra-adagio-velvet-97";

/// The key that signs in this issuer. The same in every run: nothing here is secret.
pub(crate) const KID: &str = "bench";
pub(crate) const KEY_SEED: [u8; 32] = [7; 32];

/// Leads from anyone to everyone, far apart: a prime.
pub(crate) const STRIDE: u64 = 2_654_435_761;

/// Copied in one statement.
const BATCH: u64 = 50_000;

/// Ids are as long as the issuer's.
const PREFIX: &str = "01900000-0000-7000-8000-";
const FIRST_NUMBER: u64 = 100_000_000_000;

pub(crate) fn user_id(number: u64) -> String {
    format!("{PREFIX}{}", FIRST_NUMBER + number)
}

/// Ids need only differ within their table.
pub(crate) fn session_id(number: u64) -> String {
    user_id(number)
}

pub(crate) fn email(number: u64) -> String {
    format!("{}@bench.example", FIRST_NUMBER + number)
}

/// Everyone with an account, by number from 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct People {
    pub(crate) count: u64,
}

impl People {
    /// One of them.
    pub(crate) fn pick(self, number: u64) -> u64 {
        number % self.count.max(1)
    }

    /// Fills in accounts until there are `count`. Nobody else may write meanwhile.
    pub(crate) async fn grow(&mut self, pool: &AnyPool, kind: Kind, count: u64) -> Result<()> {
        let id = format!("'{PREFIX}' || n.i");
        let users = copy(pool, kind, "users", &[("id", &id), ("email", "n.i || '@bench.example'")]).await?;
        let sessions = copy(pool, kind, "sessions", &[("id", &id), ("user_id", &id)]).await?;
        while self.count < count {
            let batch = BATCH.min(count - self.count);
            let from = FIRST_NUMBER + self.count;
            let to = from + batch - 1;
            let numbers = format!(
                "WITH RECURSIVE n (i) AS (SELECT CAST({from} AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < {to})"
            );
            for copy in [&users, &sessions] {
                // On PostgreSQL the list stands before INSERT; SQLite takes it there, too.
                let done = raw_sql(AssertSqlSafe(format!("{numbers} {copy}"))).execute(pool).await?;
                ensure!(done.rows_affected() == batch, "{} of {batch} rows", done.rows_affected());
            }
            self.count += batch;
        }
        raw_sql(AssertSqlSafe(kind.after_bulk())).execute(pool).await?;
        Ok(())
    }
}

/// `INSERT` of copies of the first account's row for each number, with some columns of their own.
async fn copy(pool: &AnyPool, kind: Kind, table: &str, own: &[(&str, &str)]) -> Result<String> {
    let columns: Vec<String> =
        query_scalar(AssertSqlSafe(kind.columns_of(table))).fetch_all(pool).await.context("columns")?;
    ensure!(!columns.is_empty(), "there is no table {table}");
    let value = |column: &String| match own.iter().find(|(name, _)| name == column) {
        Some((_, value)) => (*value).to_owned(),
        None => format!("t.{column}"),
    };
    let values: Vec<String> = columns.iter().map(value).collect();
    let owner = if table == "users" { "id" } else { "user_id" };
    Ok(format!(
        "INSERT INTO {table} ({}) SELECT {} FROM n, \
         (SELECT * FROM {table} WHERE {owner} = (SELECT id FROM users WHERE email = '{FIRST}') LIMIT 1) t",
        columns.join(", "),
        values.join(", ")
    ))
}
