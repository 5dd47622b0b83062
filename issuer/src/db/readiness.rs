//! Whether the database can be used, found out by using it: it takes a write, and its file is still the one that was
//! opened. Asked as often as anyone likes, it writes once in a while only.

use std::path::{Path, PathBuf};

use tokio::sync::Mutex;

use super::{Db, Error, write_probe};

/// A verdict holds for so many seconds.
const HOLDS: i64 = 5;

/// Remembers which file was opened, and the last verdict.
#[derive(Debug)]
pub struct Readiness {
    db: Db,
    file: PathBuf,
    opened: Option<Identity>,
    last: Mutex<Option<Verdict>>,
}

#[derive(Debug, Clone, Copy)]
struct Verdict {
    at: i64,
    usable: bool,
}

/// Device and inode: a file that was removed lives on for who has it open, and whatever is written to it is lost.
type Identity = (u64, u64);

#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("{} is not the file that was opened: removed or replaced; restart", .0.display())]
    OtherFile(PathBuf),
    #[error(transparent)]
    Failed(#[from] Error),
}

impl Readiness {
    /// For a database that was opened from `file` just now.
    pub fn new(db: Db, file: &Path) -> Self {
        Self { db, file: file.to_owned(), opened: identity(file), last: Mutex::new(None) }
    }

    /// Whether the database takes writes at `now` (unix seconds) or did so just before. A refusal is logged.
    pub async fn is_usable(&self, now: i64) -> bool {
        // Held while writing: who asks meanwhile gets the same verdict.
        let mut last = self.last.lock().await;
        if let Some(Verdict { at, usable }) = *last
            && (at..at.saturating_add(HOLDS)).contains(&now)
        {
            return usable;
        }
        let result = self.try_out().await;
        if let Err(error) = &result {
            tracing::error!(event = "not_ready", error = %error, "the database cannot be used");
        }
        let usable = result.is_ok();
        *last = Some(Verdict { at: now, usable });
        usable
    }

    async fn try_out(&self) -> Result<(), Unusable> {
        if self.opened.is_none() || identity(&self.file) != self.opened {
            return Err(Unusable::OtherFile(self.file.clone()));
        }
        Ok(write_probe(&self.db).await?)
    }
}

fn identity(file: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(file).ok().map(|file| (file.dev(), file.ino()))
}
