//! Fetching the issuer's keys once per Envoy process, although every worker runs a VM of its own.
//!
//! The workers agree through one [`Schedule`] record in shared data, written by compare-and-swap: it says when
//! the next attempt is due, and whoever moves that time forward makes the attempt. A worker that dies in the
//! middle holds nothing up longer than the timeout. All times are milliseconds since the Unix epoch.

use std::time::Duration;

/// How often to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Time from a good answer to the next attempt.
    pub refresh: Duration,
    /// Time after which an attempt counts as failed.
    pub timeout: Duration,
}

/// Between two attempts that tokens with unknown keys bring forward lies at least this, however many there are.
pub const EARLIEST_RETRY: Duration = Duration::from_secs(5);

/// After so many refreshes in which nobody asked for a newer one, a set is no longer what the issuer publishes.
const REFRESHES_TO_TRUST: u32 = 3;

const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// How an attempt to fetch something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    Succeeded,
    Failed,
}

/// When the next attempt is due, as all workers of a process see it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Schedule {
    /// When the last attempt began. Identifies the attempt, too.
    pub attempted_at: u64,
    pub due_at: u64,
    /// When a token with an unknown key last brought an attempt forward.
    pub early_at: u64,
    /// Attempts in a row that failed.
    pub failures: u32,
}

impl Schedule {
    /// The record after claiming the attempt that is due at `now`; `None` if none is. Whoever succeeds in writing
    /// it makes the attempt. `early`: a token named a key that nobody knows.
    #[must_use]
    pub fn claim(self, now: u64, pace: &Pace, early: bool) -> Option<Self> {
        let due = now >= self.due_at || self.is_from_the_future(now, pace);
        let early = early && now >= self.earliest() && !self.is_under_way(now, pace);
        (due || early).then(|| Self {
            attempted_at: now,
            // A clock that was set back is not waited for.
            early_at: if due { self.early_at.min(now) } else { now },
            // The lease: the winner has this long.
            due_at: Self::lease(now, pace),
            failures: if self.is_tried(now, pace) { self.failures } else { 0 },
        })
    }

    /// When the next attempt may be brought forward. A set that was fetched in its turn a moment ago is no reason against
    /// it: a key that was made since, and signs already, is not in it.
    fn earliest(self) -> u64 {
        let last = if self.failures > 0 { self.attempted_at } else { self.early_at };
        last.saturating_add(millis(EARLIEST_RETRY))
    }

    /// Whether keys are being fetched, or would be as soon as a token names one that nobody knows.
    pub fn is_worth_waiting(self, now: u64, pace: &Pace) -> bool {
        self.is_under_way(now, pace) || self.claim(now, pace, true).is_some()
    }

    /// Whether an attempt has been claimed and has not ended.
    pub fn is_under_way(self, now: u64, pace: &Pace) -> bool {
        now < self.due_at && self.due_at == Self::lease(self.attempted_at, pace)
    }

    fn lease(attempted_at: u64, pace: &Pace) -> u64 {
        attempted_at.saturating_add(millis(pace.timeout)).saturating_add(millis(FIRST_BACKOFF))
    }

    /// Whether a configuration that begins at `now` may take a set of that age: one that was fetched a few refreshes
    /// ago, or the last that there was, if the issuer has been asked in vain all the time. An older one lies there from
    /// a configuration that has ended, and its keys may have been withdrawn since.
    pub fn vouches_for(self, fetched_at: u64, now: u64, pace: &Pace) -> bool {
        now.saturating_sub(fetched_at) <= trusted_for(pace) || self.is_tried(now, pace)
    }

    /// Whether attempts fail, and go on being made.
    fn is_tried(self, now: u64, pace: &Pace) -> bool {
        self.failures > 0 && now.saturating_sub(self.due_at) <= trusted_for(pace)
    }

    /// The record after the attempt brought keys. `random` spreads the next one by up to a tenth.
    #[must_use]
    pub fn succeeded(self, now: u64, pace: &Pace, random: u64) -> Self {
        let wait = millis(pace.refresh);
        Self { due_at: now.saturating_add(wait).saturating_sub(share(wait, random)), failures: 0, ..self }
    }

    /// The record after the attempt failed: the next one waits twice as long as the last, a minute at most.
    #[must_use]
    pub fn failed(self, now: u64, random: u64) -> Self {
        let doublings = self.failures.min(6);
        let wait = millis(FIRST_BACKOFF).saturating_mul(1 << doublings).min(millis(LONGEST_BACKOFF));
        Self {
            due_at: now.saturating_add(wait).saturating_add(share(wait, random)),
            failures: self.failures.saturating_add(1),
            ..self
        }
    }

    /// After the clock was set back, a record may be far ahead; waiting for it would stop fetching.
    fn is_from_the_future(self, now: u64, pace: &Pace) -> bool {
        let longest =
            millis(pace.refresh.max(LONGEST_BACKOFF)).saturating_mul(2).saturating_add(millis(pace.timeout));
        self.due_at > now.saturating_add(longest)
    }

