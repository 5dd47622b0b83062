//! Counting outcomes in memory, so that a request costs an addition and the host is told on a tick.
//!
//! Metric names are part of the interface; `filter/README.md` lists them.

use countersign_claims::Reject;

use crate::verdict::Decision;

/// Prefix of every metric: Envoy puts `wasmcustom.` before it and Prometheus drops that again.
pub const PREFIX: &str = "countersign_";

/// Gauge: keys in force.
pub const KEYS: &str = "countersign_keys";
/// Gauge: seconds since the issuer's keys were last fetched, or since they are waited for if they never were.
pub const KEYS_AGE: &str = "countersign_keys_age_seconds";

/// Everything that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    Request(Decision),
    /// Tokens answered from the cache.
    TokenCached,
    /// Tokens checked by their signature.
    TokenVerified,
    KeyFetchOk,
    KeyFetchFailed,
}

impl Counter {
    /// Every counter there is, in the order of [`Tally`].
    pub fn all() -> impl Iterator<Item = Self> {
        [
            Self::Request(Decision::Public),
            Self::Request(Decision::Admitted),
            Self::TokenCached,
            Self::TokenVerified,
            Self::KeyFetchOk,
            Self::KeyFetchFailed,
        ]
        .into_iter()
        .chain(Reject::ALL.iter().map(|reject| Self::Request(Decision::Denied(*reject))))
        .chain(Reject::ALL.iter().map(|reject| Self::Request(Decision::Observed(*reject))))
    }

    /// Where it stands in [`all`](Self::all).
    const fn position(self) -> usize {
        match self {
            Self::Request(Decision::Public) => 0,
            Self::Request(Decision::Admitted) => 1,
            Self::TokenCached => 2,
            Self::TokenVerified => 3,
            Self::KeyFetchOk => 4,
            Self::KeyFetchFailed => 5,
            Self::Request(Decision::Denied(reject)) => PLAIN.saturating_add(reject as usize),
            Self::Request(Decision::Observed(reject)) => {
                PLAIN.saturating_add(REASONS).saturating_add(reject as usize)
            }
        }
    }

    /// The metric's name. The parts between dots are a label and its value in turn; the bootstrap's
    /// `stats_tags` make Prometheus labels of them.
    pub fn name(self) -> String {
        let requests =
            |outcome: &str, reason: &str| format!("{PREFIX}requests.outcome.{outcome}.reason.{reason}");
        match self {
            Self::Request(Decision::Public) => requests("allowed", "public"),
            Self::Request(Decision::Admitted) => requests("allowed", "token"),
            Self::Request(Decision::Observed(reject)) => requests("observed", reject.reason()),
            Self::Request(Decision::Denied(reject)) => requests("denied", reject.reason()),
            Self::TokenCached => format!("{PREFIX}tokens.source.cache"),
            Self::TokenVerified => format!("{PREFIX}tokens.source.signature"),
            Self::KeyFetchOk => format!("{PREFIX}key_fetches.result.ok"),
            Self::KeyFetchFailed => format!("{PREFIX}key_fetches.result.failed"),
        }
    }
}

/// Those counters that are not about a reason.
const PLAIN: usize = 6;
const REASONS: usize = Reject::ALL.len();
const COUNTERS: usize = PLAIN + 2 * REASONS;

/// What was counted since the host was last told.
#[derive(Debug)]
pub struct Tally {
    /// In the order of [`Counter::all`].
    counts: [u64; COUNTERS],
}

impl Default for Tally {
    fn default() -> Self {
        Self { counts: [0; COUNTERS] }
    }
}

impl Tally {
    pub fn add(&mut self, counter: Counter, count: u64) {
        if let Some(total) = self.counts.get_mut(counter.position()) {
            *total = total.saturating_add(count);
        }
    }

    /// The counts that are not zero, by position in [`Counter::all`], set back to zero.
    pub fn drain(&mut self) -> impl Iterator<Item = (usize, u64)> {
        self.counts.iter_mut().map(std::mem::take).enumerate().filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_counter_has_a_name_of_its_own_that_prometheus_takes() {
        let names: Vec<_> = Counter::all().map(Counter::name).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        for name in names {
            assert!(name.starts_with(PREFIX));
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'.')), "{name}");
        }
    }

    #[test]
    fn every_counter_has_its_own_position() {
        assert!(Counter::all().enumerate().all(|(at, counter)| counter.position() == at));
        assert_eq!(Counter::all().count(), COUNTERS);
    }

    #[test]
    fn counts_until_drained() {
        let mut tally = Tally::default();
        tally.add(Counter::Request(Decision::Denied(Reject::Expired)), 1);
        tally.add(Counter::Request(Decision::Denied(Reject::Expired)), 2);
        tally.add(Counter::TokenCached, 5);
        let named = |tally: &mut Tally| -> Vec<_> {
            tally.drain().map(|(at, count)| (Counter::all().nth(at).unwrap().name(), count)).collect()
        };
        assert_eq!(
            named(&mut tally),
            [
                ("countersign_tokens.source.cache".into(), 5),
                ("countersign_requests.outcome.denied.reason.token_expired".into(), 3)
            ]
        );
        assert!(named(&mut tally).is_empty());
    }
}
