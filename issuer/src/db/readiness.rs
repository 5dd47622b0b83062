//! Whether the database can be used, found out by using it: it takes a write, and a file is still the one that was
//! opened. Asked as often as anyone likes, it writes once in a while only.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Mutex;

use super::{Db, Error};
use crate::ambient::UnixTime;
use crate::config::DatabaseUrl;

/// A verdict holds for so many seconds.
const HOLDS: i64 = 5;

/// Remembers which file was opened, and the last verdict; cheap to clone.
#[derive(Debug, Clone)]
pub struct Readiness {
    db: Db,
    opened: Option<OpenFile>,
    last: Arc<Mutex<Option<Verdict>>>,
}

#[derive(Debug, Clone)]
struct OpenFile {
    path: PathBuf,
    identity: Option<Identity>,
}

#[derive(Debug, Clone, Copy)]
struct Verdict {
    at: UnixTime,
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
    /// For a database that was opened from `url` just now.
    pub fn new(db: Db, url: &DatabaseUrl) -> Self {
        let opened = match url {
            DatabaseUrl::Sqlite { file } => Some(OpenFile { path: file.clone(), identity: identity(file) }),
            DatabaseUrl::Postgres(_) => None,
        };
        Self { db, opened, last: Arc::default() }
    }

    /// Whether the database takes writes at `now` or did so just before. A refusal is logged.
    pub async fn is_usable(&self, now: UnixTime) -> bool {
        // Held while writing: who asks meanwhile gets the same verdict.
        let mut last = self.last.lock().await;
        if let Some(Verdict { at, usable }) = *last
            && (at..at.plus(HOLDS)).contains(&now)
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
        if let Some(OpenFile { path, identity: opened }) = &self.opened
            && (opened.is_none() || identity(path) != *opened)
        {
            return Err(Unusable::OtherFile(path.clone()));
        }
        Ok(write_probe(&self.db).await?)
    }
}

/// Writes something that nobody reads: other statements may succeed without touching the disk.
pub(super) async fn write_probe(db: &Db) -> Result<(), Error> {
    let write = "INSERT INTO write_probe (id, writes) VALUES (1, 1)
                 ON CONFLICT (id) DO UPDATE SET writes = write_probe.writes + 1";
    db.write(async move |tx| {
        sqlx::query(write).execute(tx.connection()).await?;
        Ok(())
    })
    .await
}

fn identity(file: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(file).ok().map(|file| (file.dev(), file.ino()))
}