    /// The record's bytes.
    pub fn encode(self) -> Vec<u8> {
        let times = [self.attempted_at, self.due_at, self.early_at].map(u64::to_le_bytes);
        [&times.concat()[..], &self.failures.to_le_bytes()].concat()
    }

    /// A record that [`encode`](Self::encode) wrote; anything else counts as never attempted.
    pub fn decode(bytes: &[u8]) -> Self {
        fn read(bytes: &[u8]) -> Option<Schedule> {
            let (attempted_at, rest) = bytes.split_first_chunk()?;
            let (due_at, rest) = rest.split_first_chunk()?;
            let (early_at, rest) = rest.split_first_chunk()?;
            Some(Schedule {
                attempted_at: u64::from_le_bytes(*attempted_at),
                due_at: u64::from_le_bytes(*due_at),
                early_at: u64::from_le_bytes(*early_at),
                failures: u32::from_le_bytes(rest.try_into().ok()?),
            })
        }
        read(bytes).unwrap_or_default()
    }
}

/// A key set as the fetching worker leaves it for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot<'b> {
    pub fetched_at: u64,
    pub jwks: &'b [u8],
}

impl<'b> Snapshot<'b> {
    pub fn encode(self) -> Vec<u8> {
        [&self.fetched_at.to_le_bytes()[..], self.jwks].concat()
    }

    pub fn decode(bytes: &'b [u8]) -> Option<Self> {
        let (fetched_at, jwks) = bytes.split_first_chunk()?;
        Some(Self { fetched_at: u64::from_le_bytes(*fetched_at), jwks })
    }
}

/// Where records and snapshots of one source lie in shared data, which all plugins of one `vm_id` see: also those of
/// another version of this module, which may have another form for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    pub schedule: String,
    pub snapshot: String,
}

impl Names {
    /// Counts the forms that [`Schedule`] and [`Snapshot`] have had.
    const FORM: u32 = 3;

    /// None of the three has a space in it: no two sources have the same names.
    pub fn of(cluster: &str, authority: &str, path: &str) -> Self {
        let name =
            |what: &str| format!("countersign.keys.{what} {} {cluster} {authority} {path}", Self::FORM);
        Self { schedule: name("schedule"), snapshot: name("set") }
    }
}

