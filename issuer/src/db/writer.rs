//! The one way to write. Work is handed to a thread of its own, so that a caller who goes away never leaves half of
//! it, and so that writing never waits for a busy worker.
//!
//! SQLite has one writer: what is waiting is done in one transaction, so that durability costs one sync for all of
//! it and not one each. PostgreSQL has many: each work is a transaction, tried again when another came first.

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use sqlx::{AnyConnection, Connection as _, Executor as _};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::pool::Pool;
use super::tx::{Stalls, Tx};
use super::{Error, Figures, reads};
use crate::ambient::Ids;
use crate::secrets::Ring;

/// Work that may wait; whoever brings more waits for a place.
const QUEUE: usize = 1024;

/// As much as one commit takes, so that nobody waits for long behind others.
const LARGEST_BATCH: usize = 128;

/// How often work is tried that loses against other transactions.
const TRIES: u32 = 8;

/// Where work is brought.
#[derive(Debug, Clone)]
pub(super) struct Queue(mpsc::Sender<Message>);

pub(super) enum Message {
    Work(Box<dyn Work>),
    Close(oneshot::Sender<()>),
}

/// Something to be done in a transaction. It may be tried several times; only the last counts.
pub(super) trait Work: Send {
    fn attempt<'a>(&'a mut self, tx: &'a mut Tx<'_>) -> LocalBoxFuture<'a, Result<(), Error>>;

    /// Tells the caller: the transaction was committed, or nothing of it was.
    fn finish(self: Box<Self>, result: Result<(), Error>);
}

struct Asked<T, F> {
    work: F,
    value: Option<T>,
    reply: oneshot::Sender<Result<T, Error>>,
}

impl<T, F> Work for Asked<T, F>
where
    T: Send,
    F: AsyncFn(&mut Tx<'_>) -> Result<T, Error> + Send,
{
    fn attempt<'a>(&'a mut self, tx: &'a mut Tx<'_>) -> LocalBoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.value = None;
            let work = AssertUnwindSafe((self.work)(tx)).catch_unwind();
            self.value = Some(work.await.map_err(|_| Error::Panicked)??);
            Ok(())
        })
    }

    fn finish(self: Box<Self>, result: Result<(), Error>) {
        let Self { value, reply, .. } = *self;
        // Nobody may be waiting any more; the work is done all the same.
        let _ = reply.send(result.and_then(|()| value.ok_or(Error::Closed)));
    }
}

impl Queue {
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: AsyncFn(&mut Tx<'_>) -> Result<T, Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let work = Box::new(Asked { work, value: None, reply });
        self.0.send(Message::Work(work)).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }

    /// Resolves when nobody writes any more: after [`Queue::close`], or because the thread is gone.
    pub(super) async fn ended(&self) {
        self.0.closed().await;
    }

