//! Sealing what was committed, and removing what retention lets go: in stretches so short that nobody waits for them,
//! by whichever issuer has the lease. Two that do it at once wait for each other, and do nothing twice.

use super::chain::{Chain, Flaw, Head};
use super::{Metrics, store};
use crate::ambient::UnixTime;
use crate::db::{Db, Error, Tx};

/// Events that one transaction seals or removes.
const STRETCH: i64 = 256;

/// Events that wait are counted up to so many.
const COUNTED: i64 = 10_000;

/// What a transaction did.
#[derive(Debug)]
enum Step {
    /// So many events.
    Done(usize),
    /// The chain has not begun; events of versions without one have their MACs up to this id.
    Beginning(String),
    Refused(Flaw),
}

/// How sealing or removing went.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// So many events.
    Done(usize),
    /// Nothing is done to a chain that is not whole: it would hide what happened to it.
    Refused(Flaw),
}

/// Notes how far the chain is; answers whether anything waits to be sealed.
///
/// # Errors
/// Those of the database.
pub async fn look(db: &Db, metrics: &Metrics) -> Result<bool, Error> {
    let waiting = store::count_unsealed(db.reads(), COUNTED).await?;
    metrics.unsealed.set(waiting);
    if let Some((chain, _)) = store::chain(db.reads()).await? {
        metrics.sealed.set(chain.sealed.sequence);
    }
    Ok(waiting > 0)
}

/// Seals every committed event that is not sealed.
///
/// # Errors
/// Those of the database.
pub async fn seal(db: &Db) -> Result<Outcome, Error> {
    let (mut total, mut begun_up_to) = (0, String::new());
    loop {
        let after = begun_up_to.clone();
        let step = db.write(async move |tx: &mut Tx<'_>| seal_stretch(tx, &after).await).await?;
        if let Step::Beginning(last) = &step {
            begun_up_to.clone_from(last);
        }
        if let Some(outcome) = step.counted(&mut total) {
            return Ok(outcome);
        }
    }
}

/// Removes the events before `cutoff` from the beginning of the chain.
///
/// # Errors
/// Those of the database.
pub async fn retire(db: &Db, cutoff: UnixTime) -> Result<Outcome, Error> {
    let mut total = 0;
    loop {
        let step = db.write(async move |tx: &mut Tx<'_>| retire_stretch(tx, cutoff).await).await?;
        if let Some(outcome) = step.counted(&mut total) {
            return Ok(outcome);
        }
    }
}

impl Step {
    /// Adds what was done to the total; the outcome, if there is nothing more to do.
    fn counted(self, total: &mut usize) -> Option<Outcome> {
        match self {
            Self::Done(count) => {
                *total += count;
                // Only behind a full stretch is there more.
                let was_full = i64::try_from(count).is_ok_and(|count| count >= STRETCH);
                (!was_full).then_some(Outcome::Done(*total))
            }
            Self::Beginning(_) => None,
            Self::Refused(flaw) => Some(Outcome::Refused(flaw)),
        }
    }
}

/// The chain, held, if it is ours.
async fn held(tx: &mut Tx<'_>) -> Result<Result<Option<Chain>, Flaw>, Error> {
    Ok(match store::hold_chain(tx).await? {
        Some((chain, mac)) if chain.is_ours(&mac, tx.archive_ring()) => Ok(Some(chain)),
        Some(_) => Err(Flaw::ChainChanged),
        None if store::none_is_sealed(tx.connection()).await? => Ok(None),
        None => Err(Flaw::NoChain),
    })
}

async fn seal_stretch(tx: &mut Tx<'_>, begun_up_to: &str) -> Result<Step, Error> {
    let mut chain = match held(tx).await? {
        Ok(Some(chain)) => chain,
        Ok(None) => return begin(tx, begun_up_to).await,
        Err(flaw) => return Ok(Step::Refused(flaw)),
    };
    let links = store::unsealed(tx.connection(), "", STRETCH).await?;
    let mut seals = Vec::with_capacity(links.len());
    for link in &links {
        // One that is not ours is sealed as it is: verifying names it, and leaving it out would hold up the others.
        chain.sealed = chain.sealed.sealing(link.mac.as_deref().unwrap_or_default(), tx.archive_ring());
        seals.push((link.event.id.clone(), chain.sealed.clone()));
    }
    if !seals.is_empty() {
        store::set_seals(tx, &seals).await?;
        store::set_chain(tx, &chain).await?;
        let Head { sequence, .. } = chain.sealed;
        let head = chain.sealed.to_string();
        tx.after_commit(move || tracing::info!(event = "audit_sealed", sequence, head, "events sealed"));
    }
    Ok(Step::Done(links.len()))
}

/// The events of versions that had no chain get their MACs as they are found; then the chain begins.
async fn begin(tx: &mut Tx<'_>, after: &str) -> Result<Step, Error> {
    let old = store::without_mac(tx, after, STRETCH).await?;
    for event in &old {
        store::set_mac(tx, event).await?;
    }
    if old.is_empty() {
        store::set_chain(tx, &Chain::start()).await?;
        tx.after_commit(|| tracing::warn!(event = "audit_chain_begun", "the chain of audit events begins"));
    }
    Ok(Step::Beginning(old.last().map(|event| event.id.clone()).unwrap_or_default()))
}

async fn retire_stretch(tx: &mut Tx<'_>, cutoff: UnixTime) -> Result<Step, Error> {
    let mut chain = match held(tx).await? {
        Ok(Some(chain)) => chain,
        Ok(None) => return Ok(Step::Done(0)),
        Err(flaw) => return Ok(Step::Refused(flaw)),
    };
    let first = chain.removed.clone();
    let links = store::sealed(tx.connection(), first.sequence, "g", STRETCH).await?;
    let mut count = 0;
    for link in links.iter().take_while(|link| link.event.at < cutoff) {
        // What is gone proves nothing any more: so what is not whole stays.
        match chain.removed.follow(link, tx.archive_ring()) {
            Ok(next) => chain.removed = next,
            Err(flaw) => return Ok(Step::Refused(flaw)),
        }
        count += 1;
    }
    if count > 0 {
        let up_to = chain.removed.sequence;
        store::remove(tx, first.sequence, up_to).await?;
        store::set_chain(tx, &chain).await?;
        let head = chain.removed.to_string();
        tx.after_commit(move || tracing::info!(event = "audit_removed", up_to, head, "old events removed"));
    }
    Ok(Step::Done(count))
}
