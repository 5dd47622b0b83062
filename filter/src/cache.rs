//! Tokens that were verified, so that the next request with the same bytes need not verify them again.
//!
//! Holds only what a full verification accepted, so forged tokens can push nothing out; never answers for a
//! token that differs in one byte. Bounded in bytes, not in entries. Whether an entry may still be used is asked
//! by the caller on every hit.

use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::principal::Principal;

/// How many entries get a second chance before one is evicted, so that an eviction takes constant time.
const SECOND_CHANCES: usize = 8;

/// A Ed25519 signature ends a token with 43 characters that nobody can choose; they spread as well as the whole.
const HASHED_TAIL: usize = 43;

/// Verified tokens and their principals, evicted by second chance (CLOCK).
#[derive(Debug)]
pub struct TokenCache {
    max_bytes: usize,
    bytes: usize,
    /// Seeded per VM: nobody outside can aim at a bucket.
    hasher: RandomState,
    /// Positions in `slots`, by hash.
    index: HashTable<usize>,
    slots: Vec<Slot>,
    /// Where the search for the next entry to evict begins.
    hand: usize,
}

#[derive(Debug)]
struct Slot {
    hash: u64,
    token: Box<[u8]>,
    principal: Rc<Principal>,
    used: bool,
}

impl Slot {
    /// What an entry costs: its heap blocks with the allocator's headers, its slot and its place in the index.
    fn bytes(&self) -> usize {
        const OVERHEAD: usize = size_of::<Slot>() + size_of::<Principal>() + 2 * size_of::<usize>() + 96;
        OVERHEAD.saturating_add(self.token.len()).saturating_add(self.principal.heap_bytes())
    }
}

impl TokenCache {
    /// A cache that holds about `max_bytes`; with zero it holds nothing.
    pub fn new(max_bytes: usize, hasher: RandomState) -> Self {
        Self { max_bytes, bytes: 0, hasher, index: HashTable::new(), slots: Vec::new(), hand: 0 }
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The principal of exactly this token.
    pub fn get(&mut self, token: &[u8]) -> Option<Rc<Principal>> {
        let slots = &self.slots;
        let at = *self.index.find(self.hash(token), |at| holds(slots, *at, token))?;
        let slot = self.slots.get_mut(at)?;
        slot.used = true;
        Some(Rc::clone(&slot.principal))
    }

    /// Remembers a token that was just verified.
    pub fn insert(&mut self, token: &[u8], principal: Rc<Principal>) {
        let slot = Slot { hash: self.hash(token), token: token.into(), principal, used: false };
        let cost = slot.bytes();
        if cost > self.max_bytes {
            return;
        }
        self.remove(token);
        while self.bytes > self.max_bytes.saturating_sub(cost) && !self.slots.is_empty() {
            self.evict();
        }
        let slots = &self.slots;
        self.index.insert_unique(slot.hash, slots.len(), |at| slots.get(*at).map_or(0, |slot| slot.hash));
        self.slots.push(slot);
        self.bytes = self.bytes.saturating_add(cost);
    }

    /// Forgets one token.
    pub fn remove(&mut self, token: &[u8]) {
        let (hash, slots) = (self.hash(token), &self.slots);
        if let Ok(found) = self.index.find_entry(hash, |at| holds(slots, *at, token)) {
            let (at, _) = found.remove();
            self.take(at);
        }
    }

    /// Forgets everything: for new keys and new configurations.
    pub fn clear(&mut self) {
        *self = Self::new(self.max_bytes, self.hasher.clone());
    }

    fn evict(&mut self) {
        let mut at = self.hand;
        for _ in 0..SECOND_CHANCES {
            at = if at < self.slots.len() { at } else { 0 };
            match self.slots.get_mut(at) {
                Some(slot) if slot.used => slot.used = false,
                _ => break,
            }
            at = at.saturating_add(1);
        }
        at = if at < self.slots.len() { at } else { 0 };
        // The last slot moves into the gap, so the hand has looked at it for this round.
        self.hand = at.saturating_add(1);
        if let Some(slot) = self.slots.get(at) {
            if let Ok(found) = self.index.find_entry(slot.hash, |candidate| *candidate == at) {
                found.remove();
            }
            self.take(at);
        }
    }

    /// Takes a slot that is out of the index, and tells the index where the last slot went.
    fn take(&mut self, at: usize) {
        let last = self.slots.len().saturating_sub(1);
        if at > last {
            return;
        }
        let taken = self.slots.swap_remove(at);
        self.bytes = self.bytes.saturating_sub(taken.bytes());
        if let Some(moved) = self.slots.get(at)
            && let Entry::Occupied(mut place) =
                self.index.entry(moved.hash, |candidate| *candidate == last, |_| moved.hash)
        {
            *place.get_mut() = at;
        }
    }

    fn hash(&self, token: &[u8]) -> u64 {
        let tail = token.get(token.len().saturating_sub(HASHED_TAIL)..).unwrap_or(token);
        self.hasher.hash_one(tail)
    }
}

fn holds(slots: &[Slot], at: usize, token: &[u8]) -> bool {
    slots.get(at).is_some_and(|slot| *slot.token == *token)
}
