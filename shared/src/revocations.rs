//! Sessions that ended before their tokens did, so that those tokens are refused. No clock: `now` is an argument.

use std::collections::BTreeMap;

/// More than this in one set is no feed that an issuer writes: its sessions end, and entries vanish with their tokens.
pub const MAX_REVOCATIONS: usize = 500_000;

/// A `session_id` as a set holds it: 64 bits instead of a text, the same in every process.
///
/// Two sessions of one handle would be harmless, because the worse that comes of it is that a caller has to log in again;
/// with 100,000 revocations that is the chance of one in 10¹⁴ for each session. Nobody can aim at it: the issuer makes the
/// ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(u64);

impl Handle {
    /// FNV-1a, and then the finalizer of MurmurHash3, so that ids which differ in their ends only are spread, too.
    pub fn of(session_id: &[u8]) -> Self {
        const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0100_0000_01b3;
        let hash = session_id.iter().fold(OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME));
        let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        Self(hash ^ (hash >> 33))
    }

    pub const fn to_bits(self) -> u64 {
        self.0
    }

    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// A session whose tokens are to be refused, and the second (Unix time) from which on there are none left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revocation {
    pub handle: Handle,
    pub until: i64,
}

/// Everything that is revoked now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revocations {
    /// When each vanishes.
    until: BTreeMap<Handle, i64>,
}

/// There would be more than [`MAX_REVOCATIONS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_REVOCATIONS} live revocations")]
pub struct TooMany;

impl Revocations {
    /// Whether it is revoked. Also after its time, until it is [forgotten](Self::forget_expired): there is no token left to
    /// which that would make a difference.
    pub fn contains(&self, handle: Handle) -> bool {
        self.until.contains_key(&handle)
    }

    /// Adds them all, or none. What is there already stays as long as the longer of both says.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn extend(&mut self, more: &[Revocation]) -> Result<(), TooMany> {
        // Those that are there already are counted only where it matters.
        if self.until.len().saturating_add(more.len()) > MAX_REVOCATIONS {
            let new = more.iter().filter(|revocation| !self.until.contains_key(&revocation.handle)).count();
            if self.until.len().saturating_add(new) > MAX_REVOCATIONS {
                return Err(TooMany);
            }
        }
        for Revocation { handle, until } in more {
            let known = self.until.entry(*handle).or_insert(*until);
            *known = (*known).max(*until);
        }
        Ok(())
    }

    /// Takes what this set has and `newer`, a whole one, has left out only because its source lets go of entries a little
    /// earlier: those of which the tokens ended between `now` less `skew` and `now`, and which are good until then.
    pub fn keep_expiring(&self, newer: &mut Self, now: i64, skew: i64) {
        for (handle, until) in &self.until {
            if now < *until && until.saturating_sub(skew) <= now {
                newer.until.entry(*handle).or_insert(*until);
            }
        }
    }

    /// Lets go of what concerns no token any more.
    pub fn forget_expired(&mut self, now: i64) {
        self.until.retain(|_, until| now < *until);
    }

    pub fn len(&self) -> usize {
        self.until.len()
    }

    pub fn is_empty(&self) -> bool {
        self.until.is_empty()
    }

    /// In the order of their handles, which nobody outside can choose.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Revocation> {
        self.until.iter().map(|(handle, until)| Revocation { handle: *handle, until: *until })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn revocation(session: &str, until: i64) -> Revocation {
        Revocation { handle: Handle::of(session.as_bytes()), until }
    }

    fn set(entries: &[(&str, i64)]) -> Revocations {
        let mut set = Revocations::default();
        let entries: Vec<_> = entries.iter().map(|(session, until)| revocation(session, *until)).collect();
        set.extend(&entries).unwrap();
        set
    }

    fn has(set: &Revocations, session: &str) -> bool {
        set.contains(Handle::of(session.as_bytes()))
    }

    #[test]
    fn a_revocation_is_forgotten_at_its_second_and_not_before() {
        let mut set = set(&[("a", NOW + 10), ("b", NOW + 20)]);
        set.forget_expired(NOW + 9);
        assert!(has(&set, "a") && has(&set, "b") && !has(&set, "c"));
        set.forget_expired(NOW + 10);
        assert!(!has(&set, "a") && has(&set, "b"));
        set.forget_expired(NOW + 20);
        assert!(set.is_empty());
    }

    #[test]
    fn the_longer_of_two_entries_of_a_session_counts() {
        let mut twice = set(&[("a", NOW + 20)]);
        twice.extend(&[revocation("a", NOW + 10)]).unwrap();
        assert_eq!(twice.iter().next(), Some(revocation("a", NOW + 20)));
        twice.extend(&[revocation("a", NOW + 30)]).unwrap();
        assert_eq!(twice, set(&[("a", NOW + 30)]));
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let many: Vec<_> = (0..MAX_REVOCATIONS as u64)
            .map(|bits| Revocation { handle: Handle::from_bits(bits), until: NOW })
            .collect();
        let mut full = Revocations::default();
        full.extend(&many).unwrap();
        assert_eq!(full.extend(&many), Ok(()), "they are all there");
        assert_eq!(full.extend(&[revocation("a", NOW)]), Err(TooMany));
        assert_eq!(full.len(), MAX_REVOCATIONS);
    }

    #[test]
    fn a_new_set_keeps_what_its_source_let_go_of_a_little_early() {
        // Tokens that ended at NOW are taken until NOW + 30.
        let old = set(&[("just ended", NOW + 30), ("lives", NOW + 31), ("long gone", NOW)]);
        let mut newer = set(&[("other", NOW + 100)]);
        old.keep_expiring(&mut newer, NOW, 30);
        assert!(has(&newer, "just ended") && has(&newer, "other"));
        assert!(!has(&newer, "lives"), "the source would have named it");
        assert_eq!(newer.len(), 2);
    }

    #[test]
    fn ids_that_are_alike_have_handles_that_are_not() {
        let ids = (0..20_000).map(|n| format!("01940000-0000-7000-8000-{n:012}"));
        let handles: BTreeSet<_> = ids.map(|id| Handle::of(id.as_bytes())).collect();
        assert_eq!(handles.len(), 20_000);
        // Caches compare the lower half first.
        let lower: BTreeSet<_> = handles.iter().map(|handle| handle.to_bits() as u32).collect();
        assert!(lower.len() > 19_990, "{}", lower.len());
    }
}
