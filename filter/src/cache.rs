//! Tokens that were verified, so that the next request with the same bytes need not verify them again.
//!
//! Holds only what a full verification accepted, so forged tokens can push nothing out; never answers for a
//! token that differs in one byte. Bounded in bytes, not in entries. Whether an entry may still be used is asked
//! by the caller on every hit.

use std::rc::Rc;

use hashbrown::HashTable;

use crate::bytes;
use crate::principal::Principal;

/// How many entries get a second chance before one is evicted, so that an eviction takes constant time.
const SECOND_CHANCES: usize = 8;

/// Verified tokens and their principals, evicted by second chance (CLOCK).
#[derive(Debug)]
pub struct TokenCache {
    max_bytes: usize,
    bytes: usize,
    seeds: Seeds,
    /// Positions in `slots`, by hash.
    index: HashTable<usize>,
    slots: Vec<Slot>,
    /// Where the search for the next entry to evict begins.
    hand: usize,
}

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
    pub fn new(max_bytes: usize, seeds: Seeds) -> Self {
        Self { max_bytes, bytes: 0, seeds, index: HashTable::new(), slots: Vec::new(), hand: 0 }
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
        let at = *self.index.find(self.seeds.hash(token), |at| holds(slots, *at, token))?;
        let slot = self.slots.get_mut(at)?;
        slot.used = true;
        Some(Rc::clone(&slot.principal))
    }

    /// Remembers a token that was just verified.
    pub fn insert(&mut self, token: &[u8], principal: Rc<Principal>) {
        let slot = Slot { hash: self.seeds.hash(token), token: token.into(), principal, used: false };
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
        let (hash, slots) = (self.seeds.hash(token), &self.slots);
        if let Ok(found) = self.index.find_entry(hash, |at| holds(slots, *at, token)) {
            let (at, _) = found.remove();
            self.take(at);
        }
    }

    /// Forgets everything: for new keys and new configurations.
    pub fn clear(&mut self) {
        *self = Self::new(self.max_bytes, self.seeds);
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
            && let Some(place) = self.index.find_mut(moved.hash, |candidate| *candidate == last)
        {
            *place = at;
        }
    }
}

fn holds(slots: &[Slot], at: usize, token: &[u8]) -> bool {
    slots.get(at).is_some_and(|slot| bytes::equal(&slot.token, token))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use countersign_claims::{AccessClaims, Audience, Window};
    use proptest::prelude::*;

    use super::*;

    fn principal(user: &str) -> Rc<Principal> {
        let claims = AccessClaims {
            iss: String::new(),
            aud: Audience::One(String::new()),
            sub: user.into(),
            exp: 0,
            nbf: None,
            iat: None,
            jti: None,
            client_id: None,
            session_id: None,
            email: None,
            name: None,
            roles: vec![],
            scope: None,
            amr: vec![],
            auth_time: None,
        };
        Rc::new(Principal::new(&claims, Window { from: 0, until: 0 }).unwrap())
    }

    fn token(number: usize) -> Vec<u8> {
        format!("{number:0>60}").into_bytes()
    }

    /// A cache with room for about this many of [`token`].
    fn room_for(count: usize) -> TokenCache {
        let mut one = TokenCache::new(usize::MAX, Seeds([7, 11]));
        one.insert(&token(0), principal("u-0"));
        TokenCache::new(one.bytes * count + one.bytes / 2, Seeds([7, 11]))
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
    fn a_token_in_use_stays_while_others_pass_once() {
        let mut cache = room_for(20);
        cache.insert(&token(0), principal("u-0"));
        for passing in 1..500 {
            cache.insert(&token(passing), principal("u-1"));
            assert!(cache.get(&token(0)).is_some(), "{passing}");
        }
        assert_eq!(cache.len(), 20);
    }

    #[test]
    fn evicts_even_if_everything_is_in_use() {
        let mut cache = room_for(20);
        for number in 0..100 {
            cache.insert(&token(number), principal("u-1"));
            for known in 0..=number {
                cache.get(&token(known));
            }
        }
        assert_eq!(cache.len(), 20);
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
                prop_assert!(cache.bytes <= cache.max_bytes);
                prop_assert_eq!(cache.bytes, cache.slots.iter().map(Slot::bytes).sum::<usize>());
                prop_assert_eq!(cache.index.len(), cache.slots.len());
                for at in 0..cache.len() {
                    let known = cache.slots[at].token.clone();
                    prop_assert!(cache.get(&known).is_some(), "slot {} cannot be found", at);
                }
            }
            cache.clear();
            prop_assert_eq!((cache.len(), cache.bytes), (0, 0));
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
