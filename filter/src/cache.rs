//! Tokens that were verified, so that the next request with the same bytes need not verify them again.
//!
//! Holds only what a full verification accepted, so forged tokens can push nothing out; never answers for a
//! token that differs in one byte. Bounded in bytes, not in entries. Whether an entry may still be used is asked
//! by the caller on every hit.

use std::rc::Rc;

use crate::bytes;
use crate::principal::Principal;

/// How many entries get a second chance before one is evicted, so that an eviction takes constant time.
const SECOND_CHANCES: usize = 8;
/// Room for so many entries is made first, and twice as much each time that it is full.
const FIRST_ROOM: usize = 16;

/// Verified tokens and their principals, evicted by second chance (CLOCK).
#[derive(Debug)]
pub struct TokenCache {
    max_bytes: usize,
    /// What the entries hold besides their slots.
    entry_bytes: usize,
    seeds: Seeds,
    /// The index: where each chain of slots begins, by hash. Their number is a power of two, or zero.
    heads: Vec<Link>,
    slots: Vec<Slot>,
    /// Where the search for the next entry to evict begins.
    hand: usize,
    /// How many were evicted since this was last asked.
    evictions: u64,
}

/// A position in `slots`, or [`END`].
type Link = u32;
const END: Link = Link::MAX;

/// Random numbers of this VM, by which tokens are spread: nobody outside can aim at a bucket.
#[derive(Debug, Clone, Copy)]
pub struct Seeds(pub [u64; 2]);

impl Seeds {
    /// The last 16 characters of a token are 96 bits of a signature, which nobody can choose. The seeds keep it so
    /// even from somebody who collects tokens until two are alike enough.
    fn hash(self, token: &[u8]) -> u64 {
        let (rest, last) = token.split_last_chunk::<8>().unwrap_or((&[], &[0; 8]));
        let (_, before) = rest.split_last_chunk::<8>().unwrap_or((&[], &[0; 8]));
        let Self([first, second]) = self;
        let product = u128::from(u64::from_le_bytes(*last) ^ first)
            .wrapping_mul(u128::from(u64::from_le_bytes(*before) ^ second));
        let [low, high] = [product, product >> 64].map(|half| half as u64);
        low ^ high
    }
}

#[derive(Debug)]
struct Slot {
    hash: u64,
    /// The next slot with a hash of the same chain.
    next: Link,
    used: bool,
    principal: Rc<Principal>,
    /// Where the principal has the token and what it says. Kept here as well, so that a processor fetches both at once
    /// and not one after the other: in a large cache each is a place that it has long forgotten.
    text: Rc<[u8]>,
}

impl Slot {
    fn is_of(&self, token: &[u8]) -> bool {
        let length = self.principal.token_length();
        length == token.len() && self.text.get(..length).is_some_and(|known| bytes::equal(known, token))
    }

    /// What an entry holds besides its slot: two blocks of memory.
    fn bytes(&self) -> usize {
        const COUNTED: usize = size_of::<Principal>() + 2 * size_of::<usize>();
        let blocks = [COUNTED, self.principal.heap_bytes()];
        blocks.into_iter().map(block_bytes).fold(0, usize::saturating_add)
    }
}

/// A block of the heap with the allocator's header, which aligns it.
fn block_bytes(size: usize) -> usize {
    const ALIGNMENT: usize = 2 * size_of::<usize>();
    size.saturating_add(size_of::<usize>()).next_multiple_of(ALIGNMENT)
}

