//! Wrapping data keys anew after the key-encryption key was replaced, so that the old one can go. It may run beside the
//! issuers and be broken off at any moment: each key is replaced by itself, or is still as it was.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::place;
use super::store::{self, Wrapped};
use crate::db::{self, Db};
use crate::envelope::{self, Envelope, WrappedKey};

/// Keys of one transaction, so few that nobody waits for it.
const STRETCH: i64 = 200;

/// Keys that are wrapped at the same time; half of what the issuers may ask of AWS KMS each.
const AT_ONCE: usize = 16;

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rewrap {
    pub rewrapped: u64,
    /// Another call replaced them meanwhile.
    pub replaced: u64,
    /// They do not open, and stay as they are.
    pub lost: u64,
    /// The old keys that cannot be used; what they have wrapped stays as it is.
    pub unusable: BTreeMap<String, Unusable>,
}

/// An old key that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    pub why: String,
    /// Keys of records that it has wrapped.
    pub keys: u64,
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
    let aside = Aside::default();
    loop {
        let stretch = store::wrapped_by_others(db.reads(), &current, &after, STRETCH).await?;
        let Some(last) = stretch.last() else { break };
        after.clone_from(&last.id);
        let length = stretch.len();
        let renewed = stream::iter(stretch).map(|old| renew(envelope, old, &aside)).buffer_unordered(AT_ONCE);
        let mut opened = Vec::with_capacity(length);
        for renewed in renewed.try_collect::<Vec<Renewed>>().await? {
            match renewed {
                Renewed::Done(old, new) => opened.push((old, new)),
                Renewed::Lost => done.lost += 1,
                Renewed::SetAside => {}
            }
        }
        let renewed = opened.len();
        let rewrapped = db.write(async move |tx| {
            let mut rewrapped = 0;
            for (old, new) in &opened {
                rewrapped += usize::from(store::rewrap(tx, &old.id, &old.data_key, new).await?);
            }
            Ok(rewrapped)
        });
        let rewrapped = rewrapped.await?;
        done.rewrapped += rewrapped as u64;
        done.replaced += (renewed - rewrapped) as u64;
        progress(Progress::Done(length as u64));
    }
    done.unusable = aside.0.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(done)
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Total(u64),
    Done(u64),
}

/// Old keys that cannot be used: they are not tried again, and keep no other from being replaced.
#[derive(Debug, Default)]
struct Aside(Mutex<BTreeMap<String, Unusable>>);

impl Aside {
    /// Counts a record whose key it has wrapped, if it is one of them.
    fn has(&self, key_id: &str) -> bool {
        let mut unusable = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = unusable.get_mut(key_id);
        found.map(|unusable| unusable.keys += 1).is_some()
    }

    fn add(&self, key_id: String, why: String) {
        let mut unusable = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        unusable.entry(key_id).or_insert(Unusable { why, keys: 0 }).keys += 1;
    }
}

/// What came of one data key.
enum Renewed {
    Done(Wrapped, WrappedKey),
    /// It does not open.
    Lost,
    /// What wrapped it cannot be used.
    SetAside,
}

/// If it is the current key that cannot be used, that ends the run: it would go no better with the next record.
async fn renew(envelope: &Envelope, old: Wrapped, aside: &Aside) -> Result<Renewed, envelope::Error> {
    if aside.has(&old.data_key.key_id) {
        return Ok(Renewed::SetAside);
    }
    match envelope.rewrap(place(&old.id, &old.user_id), &old.data_key).await {
        Ok(new) => Ok(Renewed::Done(old, new)),
        Err(error @ envelope::Error::Off) => Err(error),
        Err(envelope::Error::Unavailable { why, .. }) => {
            // One call of AWS KMS is about both keys, and does not say which of them it is.
            envelope.probe().await?;
            aside.add(old.data_key.key_id, why);
            Ok(Renewed::SetAside)
        }
        Err(error @ (envelope::Error::UnknownKey { .. } | envelope::Error::Forged)) => {
            let (account_id, error) = (old.id, error.to_string());
            tracing::error!(event = "rewrap_failed", account_id, error, "a data key was not wrapped anew");
            Ok(Renewed::Lost)
        }
    }
}
