//! Reading the feed, and waiting for what comes. Our own commits wake those who wait at once. What other processes write is
//! looked for, by one of those who wait for all of them; while nobody waits, nobody looks.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::metrics::Word;
use super::{Asked, Mark, Metrics, Page, Start, store};
use crate::ambient::Clock;
use crate::db::{Db, Error};

/// How often what others have written is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// However many commits there are, those who wait are not woken more often.
const WAKE_EVERY: Duration = Duration::from_millis(20);

/// Readers that may wait at the same time: there is one for each Envoy.
const MOST_WAITING: usize = 1000;

#[derive(Debug)]
pub enum Refusal {
    /// Too many wait already.
    Full,
    Database(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Feed {
    db: Db,
    clock: Clock,
    pub metrics: Metrics,
    /// How far the feed was when someone last looked.
    seen: Arc<watch::Sender<Mark>>,
    /// Held by who looks for all; when that was last done.
    looked: Arc<Mutex<Option<Instant>>>,
    places: Arc<Semaphore>,
    stopped: Arc<watch::Sender<bool>>,
}

impl Feed {
    pub fn new(db: Db, clock: Clock) -> Self {
        Self {
            db,
            clock,
            metrics: Metrics::default(),
            seen: Arc::default(),
            looked: Arc::default(),
            places: Arc::new(Semaphore::new(MOST_WAITING)),
            stopped: Arc::default(),
        }
    }

    /// Begins another epoch: what readers know may be of a database that was replaced while nobody ran.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn begin(&self) -> Result<(), Error> {
        self.db.write(async move |tx| store::begin_epoch(tx).await).await
    }

    /// Ends every wait, now and from now on: the process is about to stop.
    pub fn stop(&self) {
        self.stopped.send_replace(true);
    }

    /// What comes after what the reader knows; if that is nothing, what comes within the time that it would wait.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn read(&self, asked: &Asked) -> Result<Page, Refusal> {
        let read = self.read_or_wait(asked).await;
        match &read {
            Ok(page) if page.start == Start::Anew => self.metrics.count(Word::reset),
            Ok(page) if page.is_news() => self.metrics.count(Word::news),
            Ok(_) => self.metrics.count(Word::nothing),
            Err(Refusal::Full) => self.metrics.count(Word::refused),
            Err(Refusal::Database(_)) => {}
        }
        read
    }

    async fn read_or_wait(&self, asked: &Asked) -> Result<Page, Refusal> {
        // Before anything is read, so that nothing comes unseen in between.
        let mut seen = self.seen.subscribe();
        let page = self.page(asked).await?;
        if page.is_news() || asked.wait.is_zero() {
            return Ok(page);
        }
        let _place = self.places.try_acquire().map_err(|_| Refusal::Full)?;
        let _waits = self.metrics.waits();
        let (end, mut stopped) = (Instant::now() + asked.wait, self.stopped.subscribe());
        loop {
            tokio::select! {
                // The sender lives as long as we do.
                _ = seen.changed() => {}
                () = sleep_until(end) => break,
                () = requested(&mut stopped) => break,
                never = self.look_for_all() => match never {},
            }
            let page = self.page(asked).await?;
            if page.is_news() {
                return Ok(page);
            }
        }
        // Not what was read at the beginning: that the database is still there is part of the answer.
        Ok(self.page(asked).await?)
    }

    async fn page(&self, asked: &Asked) -> Result<Page, Error> {
        // First, so that every entry up to this number has been committed when the entries are read.
        let here = store::mark(self.db.reads()).await?;
        let start = asked.start(&here);
        let after = match start {
            Start::After(since) => since,
            Start::Anew => 0,
        };
        let entries = if after < here.sequence {
            store::entries(self.db.reads(), after, here.sequence, self.clock.now()).await?
        } else {
            Vec::new()
        };
        Ok(Page::new(start, here, entries))
    }

    /// Looks how far the feed is, again and again, as soon as nobody else does: after a commit of ours, and every now and
    /// then for those of others.
    async fn look_for_all(&self) -> Infallible {
        let mut looked = self.looked.lock().await;
        let mut bell = self.db.bell();
        loop {
            if let Some(last) = *looked {
                sleep_until(last + WAKE_EVERY).await;
            }
            *looked = Some(Instant::now());
            self.look().await;
            tokio::select! {
                // The database lives as long as we do.
                _ = bell.changed() => {}
                () = sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn look(&self) {
        self.metrics.looks.inc();
        // If the database is away, those who wait are told when their time is over.
        if let Ok(here) = store::mark(self.db.reads()).await {
            self.seen.send_if_modified(|seen| {
                let moved = *seen != here;
                *seen = here;
                moved
            });
        }
    }
}

async fn requested(stopped: &mut watch::Receiver<bool>) {
    // The sender lives as long as we do.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