    /// Finishes what was brought before, and takes nothing more.
    pub(super) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.0.send(Message::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

/// What every way of writing needs.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) ids: Ids,
    pub(super) ring: Ring,
    pub(super) stalls: Stalls,
    pub(super) bell: watch::Sender<()>,
    pub(super) figures: Arc<Figures>,
    /// How long a server may take over a transaction.
    pub(super) patience: Duration,
}

/// Starts the thread; `prepare` opens the connection in it, because a connection lives where it was opened.
pub(super) async fn start<C, P>(
    desk: Desk,
    prepare: impl FnOnce() -> P + Send + 'static,
    run: impl AsyncFnOnce(C, Desk, mpsc::Receiver<Message>) + Send + 'static,
) -> Result<Queue, sqlx::Error>
where
    P: Future<Output = Result<C, sqlx::Error>>,
{
    let (sender, receiver) = mpsc::channel(QUEUE);
    let (ready, started) = oneshot::channel();
    let body = move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(ready.send(Err(sqlx::Error::Io(error)))),
        };
        LocalSet::new().block_on(&runtime, async move {
            match prepare().await {
                Ok(connection) => {
                    let _ = ready.send(Ok(()));
                    run(connection, desk, receiver).await;
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        });
    };
    std::thread::Builder::new().name("db-writer".to_owned()).spawn(body).map_err(sqlx::Error::Io)?;
    started.await.map_err(|_| sqlx::Error::WorkerCrashed)??;
    Ok(Queue(sender))
}

/// Groups work into transactions of one connection.
pub(super) async fn one_writer(
    mut connection: AnyConnection,
    desk: Desk,
    mut messages: mpsc::Receiver<Message>,
) {
    let mut closing = None;
    while closing.is_none() {
        let Some(message) = messages.recv().await else { break };
        let mut batch = Vec::new();
        let mut next = Some(message);
        while let Some(message) = next {
            match message {
                Message::Work(work) => batch.push(work),
                Message::Close(done) => closing = Some(done),
            }
            let full = batch.len() >= LARGEST_BATCH || closing.is_some();
            next = if full { None } else { messages.try_recv().ok() };
        }
        if !batch.is_empty() {
            commit_together(&mut connection, &desk, batch).await;
        }
    }
    let _ = connection.close().await;
    if let Some(done) = closing {
        let _ = done.send(());
    }
}

/// One transaction for all, or, if any of it fails, one for each: then nobody's failure is another's.
async fn commit_together(connection: &mut AnyConnection, desk: &Desk, mut batch: Vec<Box<dyn Work>>) {
    desk.figures.batch(batch.len());
    if batch.len() > 1 {
        let all = batch.iter_mut().map(|work| &mut **work as &mut dyn Work).collect();
        if transaction(connection, desk, "BEGIN IMMEDIATE", all).await.is_ok() {
            batch.into_iter().for_each(|work| work.finish(Ok(())));
            return;
        }
    }
    for mut work in batch {
        let result = transaction(connection, desk, "BEGIN IMMEDIATE", vec![&mut *work]).await;
        work.finish(result);
    }
}

/// A transaction for each work, as many at a time as there are connections.
pub(super) async fn many_writers(pool: Pool, desk: Desk, mut messages: mpsc::Receiver<Message>) {
    let connections = pool.most();
    let (pool, desk) = (Rc::new(pool), Rc::new(desk));
    let slots = Arc::new(Semaphore::new(usize::try_from(connections).unwrap_or(1)));
    while let Some(message) = messages.recv().await {
        let work = match message {
            Message::Work(work) => work,
            Message::Close(done) => {
                let _ = slots.acquire_many(connections).await;
                pool.close().await;
                let _ = done.send(());
                return;
            }
        };
        let slot = Arc::clone(&slots).acquire_owned().await;
        let (pool, desk) = (Rc::clone(&pool), Rc::clone(&desk));
        tokio::task::spawn_local(async move {
            desk.figures.batch(1);
            commit_alone(&pool, &desk, work).await;
            drop(slot);
        });
    }
}

async fn commit_alone(pool: &Pool, desk: &Desk, mut work: Box<dyn Work>) {
    let mut tries = 0;
    let result = loop {
        tries += 1;
        let mut lent = match pool.lend().await {
            Ok(lent) => lent,
            Err(error) => break Err(error.into()),
        };
        let transaction = transaction(&mut lent, desk, "BEGIN", vec![&mut *work]);
        let result = match timeout(desk.patience, transaction).await {
            Ok(Ok(())) => {
                lent.proved();
                Ok(())
            }
            Ok(Err(error)) => {
                drop(lent);
                Err(error)
            }
            Err(_) => {
                lent.discard();
                Err(reads::no_answer().into())
            }
        };
        match &result {
            Err(Error::Conflict(_)) if tries < TRIES => {
                desk.figures.retried();
                tokio::time::sleep(Duration::from_millis(u64::from(tries) * 3)).await;
            }
            _ => break result,
        }
    };
    work.finish(result);
}

/// Begins, works, commits, and then does what was to be done after the commit; or rolls back.
async fn transaction(
    connection: &mut AnyConnection,
    desk: &Desk,
    begin: &'static str,
    works: Vec<&mut dyn Work>,
) -> Result<(), Error> {
    if connection.execute(begin).await.is_err() {
        // A transaction whose rollback failed may still be open; no other could ever begin.
        let _ = connection.execute("ROLLBACK").await;
        connection.execute(begin).await?;
    }
    let begun = desk.ids.clock.now();
    let mut effects = Vec::new();
    let mut result = Ok(());
    for work in works {
        let mut tx = Tx::new(connection, desk);
        result = work.attempt(&mut tx).await;
        effects.append(&mut tx.effects);
        if result.is_err() {
            break;
        }
    }
    if result.is_ok() {
        result = connection.execute("COMMIT").await.map(drop).map_err(Error::from);
    }
    match result {
        Ok(()) => {
            desk.stalls.note(begun, desk.ids.clock.now());
            effects.into_iter().for_each(|effect| effect());
        }
        // A rollback fails if the transaction is gone already, with its connection or by SQLite's own doing.
        Err(_) => drop(connection.execute("ROLLBACK").await),
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk() -> Desk {
        let (stalls, figures) = (Stalls::default(), Arc::default());
        let (ring, bell) = (Ring::of(&["one".to_owned()]), watch::Sender::default());
        Desk { ids: Ids::system(), ring, stalls, bell, figures, patience: Duration::MAX }
    }

    #[tokio::test]
    async fn a_transaction_left_open_keeps_nobody_from_writing() {
        sqlx::any::install_default_drivers();
        let mut connection = AnyConnection::connect("sqlite::memory:").await.unwrap();
        // As after a disk error: its rollback failed.
        connection.execute("BEGIN").await.unwrap();
        transaction(&mut connection, &desk(), "BEGIN IMMEDIATE", Vec::new()).await.unwrap();
    }

    #[tokio::test]
    async fn who_listens_hears_that_the_writing_thread_is_gone() {
        let gone = async |(), _desk, _messages| {};
        let queue = start(desk(), || async { Ok(()) }, gone).await.unwrap();
        queue.ended().await;
        let refused = queue.write(async |_: &mut Tx<'_>| Ok(())).await;
        assert!(matches!(refused, Err(Error::Closed)));
    }
}
