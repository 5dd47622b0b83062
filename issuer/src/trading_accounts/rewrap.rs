//! Wrapping data keys anew after the key-encryption key was replaced, so that the old one can go. It may run beside the
//! issuers and be broken off at any moment: each key is replaced by itself, or is still as it was.

use futures_util::future::try_join_all;

use super::place;
use super::store::{self, Wrapped};
use crate::db::{self, Db};
use crate::envelope::{self, Envelope, WrappedKey};

/// Keys of one transaction, so few that nobody waits for it.
const STRETCH: i64 = 200;

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rewrap {
    pub rewrapped: u64,
    /// Another call replaced them meanwhile.
    pub replaced: u64,
    /// They do not open, and stay as they are.
    pub lost: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum RewrapError {
    #[error(transparent)]
    Database(#[from] db::Error),
    #[error(transparent)]
    Encryption(#[from] envelope::Error),
}

/// Wraps with the current key what another one wrapped. `progress` is told how many there are, and then of each stretch how
/// many it had.
///
/// # Errors
/// If the database or the current key cannot be used; what was done until then stays done.
pub async fn rewrap(
    db: &Db,
    envelope: &Envelope,
    mut progress: impl FnMut(Progress),
) -> Result<Rewrap, RewrapError> {
    let current = envelope.current()?.to_owned();
    let total = store::count_wrapped_by_others(db.reads(), &current).await?;
    progress(Progress::Total(total.unsigned_abs()));
    let (mut done, mut after) = (Rewrap::default(), String::new());
    loop {
        let stretch = store::wrapped_by_others(db.reads(), &current, &after, STRETCH).await?;
        let Some(last) = stretch.last() else { break };
        after.clone_from(&last.id);
        let length = stretch.len();
        let renewed = try_join_all(stretch.into_iter().map(|old| renew(envelope, old))).await?;
        let renewed: Vec<(Wrapped, WrappedKey)> = renewed.into_iter().flatten().collect();
        let opened = renewed.len();
        let rewrapped = db.write(async move |tx| {
            let mut rewrapped = 0;
            for (old, new) in &renewed {
                rewrapped += usize::from(store::rewrap(tx, &old.id, &old.data_key, new).await?);
            }
            Ok(rewrapped)
        });
        let rewrapped = rewrapped.await?;
        done.rewrapped += rewrapped as u64;
        done.replaced += (opened - rewrapped) as u64;
        done.lost += (length - opened) as u64;
        progress(Progress::Done(length as u64));
    }
    Ok(done)
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Total(u64),
    Done(u64),
}

/// `None` for a key that does not open.
async fn renew(envelope: &Envelope, old: Wrapped) -> Result<Option<(Wrapped, WrappedKey)>, envelope::Error> {
    match envelope.rewrap(place(&old.id, &old.user_id), &old.data_key).await {
        Ok(new) => Ok(Some((old, new))),
        Err(envelope::Error::Off) => Err(envelope::Error::Off),
        Err(error) => {
            let (account_id, error) = (old.id, error.to_string());
            tracing::error!(event = "rewrap_failed", account_id, error, "a data key was not wrapped anew");
            Ok(None)
        }
    }
}
