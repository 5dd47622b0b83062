//! The longest lifetime that tokens still alive may have. It is in the database, because the process that issued them
//! may be gone, and its configuration with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::store;
use crate::ambient::UnixTime;
use crate::db::{Db, Error};

/// How often an issuer says that it goes on issuing tokens of its lifetime, in seconds.
pub const NOTED_EVERY: i64 = 60;

/// The longest lifetime in use, in seconds; cheap to clone.
#[derive(Debug, Clone)]
pub struct Lifetimes {
    configured: i64,
    longest: Arc<AtomicI64>,
}

impl Lifetimes {
    pub fn new(configured: i64) -> Self {
        Self { configured, longest: Arc::new(AtomicI64::new(configured)) }
    }

    /// The longest lifetime of a token that may be alive.
    pub fn longest(&self) -> i64 {
        self.longest.load(Ordering::Relaxed)
    }

    /// Notes that we issue tokens, and learns what others issue and issued before; answers whether there are longer
    /// ones than we knew.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn exchange(&self, db: &Db, now: UnixTime) -> Result<bool, Error> {
        let configured = self.configured;
        // Further ahead than the next time, so that a crash in between loses nothing.
        db.write(async move |tx| {
            let until = tx.now().plus(2 * NOTED_EVERY);
            store::note_lifetime(tx, configured, until).await
        })
        .await?;
        let longest = store::longest_lifetime(db.reads(), now).await?;
        // What it once was, it stays: a key must not be missed that was published a moment ago.
        Ok(self.longest.fetch_max(longest, Ordering::Relaxed) < longest)
    }
}
