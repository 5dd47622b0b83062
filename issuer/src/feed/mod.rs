//! What verifiers must refuse before it expires: sessions that ended early, API keys, and secrets of services. Entries are
//! numbered in the order in which they are committed, so that a reader who knows the last number misses none. The numbers
//! belong to an epoch; in another one they mean nothing, and a reader begins anew with all that is alive.

pub mod http;
mod metrics;
pub mod store;
mod waiting;

use std::time::Duration;

use crate::ambient::UnixTime;

pub use metrics::Metrics;
pub use waiting::{Feed, Refusal};

/// Entries that one answer has at most.
pub const PAGE: i64 = 1000;

/// The longest wait for something new.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How far the feed has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Mark {
    pub epoch: String,
    /// The number of the last entry, also of one that is gone.
    pub sequence: i64,
}

/// What a reader knows, and how long it would wait for more.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub epoch: Option<String>,
    pub since: Option<i64>,
    pub wait: Duration,
}

/// Where a reader is taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    After(i64),
    /// What the reader knows is of another history: it gets everything that is alive.
    Anew,
}

impl Asked {
    /// Where this reader goes on, the feed being here.
    pub fn start(&self, here: &Mark) -> Start {
        match self.since {
            Some(since) if self.epoch.as_ref() == Some(&here.epoch) && since <= here.sequence => {
                Start::After(since)
            }
            _ => Start::Anew,
        }
    }
}

/// A session whose tokens are to be refused, all of which have expired at `expires_at`.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Entry {
    pub sequence: i64,
    pub session_id: String,
    pub expires_at: UnixTime,
}

/// A part of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Where it begins.
    pub start: Start,
    pub epoch: String,
    /// After which to go on.
    pub sequence: i64,
    pub entries: Vec<Entry>,
    /// Whether there was nothing more at that moment.
    pub complete: bool,
}

impl Page {
    /// What was found after `start`, one entry more than a page holds included, the feed being here.
    pub fn new(start: Start, here: Mark, mut entries: Vec<Entry>) -> Self {
        let most = usize::try_from(PAGE).unwrap_or(usize::MAX);
        let complete = entries.len() <= most;
        entries.truncate(most);
        let last = entries.last().filter(|_| !complete).map(|entry| entry.sequence);
        Self { start, epoch: here.epoch, sequence: last.unwrap_or(here.sequence), entries, complete }
    }

    /// Whether it tells the reader anything.
    pub fn is_news(&self) -> bool {
        self.start != Start::After(self.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(sequence: i64) -> Mark {
        Mark { epoch: "one".into(), sequence }
    }

    fn asked(epoch: Option<&str>, since: Option<i64>) -> Asked {
        Asked { epoch: epoch.map(str::to_owned), since, wait: Duration::ZERO }
    }

    #[test]
    fn who_knows_another_history_begins_anew() {
        let start = |epoch, since| asked(epoch, since).start(&here(7));
        assert_eq!(start(Some("one"), Some(0)), Start::After(0));
        assert_eq!(start(Some("one"), Some(7)), Start::After(7));
        for (epoch, since) in [
            (None, None),
            (None, Some(7)),
            (Some("one"), None),
            (Some("two"), Some(7)),
            // As after restoring a backup.
            (Some("one"), Some(8)),
            (Some("one"), Some(i64::MAX)),
            (Some(""), Some(0)),
        ] {
            assert_eq!(start(epoch, since), Start::Anew, "{epoch:?} {since:?}");
        }
    }

    fn entries(count: i64) -> Vec<Entry> {
        let entry = |sequence| Entry {
            sequence,
            session_id: sequence.to_string(),
            expires_at: UnixTime::from_seconds(0),
        };
        (1..=count).map(entry).collect()
    }

    #[test]
    fn a_page_that_is_full_says_after_which_entry_to_go_on() {
        let page = Page::new(Start::Anew, here(5_000), entries(PAGE + 1));
        assert_eq!((page.entries.len(), page.sequence, page.complete), (1000, 1000, false));
        // Exactly full, and nothing was left out; later numbers are of entries that are gone.
        let page = Page::new(Start::Anew, here(5_000), entries(PAGE));
        assert_eq!((page.entries.len(), page.sequence, page.complete), (1000, 5_000, true));
    }

    #[test]
    fn only_what_moves_a_reader_on_is_news() {
        assert!(!Page::new(Start::After(7), here(7), Vec::new()).is_news());
        // What came is gone again: the reader moves on all the same.
        assert!(Page::new(Start::After(6), here(7), Vec::new()).is_news());
        assert!(Page::new(Start::Anew, here(0), Vec::new()).is_news());
    }
}
