//! Who has an account: so many people with a session each, and what else grows with them, filled in by SQL. All are copies
//! of rows that the issuer made itself, so that nothing here knows which columns there are.

use std::ops::Range;

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

/// Accounts apart from everyone, for what would get in the way of plain logins: some people with a second factor, whose roles
/// change, and the administrator. So many because each has one code in 30 seconds.
pub(crate) const APART: Range<u64> = 700_000_000_000..700_000_004_096;
pub(crate) const ADMINISTRATOR: u64 = APART.end;

/// Later than any run ends: 2100.
const FAR: &str = "4102444800";

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

    /// Fills in accounts until there are `count`, each with a session, a second factor that is not in force, an event and
    /// a failure. Nobody else may write meanwhile.
    pub(crate) async fn grow(&mut self, pool: &AnyPool, kind: Kind, count: u64) -> Result<()> {
        let id = &id()[..];
        let mut copies = accounts(pool, kind).await?;
        let event = [("id", id), ("subject", id), ("sequence", "1")];
        let failure = [("counter", id), ("locked_until", "0"), ("expires_at", FAR)];
        copies.push(copy(pool, kind, "totp", "", &[("user_id", id), ("enabled_at", "NULL")]).await?);
        copies.push(copy(pool, kind, "audit_events", "", &event).await?);
        copies.push(copy(pool, kind, "failures", "", &failure).await?);
        fill(pool, &copies, self.count..count.max(self.count)).await?;
        self.count = self.count.max(count);
        raw_sql(AssertSqlSafe(kind.after_bulk())).execute(pool).await?;
        Ok(())
    }
}

/// Fills in those apart.
pub(crate) async fn fill_apart(pool: &AnyPool, kind: Kind) -> Result<()> {
    fill(pool, &accounts(pool, kind).await?, APART.start..ADMINISTRATOR + 1).await?;
    let promote = format!("UPDATE users SET roles = 'admin' WHERE id = '{}'", user_id(ADMINISTRATOR));
    raw_sql(AssertSqlSafe(promote)).execute(pool).await?;
    Ok(())
}

/// Has those apart begin anew: no code is used up, and nobody's roles were changed.
pub(crate) async fn reset_apart(pool: &AnyPool) -> Result<()> {
    let (first, end) = (user_id(APART.start), user_id(APART.end));
    for (table, column, value, key) in
        [("totp", "last_step", "0", "user_id"), ("users", "roles", "'user'", "id")]
    {
        let reset =
            format!("UPDATE {table} SET {column} = {value} WHERE {key} >= '{first}' AND {key} < '{end}'");
        raw_sql(AssertSqlSafe(reset)).execute(pool).await?;
    }
    Ok(())
}

/// Whether every event is sealed, and there are some.
pub(crate) async fn is_sealed(pool: &AnyPool) -> Result<bool> {
    let sealed: i64 =
        query_scalar("SELECT COUNT(*) FROM audit_events WHERE sequence IS NOT NULL").fetch_one(pool).await?;
    let waiting: i64 =
        query_scalar("SELECT COUNT(*) FROM audit_events WHERE sequence IS NULL").fetch_one(pool).await?;
    Ok(sealed > 0 && waiting == 0)
}

/// The id of a copy, in SQL.
fn id() -> String {
    format!("'{PREFIX}' || n.i")
}

/// What makes an account with a session.
async fn accounts(pool: &AnyPool, kind: Kind) -> Result<Vec<String>> {
    let id = &id()[..];
    let first = format!("(SELECT id FROM users WHERE email = '{FIRST}')");
    let user = [("id", id), ("email", "n.i || '@bench.example'")];
    let session = [("id", id), ("user_id", id)];
    let users = copy(pool, kind, "users", &format!("WHERE id = {first}"), &user).await?;
    let sessions = copy(pool, kind, "sessions", &format!("WHERE user_id = {first}"), &session).await?;
    Ok(vec![users, sessions])
}

/// Runs the statements for each of the numbers.
async fn fill(pool: &AnyPool, copies: &[String], numbers: Range<u64>) -> Result<()> {
    let mut next = numbers.start;
    while next < numbers.end {
        let batch = BATCH.min(numbers.end - next);
        let from = FIRST_NUMBER + next;
        let to = from + batch - 1;
        let numbers = format!(
            "WITH RECURSIVE n (i) AS (SELECT CAST({from} AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < {to})"
        );
        for copy in copies {
            // On PostgreSQL the list stands before INSERT; SQLite takes it there, too.
            let done = raw_sql(AssertSqlSafe(format!("{numbers} {copy}"))).execute(pool).await?;
            ensure!(done.rows_affected() == batch, "{} of {batch} rows", done.rows_affected());
        }
        next += batch;
    }
    Ok(())
}

/// `INSERT` of copies of one row of the table for each number, with some columns of their own.
async fn copy(pool: &AnyPool, kind: Kind, table: &str, which: &str, own: &[(&str, &str)]) -> Result<String> {
    let columns: Vec<String> =
        query_scalar(AssertSqlSafe(kind.columns_of(table))).fetch_all(pool).await.context("columns")?;
    ensure!(!columns.is_empty(), "there is no table {table}");
    let value = |column: &String| match own.iter().find(|(name, _)| name == column) {
        Some((_, value)) => (*value).to_owned(),
        None => format!("t.{column}"),
    };
    let values: Vec<String> = columns.iter().map(value).collect();
    Ok(format!(
        "INSERT INTO {table} ({}) SELECT {} FROM n, (SELECT * FROM {table} {which} LIMIT 1) t",
        columns.join(", "),
        values.join(", ")
    ))
}
