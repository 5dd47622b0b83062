//! Counting outcomes in memory, so that a request costs an addition and the host is told on a tick.
//!
//! Metric names are part of the interface; `filter/README.md` lists them.

use countersign_claims::Reject;

use crate::policy::Rule;
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
    /// Tokens that were forgotten to make room for others.
    TokenEvicted,
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
            Self::TokenEvicted,
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
            Self::TokenEvicted => 4,
            Self::KeyFetchOk => 5,
            Self::KeyFetchFailed => 6,
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
            Self::TokenEvicted => format!("{PREFIX}cache_evictions"),
            Self::KeyFetchOk => format!("{PREFIX}key_fetches.result.ok"),
            Self::KeyFetchFailed => format!("{PREFIX}key_fetches.result.failed"),
        }
    }
}

/// Those counters that are not about a reason.
const PLAIN: usize = 7;
const REASONS: usize = Reject::ALL.len();
const COUNTERS: usize = PLAIN + 2 * REASONS;

/// What became of the requests that a rule matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Allowed,
    Observed,
    Denied,
}

const OUTCOMES: [Outcome; 3] = [Outcome::Allowed, Outcome::Observed, Outcome::Denied];

impl Outcome {
    const fn of(decision: Decision) -> Self {
        match decision {
            Decision::Public | Decision::Admitted => Self::Allowed,
            Decision::Observed(_) => Self::Observed,
            Decision::Denied(_) => Self::Denied,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Observed => "observed",
            Self::Denied => "denied",
        }
    }
}

/// The names of all metrics that a [`Tally`] for these rules counts, by position. Their number depends on the configuration
/// alone: no request adds one.
pub fn names(rules: &[Rule]) -> impl Iterator<Item = String> {
    let of_rule = |rule: &Rule| {
        let label = label(&rule.name);
        OUTCOMES.map(|outcome| format!("{PREFIX}rule_requests.outcome.{}.rule.{label}", outcome.name()))
    };
    Counter::all().map(Counter::name).chain(rules.iter().flat_map(of_rule))
}

/// A rule's name as a part of a metric's name, where a dot would begin another part.
fn label(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

/// What was counted since the host was last told.
#[derive(Debug)]
pub struct Tally {
    /// In the order of [`Counter::all`].
    counts: [u64; COUNTERS],
    /// By rule, in the order of the configuration, and then by outcome.
    by_rule: Vec<[u64; OUTCOMES.len()]>,
}

impl Tally {
    pub fn new(rules: &[Rule]) -> Self {
        Self { counts: [0; COUNTERS], by_rule: vec![[0; OUTCOMES.len()]; rules.len()] }
    }

    pub fn add(&mut self, counter: Counter, count: u64) {
        if let Some(total) = self.counts.get_mut(counter.position()) {
            *total = total.saturating_add(count);
        }
    }

    /// Counts a request.
    pub fn decided(&mut self, decision: Decision, rule: Option<&Rule>) {
        self.add(Counter::Request(decision), 1);
        let counts = rule.and_then(|rule| self.by_rule.get_mut(rule.position));
        if let Some(total) = counts.and_then(|counts| counts.get_mut(Outcome::of(decision) as usize)) {
            *total = total.saturating_add(1);
        }
    }

    /// The counts that are not zero, by position in [`names`], set back to zero.
    pub fn drain(&mut self) -> impl Iterator<Item = (usize, u64)> {
        let counts = self.counts.iter_mut().chain(self.by_rule.iter_mut().flatten());
        counts.map(std::mem::take).enumerate().filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::policy::{self, PathMatch};

    fn rules() -> Vec<Rule> {
        let named = ["backend", "alerts.write", "Ops-1"].into_iter().enumerate();
        let rules = named.map(|(position, name)| Rule {
            position,
            ..policy::tests::rule(name, PathMatch::prefix("/"), &[], false)
        });
        rules.collect()
    }

    #[test]
    fn every_counter_has_a_name_of_its_own_that_prometheus_takes() {
        let names: Vec<_> = names(&rules()).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        for name in names {
            let (start, last) = name.rsplit_once('.').unwrap_or((&name, ""));
            assert!(start.starts_with(PREFIX));
            assert!(start.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'.')), "{name}");
            assert!(last.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')), "{name}");
        }
    }

    #[test]
    fn every_counter_has_its_own_position() {
        assert!(Counter::all().enumerate().all(|(at, counter)| counter.position() == at));
        assert_eq!(Counter::all().count(), COUNTERS);
    }

    #[test]
    fn counts_until_drained() {
        let rules = rules();
        let mut tally = Tally::new(&rules);
        tally.decided(Decision::Denied(Reject::Expired), rules.get(1));
        tally.decided(Decision::Denied(Reject::Expired), rules.get(1));
        tally.decided(Decision::Observed(Reject::Expired), rules.get(2));
        tally.decided(Decision::Denied(Reject::NoRule), None);
        tally.add(Counter::TokenCached, 5);
        let named = |tally: &mut Tally| -> Vec<_> {
            tally.drain().map(|(at, count)| (names(&rules).nth(at).unwrap(), count)).collect()
        };
        let counted = named(&mut tally);
        let counted: Vec<_> = counted.iter().map(|(name, count)| (&**name, *count)).collect();
        assert_eq!(
            counted,
            [
                ("countersign_tokens.source.cache", 5),
                ("countersign_requests.outcome.denied.reason.token_expired", 2),
                ("countersign_requests.outcome.denied.reason.no_rule", 1),
                ("countersign_requests.outcome.observed.reason.token_expired", 1),
                ("countersign_rule_requests.outcome.denied.rule.alerts_write", 2),
                ("countersign_rule_requests.outcome.observed.rule.Ops-1", 1),
            ]
        );
        assert!(named(&mut tally).is_empty());
    }
}
