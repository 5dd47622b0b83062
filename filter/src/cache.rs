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
    entries: HashTable<Entry>,
    /// The bucket at which the search for the next entry to evict begins.
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
struct Entry {
    hash: u64,
    token: Box<[u8]>,
    principal: Rc<Principal>,
    used: bool,
}

impl Entry {
    /// What an entry costs: its part of a table that is half full, and its three heap blocks with the allocator's
    /// headers.
    fn bytes(&self) -> usize {
        const OVERHEAD: usize =
            2 * size_of::<Entry>() + size_of::<Principal>() + 2 * size_of::<usize>() + 3 * 16;
        OVERHEAD.saturating_add(self.token.len()).saturating_add(self.principal.heap_bytes())
    }

    fn is_for(&self, token: &[u8]) -> bool {
        bytes::equal(&self.token, token)
    }
}

impl TokenCache {
    /// A cache that holds about `max_bytes`; with zero it holds nothing.
    pub fn new(max_bytes: usize, seeds: Seeds) -> Self {
        Self { max_bytes, bytes: 0, seeds, entries: HashTable::new(), hand: 0 }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The principal of exactly this token.
    pub fn get(&mut self, token: &[u8]) -> Option<Rc<Principal>> {
        let entry = self.entries.find_mut(self.seeds.hash(token), |entry| entry.is_for(token))?;
        entry.used = true;
        Some(Rc::clone(&entry.principal))
    }

    /// Remembers a token that was just verified.
    pub fn insert(&mut self, token: &[u8], principal: Rc<Principal>) {
        let entry = Entry { hash: self.seeds.hash(token), token: token.into(), principal, used: false };
        let cost = entry.bytes();
        if cost > self.max_bytes {
            return;
        }
        self.remove(token);
        while self.bytes > self.max_bytes.saturating_sub(cost) && !self.is_empty() {
            self.evict();
        }
        self.entries.insert_unique(entry.hash, entry, |entry| entry.hash);
        self.bytes = self.bytes.saturating_add(cost);
    }

    /// Forgets one token.
    pub fn remove(&mut self, token: &[u8]) {
        if let Ok(found) = self.entries.find_entry(self.seeds.hash(token), |entry| entry.is_for(token)) {
            let (removed, _) = found.remove();
            self.bytes = self.bytes.saturating_sub(removed.bytes());
        }
    }

    /// Forgets everything: for new keys and new configurations.
    pub fn clear(&mut self) {
        *self = Self::new(self.max_bytes, self.seeds);
    }

    /// Goes on from the hand, past empty buckets, to the first entry that was not used since the hand was there last.
    fn evict(&mut self) {
        let buckets = self.entries.num_buckets();
        let mut chances = SECOND_CHANCES;
        // Once around is enough: entries run out of chances before.
        for at in (self.hand..buckets).chain(0..buckets) {
            match self.entries.get_bucket_mut(at) {
                None => continue,
                Some(entry) if entry.used && chances > 0 => {
                    entry.used = false;
                    chances = chances.saturating_sub(1);
                    continue;
                }
                Some(_) => {}
            }
            self.hand = at.saturating_add(1);
            if let Ok(found) = self.entries.get_bucket_entry(at) {
                let (evicted, _) = found.remove();
                self.bytes = self.bytes.saturating_sub(evicted.bytes());
            }
            return;
        }
    }
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
                prop_assert_eq!(cache.bytes, cache.entries.iter().map(Entry::bytes).sum::<usize>());
                let known: Vec<_> = cache.entries.iter().map(|entry| entry.token.clone()).collect();
                for token in known {
                    prop_assert!(cache.get(&token).is_some(), "an entry that cannot be found");
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
