//! Counting outcomes in memory, so that a request costs an addition and the host is told on a tick.
//!
//! Metric names are part of the interface; `filter/README.md` lists them.

use countersign_claims::Reject;

use crate::sync::Attempt;
use crate::verdict::Decision;

/// Prefix of every metric: Envoy puts `wasmcustom.` before it and Prometheus drops that again.
pub const PREFIX: &str = "countersign_";

/// Gauge: keys in force.
pub const KEYS: &str = "countersign_keys";
/// Gauge: seconds since the issuer's keys were last fetched, or since they are waited for if they never were.
pub const KEYS_AGE: &str = "countersign_keys_age_seconds";

/// Gauge: revocations in force.
pub const REVOCATIONS: &str = "countersign_revocations";
/// Gauge: seconds since they were known to be all, or since they are waited for if they never were.
pub const REVOCATIONS_AGE: &str = "countersign_revocations_age_seconds";
/// Gauge: milliseconds from one worker to the others, for the last that came.
pub const REVOCATIONS_LAG: &str = "countersign_revocations_lag_milliseconds";

/// Everything that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    Request(Decision),
    /// Tokens answered from the cache.
    TokenCached,
    /// Tokens checked by their signature.
    TokenVerified,
    KeyFetch(Attempt),
    RevocationFetch(Attempt),
    /// WebSockets that were ended. `told`: with a close frame.
    StreamClosed {
        why: Reject,
        told: bool,
    },
}

impl Counter {
    /// Every counter there is, in the order of [`Tally`].
    pub fn all() -> impl Iterator<Item = Self> {
        [
            Self::Request(Decision::Public),
            Self::Request(Decision::Admitted),
            Self::TokenCached,
            Self::TokenVerified,
            Self::KeyFetch(Attempt::Succeeded),
            Self::KeyFetch(Attempt::Failed),
            Self::RevocationFetch(Attempt::Succeeded),
            Self::RevocationFetch(Attempt::Failed),
            Self::StreamClosed { why: Reject::Expired, told: true },
            Self::StreamClosed { why: Reject::Expired, told: false },
            Self::StreamClosed { why: Reject::Revoked, told: true },
            Self::StreamClosed { why: Reject::Revoked, told: false },
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
            Self::KeyFetch(Attempt::Succeeded) => 4,
            Self::KeyFetch(Attempt::Failed) => 5,
            Self::RevocationFetch(Attempt::Succeeded) => 6,
            Self::RevocationFetch(Attempt::Failed) => 7,
            Self::StreamClosed { why: Reject::Revoked, told: true } => 10,
            Self::StreamClosed { why: Reject::Revoked, told: false } => 11,
            // Nothing else ends a stream.
            Self::StreamClosed { told: true, .. } => 8,
            Self::StreamClosed { told: false, .. } => 9,
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
            Self::KeyFetch(attempt) => format!("{PREFIX}key_fetches.result.{}", result(attempt)),
            Self::RevocationFetch(attempt) => {
                format!("{PREFIX}revocation_fetches.result.{}", result(attempt))
            }
            Self::StreamClosed { why, told } => {
                let outcome = if told { "closed" } else { "cut" };
                format!("{PREFIX}streams.outcome.{outcome}.reason.{}", why.reason())
            }
        }
    }
}

const fn result(attempt: Attempt) -> &'static str {
    match attempt {
        Attempt::Succeeded => "ok",
        Attempt::Failed => "failed",
    }
}

/// Those counters that are not about a reason for a request.
const PLAIN: usize = 12;
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
