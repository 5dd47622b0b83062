//! Whether the events are all there, and as they were written: every link of the chain, then what is not sealed yet.
//! What is proved by that, and what is not, is told by [`chain`](super::chain). Issuers may write meanwhile.

use super::chain::{Chain, Flaw, Head};
use super::store;
use crate::db::{self, Db};
use crate::secrets::Ring;

/// Events that are read at a time.
const STRETCH: i64 = 1000;

/// What was proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Sealed events that are there.
    pub sealed: u64,
    /// Events that are not sealed yet.
    pub unsealed: u64,
    /// The last event that retention has removed.
    pub removed: Head,
    /// The end of the chain.
    pub head: Head,
}

/// Why nothing was proved.
#[derive(Debug, thiserror::Error)]
pub enum Unproved {
    #[error("the audit is not whole")]
    Flaw(#[from] Flaw),
    #[error(transparent)]
    Database(#[from] db::Error),
}

/// Checks every event, and that the chain goes through `published`, a head that was kept elsewhere.
///
/// # Errors
/// The first flaw, or those of the database.
pub async fn verify(db: &Db, ring: &Ring, published: Option<&Head>) -> Result<Proof, Unproved> {
    let mut chain = current_chain(db, ring).await?;
    let mut at = chain.removed.clone();
    let (mut last_id, mut count) = ("g".to_owned(), 0);
    let mut met = published.is_none();
    loop {
        met |= meet(&at, published)?;
        let links = store::sealed(db.reads(), at.sequence, &last_id, STRETCH).await?;
        for link in &links {
            match at.follow(link, ring) {
                Ok(next) => at = next,
                Err(flaw) => {
                    // Unless it was removed by retention since we looked.
                    let now = current_chain(db, ring).await?;
                    if now.removed.sequence <= chain.removed.sequence.max(at.sequence) {
                        return Err(flaw.into());
                    }
                    at = now.removed.clone();
                    chain = now;
                    "g".clone_into(&mut last_id);
                    break;
                }
            }
            last_id.clone_from(&link.event.id);
            count += 1;
            met |= meet(&at, published)?;
        }
        if !links.is_empty() {
            continue;
        }
        // All that there is was read. Sealing goes on meanwhile: the end is where it is now.
        chain = current_chain(db, ring).await?;
        if at.sequence < chain.removed.sequence {
            at = chain.removed.clone();
            "g".clone_into(&mut last_id);
        } else if at.sequence >= chain.sealed.sequence {
            break;
        } else if store::sealed(db.reads(), at.sequence, &last_id, 1).await?.is_empty() {
            // Unless, again, it was removed since.
            if current_chain(db, ring).await?.removed.sequence <= at.sequence {
                return Err(Flaw::Missing(at.sequence.saturating_add(1)).into());
            }
        }
    }
    meet(&at, Some(&chain.sealed))?;
    if let Some((sequence, id)) = store::outside(db.reads()).await? {
        return Err(Flaw::Outside { sequence, id }.into());
    }
    if let Some(head) = published.filter(|_| !met).cloned() {
        let cut_off = head.sequence > at.sequence;
        return Err(if cut_off { Flaw::CutOff { end: at, head } } else { Flaw::Older { head } }.into());
    }
    let unsealed = check_unsealed(db, ring).await?;
    Ok(Proof { sealed: count, unsealed, removed: chain.removed, head: at })
}

/// How far the chain goes, if the row that says so is ours.
async fn current_chain(db: &Db, ring: &Ring) -> Result<Chain, Unproved> {
    // Asked first: the chain may begin, and go on, between two questions.
    let not_begun = store::none_is_sealed(db.reads()).await?;
    match store::chain(db.reads()).await? {
        Some((chain, mac)) if chain.is_ours(&mac, ring) => Ok(chain),
        Some(_) => Err(Flaw::ChainChanged.into()),
        None if not_begun => Ok(Chain::start()),
        None => Err(Flaw::NoChain.into()),
    }
}

/// Whether this is the published head; refused if it has its number and another seal.
fn meet(at: &Head, published: Option<&Head>) -> Result<bool, Flaw> {
    match published.filter(|head| head.sequence == at.sequence) {
        Some(head) if head.seal != at.seal => {
            Err(Flaw::Replaced { sequence: at.sequence, head: head.clone() })
        }
        Some(_) => Ok(true),
        None => Ok(false),
    }
}

async fn check_unsealed(db: &Db, ring: &Ring) -> Result<u64, Unproved> {
    let (mut after, mut count) = (String::new(), 0);
    loop {
        let links = store::unsealed(db.reads(), &after, STRETCH).await?;
        let Some(last) = links.last() else { return Ok(count) };
        after.clone_from(&last.event.id);
        for link in links {
            if !link.is_ours(ring) {
                return Err(Flaw::Unsealed { id: link.event.id }.into());
            }
            count += 1;
        }
    }
}
