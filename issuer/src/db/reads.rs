//! Reading. A server that is gone without a word, as after a failover, is waited for as long as a slow one and no longer; then
//! its connection makes room for another. sqlx by itself waits until the kernel gives up, a quarter of an hour later.

use std::io::ErrorKind;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use sqlx::any::{AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo};
use sqlx::{Any, Describe, Either, Execute, Executor, SqlStr};
use tokio::time::timeout;

use super::pool::Pool;

/// Where to read; cheap to clone.
#[derive(Debug, Clone)]
pub struct Reads {
    pool: Pool,
    patience: Duration,
}

/// Of a server that says nothing.
pub(super) fn no_answer() -> sqlx::Error {
    sqlx::Error::Io(ErrorKind::TimedOut.into())
}

impl Reads {
    pub(super) fn new(pool: Pool, patience: Duration) -> Self {
        Self { pool, patience }
    }

    /// Connections that there may be.
    pub fn most(&self) -> u32 {
        self.pool.most()
    }

    /// Connections that are open.
    pub fn size(&self) -> u32 {
        self.pool.size()
    }

    /// Those of them that nothing uses.
    pub fn idle(&self) -> usize {
        self.pool.idle()
    }

    /// Waits for what is read, which is bounded, and closes every connection.
    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    async fn bounded<T>(&self, said: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
        timeout(self.patience, said).await.unwrap_or_else(|_| Err(no_answer()))
    }
}

impl<'p> Executor<'p> for &'_ Reads {
    type Database = Any;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<AnyQueryResult, AnyRow>, sqlx::Error>>
    where
        E: 'q + Execute<'q, Any>,
    {
        let reads = self.clone();
        let rows = async move {
            let mut lent = reads.pool.lend().await?;
            let rows: Vec<_> = reads.bounded(lent.fetch_many(query).try_collect()).await?;
            lent.proved();
            Ok::<_, sqlx::Error>(stream::iter(rows.into_iter().map(Ok)))
        };
        stream::once(rows).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<AnyRow>, sqlx::Error>>
    where
        E: 'q + Execute<'q, Any>,
    {
        let reads = self.clone();
        Box::pin(async move {
            let mut lent = reads.pool.lend().await?;
            let row = reads.bounded(lent.fetch_optional(query)).await?;
            lent.proved();
            Ok(row)
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [AnyTypeInfo],
    ) -> BoxFuture<'e, Result<AnyStatement, sqlx::Error>>
    where
        'p: 'e,
    {
        let reads = self.clone();
        Box::pin(async move {
            let mut lent = reads.pool.lend().await?;
            reads.bounded(lent.prepare_with(sql, parameters)).await
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Any>, sqlx::Error>> {
        let reads = self.clone();
        Box::pin(async move {
            let mut lent = reads.pool.lend().await?;
            reads.bounded(lent.describe(sql)).await
        })
    }
}
