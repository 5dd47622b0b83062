//! Who reads the feed for an Envoy process: one worker, which says with each of its ticks that it is still there.
//!
//! A question to the feed may take long to be answered. So whoever asks does not reserve that time in advance, as with
//! keys: a worker that has ended is replaced within [`LIFETIME`]. All times are milliseconds since the Unix epoch.

/// Several ticks: a busy worker keeps its lease.
pub const LIFETIME: u64 = 2_000;

/// The record that all workers share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lease {
    /// A random number of whoever has it.
    holder: u64,
    renewed_at: u64,
}

impl Lease {
    /// The record after `me` has taken or renewed it; `None` if somebody else has it. It counts once it is written over
    /// the one that was read.
    #[must_use]
    pub fn take(self, me: u64, now: u64) -> Option<Self> {
        // A record from the future is of a clock that was set back.
        let lives = now.abs_diff(self.renewed_at) <= LIFETIME;
        (self.holder == me || !lives).then_some(Self { holder: me, renewed_at: now })
    }

    /// The record after `me` has let go of it, if it was his.
    #[must_use]
    pub fn release(self, me: u64) -> Option<Self> {
        (self.holder == me).then(Self::default)
    }

    pub fn encode(self) -> Vec<u8> {
        [self.holder.to_le_bytes(), self.renewed_at.to_le_bytes()].concat()
    }

    /// A record that [`encode`](Self::encode) wrote; anything else counts as nobody's.
    pub fn decode(bytes: &[u8]) -> Self {
        match bytes.as_chunks::<8>() {
            ([holder, renewed_at], []) => {
                Self { holder: u64::from_le_bytes(*holder), renewed_at: u64::from_le_bytes(*renewed_at) }
            }
            _ => Self::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    #[test]
    fn one_has_it_for_as_long_as_he_renews_it() {
        let mut lease = Lease::default().take(1, NOW).unwrap();
        for tick in 0..50 {
            let now = NOW + 200 * tick;
            lease = lease.take(1, now).unwrap();
            assert_eq!(lease.take(2, now + 200), None);
        }
        let last = NOW + 200 * 49;
        assert_eq!(lease.take(2, last + LIFETIME), None);
        assert!(lease.take(2, last + LIFETIME + 1).is_some(), "he has ended");
    }

    #[test]
    fn who_lets_go_of_it_is_replaced_at_once() {
        let lease = Lease::default().take(1, NOW).unwrap();
        assert_eq!(lease.release(2), None);
        assert!(lease.release(1).unwrap().take(2, NOW).is_some());
    }

    #[test]
    fn a_record_from_the_future_is_not_waited_for() {
        let lease = Lease::default().take(1, NOW).unwrap();
        assert!(lease.take(2, NOW - LIFETIME - 1).is_some());
    }

    #[test]
    fn a_record_survives_shared_data_and_a_broken_one_counts_as_none() {
        let lease = Lease::default().take(7, NOW).unwrap();
        assert_eq!(Lease::decode(&lease.encode()), lease);
        assert_eq!(Lease::decode(&lease.encode()[1..]), Lease::default());
        assert_eq!(Lease::decode(b""), Lease::default());
    }
}