fn trusted_for(pace: &Pace) -> u64 {
    millis(pace.refresh.saturating_mul(REFRESHES_TO_TRUST))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Up to a tenth of `wait`.
fn share(wait: u64, random: u64) -> u64 {
    random.checked_rem((wait / 10).saturating_add(1)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PACE: Pace = Pace { refresh: Duration::from_secs(60), timeout: Duration::from_secs(2) };
    const NOW: u64 = 1_800_000_000_000;

    fn fetched() -> Schedule {
        Schedule::default().claim(NOW, &PACE, false).unwrap().succeeded(NOW, &PACE, 0)
    }

    #[test]
    fn the_first_attempt_is_due_at_once_and_only_once() {
        let claimed = Schedule::default().claim(NOW, &PACE, false).unwrap();
        assert_eq!(claimed.claim(NOW, &PACE, true), None);
        assert_eq!(claimed.claim(NOW + 2999, &PACE, false), None);
        assert!(claimed.claim(NOW + 3000, &PACE, false).is_some(), "the claim runs out");
    }

    #[test]
    fn a_good_answer_is_refreshed_a_little_early() {
        let due = |random| Schedule::default().succeeded(NOW, &PACE, random).due_at - NOW;
        assert_eq!(due(0), 60_000);
        assert_eq!(due(6_000), 54_000);
        assert_eq!(due(6_001), 60_000);
        assert_eq!(fetched().claim(NOW + 59_999, &PACE, false), None);
        assert!(fetched().claim(NOW + 60_000, &PACE, false).is_some());
    }

    #[test]
    fn an_unknown_key_brings_the_attempt_forward_but_not_at_any_rate() {
        let early = fetched().claim(NOW + 1, &PACE, true).unwrap();
        assert_eq!(early.claim(NOW + 2, &PACE, true), None, "somebody asks");
        let early = early.succeeded(NOW + 2, &PACE, 0);
        assert_eq!(early.claim(NOW + 5000, &PACE, true), None);
        assert!(early.claim(NOW + 5001, &PACE, true).is_some());
        let failed = early.claim(NOW + 5001, &PACE, true).unwrap().failed(NOW + 5002, 0);
        assert_eq!(failed.claim(NOW + 6000, &PACE, true), None, "nor if it was in vain");
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_keep_a_key_away() {
        let early = fetched().claim(NOW + 1, &PACE, true).unwrap().succeeded(NOW + 2, &PACE, 0);
        let back = NOW - 86_400_000;
        let fetched = early.claim(back, &PACE, false).unwrap().succeeded(back, &PACE, 0);
        assert!(fetched.claim(back + 5000, &PACE, true).is_some());
    }

    #[test]
    fn waiting_is_worth_while_as_long_as_somebody_asks_or_may() {
        let claimed = Schedule::default().claim(NOW, &PACE, false).unwrap();
        assert!(claimed.is_under_way(NOW, &PACE) && claimed.is_worth_waiting(NOW, &PACE));
        assert!(!claimed.is_under_way(NOW + 3000, &PACE), "whoever asked has ended");
        let fetched = claimed.succeeded(NOW + 10, &PACE, 0);
        assert!(!fetched.is_under_way(NOW + 10, &PACE) && fetched.is_worth_waiting(NOW + 10, &PACE));
        let early = fetched.claim(NOW + 10, &PACE, true).unwrap().succeeded(NOW + 20, &PACE, 0);
        assert!(!early.is_worth_waiting(NOW + 5009, &PACE) && early.is_worth_waiting(NOW + 5010, &PACE));
        let failed = claimed.failed(NOW + 10, 0);
        assert!(!failed.is_under_way(NOW + 10, &PACE) && !failed.is_worth_waiting(NOW + 999, &PACE));
    }

    #[test]
    fn failures_wait_longer_and_longer_up_to_a_minute() {
        let mut schedule = Schedule::default();
        let waits: Vec<_> = (0..8)
            .map(|_| {
                schedule = schedule.failed(NOW, 0);
                (schedule.due_at - NOW) / 1000
            })
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(schedule.succeeded(NOW, &PACE, 0).failures, 0);
    }

    #[test]
    fn a_record_from_the_future_is_not_waited_for() {
        assert!(fetched().claim(NOW - 86_400_000, &PACE, false).is_some());
    }

    #[test]
    fn a_record_survives_shared_data_and_a_broken_one_counts_as_none() {
        let record = fetched().failed(NOW, 7);
        assert_eq!(Schedule::decode(&record.encode()), record);
        assert_eq!(Schedule::decode(&record.encode()[1..]), Schedule::default());
        let snapshot = Snapshot { fetched_at: NOW, jwks: b"{}" };
        assert_eq!(Snapshot::decode(&snapshot.encode()), Some(snapshot));
        assert_eq!(Snapshot::decode(b"short"), None);
    }

    #[test]
    fn a_new_configuration_takes_a_set_that_somebody_keeps_up() {
        let trusted = 3 * 60_000;
        assert!(fetched().vouches_for(NOW, NOW + trusted, &PACE));
        assert!(!fetched().vouches_for(NOW, NOW + trusted + 1, &PACE));
        let mut schedule = fetched();
        let mut now = NOW;
        for _ in 0..30 {
            now = schedule.due_at;
            schedule = schedule.claim(now, &PACE, false).unwrap().failed(now, 0);
        }
        assert!(schedule.vouches_for(NOW, now, &PACE), "the issuer is away, and is being asked");
        let later = schedule.due_at + trusted + 1;
        assert!(!schedule.vouches_for(NOW, later, &PACE), "nobody has asked since");
        let claimed = schedule.claim(later, &PACE, false).unwrap();
        assert!(!claimed.vouches_for(NOW, later, &PACE), "another worker has just begun to ask");
    }

    #[test]
    fn a_name_says_which_form_lies_under_it() {
        let Names { schedule, snapshot } = Names::of("issuer", "login", "/jwks");
        assert_eq!(schedule, "countersign.keys.schedule 3 issuer login /jwks");
        assert_eq!(snapshot, "countersign.keys.set 3 issuer login /jwks");
        // Form 3. Whoever changes it has to count on.
        let record = Schedule { attempted_at: 1, due_at: 2, early_at: 3, failures: 4 };
        let [one, two, three] = [1, 2, 3].map(u64::to_le_bytes);
        assert_eq!(record.encode(), [&one[..], &two, &three, &4_u32.to_le_bytes()].concat());
        assert_eq!(Snapshot { fetched_at: 1, jwks: b"{}" }.encode(), [&one[..], b"{}"].concat());
    }

    #[test]
    fn no_two_sources_share_a_name() {
        let sources =
            [("a/b", "h", "/c"), ("a", "h", "/b/c"), ("a", "h", "/c"), ("a", "hh", "/c"), ("ah", "h", "/c")];
        let names: std::collections::BTreeSet<_> = sources
            .into_iter()
            .map(|(cluster, authority, path)| Names::of(cluster, authority, path))
            .flat_map(|names| [names.schedule, names.snapshot])
            .collect();
        assert_eq!(names.len(), 2 * sources.len());
    }

    proptest! {
        #[test]
        fn two_workers_never_claim_one_attempt(attempted_at: u64, due_at: u64, early_at: u64, failures: u32, now: u64, early: bool) {
            let schedule = Schedule { attempted_at, due_at, early_at, failures };
            if let Some(claimed) = schedule.claim(now, &PACE, early) {
                let _ = (claimed.succeeded(now, &PACE, due_at), claimed.failed(now, due_at));
                prop_assert!(now > u64::MAX - 10_000 || claimed.claim(now, &PACE, true).is_none());
            }
        }
    }
}