impl TokenCache {
    /// A cache that takes at most `max_bytes` of memory; with zero it holds nothing.
    pub fn new(max_bytes: usize, seeds: Seeds) -> Self {
        Self { max_bytes, entry_bytes: 0, seeds, heads: Vec::new(), slots: Vec::new(), hand: 0, evictions: 0 }
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// How many entries made room for others since this was last asked.
    pub fn take_evictions(&mut self) -> u64 {
        std::mem::take(&mut self.evictions)
    }

    /// The principal of exactly this token.
    pub fn get(&mut self, token: &[u8]) -> Option<Rc<Principal>> {
        let at = self.find(self.seeds.hash(token), token)?;
        let slot = self.slots.get_mut(at)?;
        slot.used = true;
        Some(Rc::clone(&slot.principal))
    }

    /// Remembers a token that was just verified.
    pub fn insert(&mut self, token: &[u8], principal: Rc<Principal>) {
        self.remove(token);
        let hash = self.seeds.hash(token);
        let principal = Rc::new(principal.with_token(token));
        let text = Rc::clone(principal.text());
        let slot = Slot { hash, next: END, used: false, principal, text };
        let cost = slot.bytes();
        let table = self.bytes().saturating_sub(self.entry_bytes);
        if cost.saturating_add(table) > self.max_bytes {
            return;
        }
        while !self.make_room(cost) {
            if self.is_empty() {
                return;
            }
            self.evict();
        }
        self.entry_bytes = self.entry_bytes.saturating_add(cost);
        self.slots.push(slot);
        self.link(self.slots.len().saturating_sub(1));
    }

    /// Forgets one token.
    pub fn remove(&mut self, token: &[u8]) {
        if let Some(at) = self.find(self.seeds.hash(token), token) {
            self.take(at);
        }
    }

    /// Forgets everything: for new keys and new configurations.
    pub fn clear(&mut self) {
        *self = Self { evictions: self.evictions, ..Self::new(self.max_bytes, self.seeds) };
    }

    /// All memory held, in bytes.
    fn bytes(&self) -> usize {
        let slots = self.slots.capacity().saturating_mul(size_of::<Slot>());
        let heads = self.heads.capacity().saturating_mul(size_of::<Link>());
        self.entry_bytes.saturating_add(slots).saturating_add(heads)
    }

    /// Whether one more entry fits, after making the table larger if that fits, too.
    fn make_room(&mut self, cost: usize) -> bool {
        let free = self.max_bytes.saturating_sub(self.bytes());
        if self.slots.len() < self.slots.capacity() {
            return cost <= free;
        }
        // While it is moved, the old one is there as well.
        let room = self.slots.len().saturating_mul(2).max(FIRST_ROOM).next_power_of_two();
        let table = room.saturating_mul(size_of::<Slot>().saturating_add(size_of::<Link>()));
        if cost.saturating_add(table) > free {
            return false;
        }
        self.slots.reserve_exact(room.saturating_sub(self.slots.len()));
        self.heads = vec![END; room];
        (0..self.slots.len()).for_each(|at| self.link(at));
        true
    }

    fn find(&self, hash: u64, token: &[u8]) -> Option<usize> {
        let mut link = *self.heads.get(self.chain(hash))?;
        loop {
            let at = link as usize;
            // END is beyond every slot.
            let slot = self.slots.get(at)?;
            if slot.hash == hash && slot.is_of(token) {
                return Some(at);
            }
            link = slot.next;
        }
    }

    /// Which chain a hash belongs to.
    fn chain(&self, hash: u64) -> usize {
        hash as usize & self.heads.len().wrapping_sub(1)
    }

    /// The link that leads to `to` in the chain of this hash.
    fn link_to(&mut self, hash: u64, to: Link) -> Option<&mut Link> {
        let chain = self.chain(hash);
        let mut before = None;
        let mut link = *self.heads.get(chain)?;
        while link != to {
            before = Some(link as usize);
            link = self.slots.get(link as usize)?.next;
        }
        match before {
            None => self.heads.get_mut(chain),
            Some(before) => self.slots.get_mut(before).map(|slot| &mut slot.next),
        }
    }

    /// Puts a slot into its chain.
    fn link(&mut self, at: usize) {
        let Some(hash) = self.slots.get(at).map(|slot| slot.hash) else { return };
        let chain = self.chain(hash);
        if let (Some(head), Some(slot)) = (self.heads.get_mut(chain), self.slots.get_mut(at)) {
            slot.next = std::mem::replace(head, Link::try_from(at).unwrap_or(END));
        }
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
        self.evictions = self.evictions.saturating_add(1);
        self.take(at);
    }

    /// Takes a slot out of its chain and away. The last slot moves into the gap.
    fn take(&mut self, at: usize) {
        let position = |at: usize| Link::try_from(at).unwrap_or(END);
        let Some((hash, next)) = self.slots.get(at).map(|slot| (slot.hash, slot.next)) else { return };
        if let Some(link) = self.link_to(hash, position(at)) {
            *link = next;
        }
        let Some(last) = self.slots.pop() else { return };
        let moved_from = position(self.slots.len());
        let moved_hash = last.hash;
        let taken = match self.slots.get_mut(at) {
            None => last,
            Some(gap) => {
                let taken = std::mem::replace(gap, last);
                if let Some(link) = self.link_to(moved_hash, moved_from) {
                    *link = position(at);
                }
                taken
            }
        };
        self.entry_bytes = self.entry_bytes.saturating_sub(taken.bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use countersign_claims::{AccessClaims, Window};
    use proptest::prelude::*;

    use super::*;
    use crate::principal::tests::claims;

    fn principal(user: &str) -> Rc<Principal> {
        let claims = AccessClaims {
            sub: user.into(),
            session_id: None,
            email: None,
            roles: vec![],
            scope: None,
            ..claims()
        };
        Rc::new(Principal::new(&claims, Window { from: 0, until: 0 }, &[]).unwrap())
    }

    fn token(number: usize) -> Vec<u8> {
        format!("{number:0>60}").into_bytes()
    }

    /// A cache with room for about this many of [`token`].
    fn room_for(count: usize) -> TokenCache {
        let mut full = TokenCache::new(usize::MAX, Seeds([7, 11]));
        (0..count).for_each(|number| full.insert(&token(number), principal("u-0")));
        let one = full.slots[0].bytes();
        // The next power of two would be too much, and so would one more entry.
        TokenCache::new(full.bytes() + one / 2, Seeds([7, 11]))
    }

    #[test]
    fn answers_for_the_same_bytes_only() {
        let mut cache = room_for(4);
        cache.insert(&token(1), principal("u-1"));
        assert_eq!(cache.get(&token(1)), Some(principal("u-1")));
        let other_start = [b"1", &token(1)[1..]].concat();
        assert_eq!(cache.get(&other_start), None, "the same bucket, another token");
        assert_eq!(cache.get(&token(1)[1..]), None);
        assert_eq!(cache.get(b""), None);
    }

    #[test]
    fn a_slot_leads_to_the_token_and_to_what_it_says_in_one_step() {
        let mut cache = room_for(4);
        cache.insert(&token(1), principal("u-1"));
        let slot = &cache.slots[0];
        assert!(Rc::ptr_eq(&slot.text, slot.principal.text()));
        assert!(slot.text.starts_with(&token(1)) && slot.text.ends_with(b"u-1"));
        assert_eq!(*slot.principal, *principal("u-1"), "who it is does not depend on the token");
    }

    #[test]
    fn a_token_in_use_stays_while_others_pass_once() {
        let mut cache = room_for(16);
        cache.insert(&token(0), principal("u-0"));
        for passing in 1..500 {
            cache.insert(&token(passing), principal("u-1"));
            assert!(cache.get(&token(0)).is_some(), "{passing}");
        }
        assert_eq!(cache.len(), 16);
        assert_eq!((cache.take_evictions(), cache.take_evictions()), (484, 0));
    }

    #[test]
    fn evicts_even_if_everything_is_in_use() {
        let mut cache = room_for(16);
        for number in 0..100 {
            cache.insert(&token(number), principal("u-1"));
            for known in 0..=number {
                cache.get(&token(known));
            }
        }
        assert_eq!(cache.len(), 16);
    }

    #[test]
    fn what_is_larger_than_the_cache_is_not_remembered() {
        let mut cache = room_for(1);
        cache.insert(&token(1), principal("u-1"));
        cache.insert(&[b'a'; 10_000], principal("u-2"));
        assert_eq!((cache.len(), cache.get(&token(1)).is_some()), (1, true));
        let mut none = TokenCache::new(0, Seeds([7, 11]));
        none.insert(&token(1), principal("u-1"));
        assert!(none.is_empty());
    }

    proptest! {
        #[test]
        fn never_answers_wrongly_and_never_outgrows_its_bound(
            steps in prop::collection::vec((0..3_u8, 0..60_usize), 1..300), room in 1..30_usize,
        ) {
            let mut cache = room_for(room);
            let mut inserted = BTreeMap::new();
            for (step, number) in steps {
                let token = token(number);
                match step {
                    0 => {
                        let user = format!("u-{number}");
                        cache.insert(&token, principal(&user));
                        inserted.insert(number, user);
                        prop_assert!(cache.get(&token).is_some());
                    }
                    1 => {
                        cache.remove(&token);
                        inserted.remove(&number);
                        prop_assert!(cache.get(&token).is_none());
                    }
                    _ => if let Some(found) = cache.get(&token) {
                        prop_assert_eq!(Some(found), inserted.get(&number).map(|user| principal(user)));
                    }
                }
                prop_assert!(cache.bytes() <= cache.max_bytes);
                prop_assert_eq!(cache.entry_bytes, cache.slots.iter().map(Slot::bytes).sum::<usize>());
                for at in 0..cache.len() {
                    let slot = &cache.slots[at];
                    let known = slot.text[..slot.principal.token_length()].to_vec();
                    prop_assert!(cache.get(&known).is_some(), "slot {} cannot be found", at);
                }
            }
            cache.clear();
            prop_assert_eq!((cache.len(), cache.bytes()), (0, 0));
        }
    }

    #[test]
    fn two_vms_put_one_token_in_different_places() {
        let token = [b'a'; 100];
        let places: Vec<_> = (0..8).map(|seed| Seeds([seed, seed.rotate_left(32)]).hash(&token)).collect();
        let distinct: std::collections::BTreeSet<_> = places.iter().collect();
        assert_eq!(distinct.len(), places.len(), "{places:?}");
    }
}
