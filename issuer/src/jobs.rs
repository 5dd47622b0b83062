//! Work beside the requests: tasks that must not end, and jobs that one of several issuers does now and then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::ambient::Ids;
use crate::db::{Db, Error, Tx};

/// How long after its end a task is started again.
const PAUSE: Duration = Duration::from_secs(1);

/// Keeps tasks going until the process stops.
#[derive(Debug)]
pub struct Supervisor {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    restarts: Arc<AtomicU64>,
}

/// Tells a task when to stop.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Waits for so long; false if the process stops meanwhile.
    pub async fn pause(&mut self, time: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(time) => true,
            () = self.requested() => false,
        }
    }

    /// Resolves when the process stops.
    pub async fn requested(&mut self) {
        // An error means that the supervisor is gone, and the process with it.
        let _ = self.0.wait_for(|stopped| *stopped).await;
    }

    fn is_requested(&self) -> bool {
        *self.0.borrow()
    }
}

impl Default for Supervisor {
    fn default() -> Self {
        Self { tasks: JoinSet::new(), stop: watch::Sender::new(false), restarts: Arc::default() }
    }
}

impl Supervisor {
    /// Runs the task that `start` makes, and another one whenever it ends or panics before the process stops.
    pub fn keep<F>(&mut self, name: &'static str, mut start: impl FnMut(Stop) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut stop = Stop(self.stop.subscribe());
        let restarts = Arc::clone(&self.restarts);
        self.tasks.spawn(async move {
            loop {
                // In a task of its own, so that a panic ends it and not this one.
                let ended = tokio::spawn(start(stop.clone())).await;
                if stop.is_requested() {
                    return;
                }
                let panicked = ended.is_err();
                tracing::error!(
                    event = "task_ended",
                    task = name,
                    panicked,
                    "a task ended and is started again"
                );
                restarts.fetch_add(1, Ordering::Relaxed);
                if !stop.pause(PAUSE).await {
                    return;
                }
            }
        });
    }

    /// Tasks started again since the start of the process; for metrics.
    pub fn restarts(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.restarts)
    }

    /// Tells every task to stop and waits for them, for a bounded time.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(Duration::from_secs(5), all).await.is_err() {
            tracing::warn!(event = "tasks_cut_off", "tasks did not stop in time");
        }
    }
}

/// Which of several issuers on one database does a job.
#[derive(Debug, Clone)]
pub struct Lease {
    name: &'static str,
    holder: String,
    /// Seconds; longer than the job takes.
    length: i64,
}

impl Lease {
    pub fn new(name: &'static str, length: i64, ids: &Ids) -> Self {
        Self { name, holder: ids.uuid().to_string(), length }
    }

    /// Takes or keeps the lease; false while another issuer has it.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn take(&self, db: &Db) -> Result<bool, Error> {
        let lease = self.clone();
        db.write(async move |tx| lease.take_in(tx).await).await
    }

    /// Lets whoever comes next do the job at once, such as the issuer that takes our place. If that cannot be written, the
    /// lease ends in its time.
    pub async fn release(&self, db: &Db) {
        let lease = self.clone();
        let given_up = db.write(async move |tx| {
            let release = "DELETE FROM leases WHERE name = $1 AND holder = $2";
            sqlx::query(release).bind(lease.name).bind(lease.holder.clone()).execute(tx.connection()).await?;
            Ok(())
        });
        let _ = given_up.await;
    }

    async fn take_in(&self, tx: &mut Tx<'_>) -> Result<bool, Error> {
        let now = tx.now();
        let done = sqlx::query(
            "INSERT INTO leases (name, holder, expires_at) VALUES ($1, $2, $3)
             ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
             WHERE leases.holder = excluded.holder OR leases.expires_at <= $4 OR leases.expires_at > $5",
        )
        .bind(self.name)
        .bind(self.holder.clone())
        .bind(now.plus(self.length))
        .bind(now)
        // One that ends later was taken before the clock was set back; the clocks of two issuers do not differ so much.
        .bind(now.plus(self.length.saturating_mul(2)))
        .execute(tx.connection())
        .await?;
        Ok(done.rows_affected() == 1)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_or_panics_is_started_again_until_the_process_stops() {
        let (started, mut starts) = mpsc::unbounded_channel();
        let mut supervisor = Supervisor::default();
        let mut count = 0;
        supervisor.keep("test", move |mut stop| {
            count += 1;
            let (started, count) = (started.clone(), count);
            async move {
                let _ = started.send(count);
                match count {
                    1 => {}
                    2 => panic!("as a bug would"),
                    _ => stop.requested().await,
                }
            }
        });
        for expected in 1..=3 {
            assert_eq!(starts.recv().await, Some(expected));
        }
        assert_eq!(supervisor.restarts().load(Ordering::Relaxed), 2);
        supervisor.stop().await;
        assert_eq!(starts.recv().await, None);
    }
}
