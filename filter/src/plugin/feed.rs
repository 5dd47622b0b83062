//! The feed of revocations: read by whichever worker has the lease, and by all others from shared data.
//!
//! What was revoked stays so while the issuer is away, or says what cannot be.

use countersign_claims::Revocation;
use countersign_proxy_abi::Status;
use countersign_proxy_abi::host::{self, Buffer, Level, Map};

use super::ambient::{self, ServiceToken};
use crate::config::{RevocationFeed, Service, WhenStale};
use crate::edge::Edge;
use crate::feed::lease::Lease;
use crate::feed::record::{Base, LONGEST_TAIL, Names, Tail};
use crate::feed::{Feed, News, Position, WAIT_SECONDS};
use crate::sync::Attempt;

/// A larger answer is no page of the feed.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// The network's share of the time that an answer may take, besides what the issuer may wait with it.
const MARGIN_SECONDS: u64 = 5;

/// After an attempt that failed the next one waits so long, then twice as long each time.
const FIRST_BACKOFF: u64 = 500;
const LONGEST_BACKOFF: u64 = 5_000;

/// An answer without news that comes sooner than this is from an issuer that does not wait.
const LEAST_WAIT: u64 = 1_000;

/// Expired entries go so often: going through all of them takes a while.
const FORGET_EVERY: u64 = 5_000;

/// Between two ticks passes less, unless the clock was set, or the process stood still.
const LONGEST_TICK: u64 = 5_000;

/// One worker's side of the reading.
#[derive(Debug)]
pub(super) struct FeedSync {
    config: RevocationFeed,
    skew: i64,
    token: ServiceToken,
    names: Names,
    /// By what the lease knows this worker.
    me: u64,
    /// Since when all there is is waited for, until it is known.
    waits_since: u64,
    ticked_at: u64,
    feed: Feed,
    /// Of the set in force: which whole set it began with.
    generation: Option<u64>,
    /// The version of the tail that was read.
    tail: Option<u32>,
    /// When what is in force was all there was.
    as_of: Option<u64>,
    /// How long that took from the worker that read it to this one.
    lag: u64,
    in_flight: Option<InFlight>,
    due_at: u64,
    failures: u32,
    forget_at: u64,
}

#[derive(Debug, Clone, Copy)]
struct InFlight {
    call: u32,
    asked_at: u64,
}

/// How things stand, for the gauges.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Standing {
    pub(super) revocations: usize,
    pub(super) age_seconds: u64,
    pub(super) lag_milliseconds: u64,
}

impl FeedSync {
    /// Takes what another worker, or an earlier configuration, has read already.
    pub(super) fn start(config: RevocationFeed, skew: i64, token: ServiceToken, edge: &mut Edge) -> Self {
        let Service { cluster, authority, path } = &config.service;
        let now = ambient::now_millis();
        let mut sync = Self {
            names: Names::of(cluster, authority, path, skew),
            config,
            skew,
            token,
            me: ambient::random(),
            waits_since: now,
            ticked_at: now,
            feed: Feed::default(),
            generation: None,
            tail: None,
            as_of: None,
            lag: 0,
            in_flight: None,
            due_at: 0,
            failures: 0,
            forget_at: now.saturating_add(FORGET_EVERY),
        };
        if !matches!(host::shared_data(&sync.names.lease), Ok(Some(_))) {
            // Compare-and-swap needs something to compare with; no worker has the lease before its first tick.
            let _ = host::set_shared_data(&sync.names.lease, &Lease::default().encode(), None);
        }
        sync.read_tail(edge);
        sync.judge_age(now, edge);
        sync
    }

    /// Takes what is new, and asks the issuer if that is this worker's to do and nothing is under way.
    pub(super) fn tick(&mut self, edge: &mut Edge) -> Option<Attempt> {
        let now = ambient::now_millis();
        self.mind_the_clock(now);
        self.read_tail(edge);
        self.judge_age(now, edge);
        if now >= self.forget_at || self.forget_at.saturating_sub(now) > FORGET_EVERY {
            self.forget_at = now.saturating_add(FORGET_EVERY);
            edge.forget_expired_revocations(ambient::now_seconds());
        }
        // A clock that was set back is not waited for.
        let due = now >= self.due_at || self.due_at.saturating_sub(now) > 2 * LONGEST_BACKOFF;
        (self.holds_lease(now) && self.in_flight.is_none() && due).then(|| self.ask(now))?
    }

    /// What was asked before the clock was set, or before the process stood still, is asked again, and the answer not waited
    /// for. If the clock is set back, tokens live again whose revocations were forgotten or passed over: it is not known what
    /// is revoked until everything has come again.
    fn mind_the_clock(&mut self, now: u64) {
        let before = std::mem::replace(&mut self.ticked_at, now);
        if now.abs_diff(before) <= LONGEST_TICK {
            return;
        }
        self.in_flight = None;
        self.due_at = now;
        if now < before {
            self.feed.distrust();
            self.as_of = None;
            self.waits_since = now;
        }
    }

    /// Takes the answer to a question. `body_size` is what the host says it has.
    pub(super) fn answered(&mut self, call: u32, body_size: usize, edge: &mut Edge) -> Option<Attempt> {
        let InFlight { asked_at, .. } = self.in_flight.take_if(|in_flight| in_flight.call == call)?;
        let now = ambient::now_millis();
        if !self.holds_lease(now) {
            // Whoever has it asks for the same.
            self.feed.forget_parts();
            return None;
        }
        match self.publish(body_size, now, edge) {
            Ok(Published { again, news }) => {
                self.failures = 0;
                let waited = news || now.saturating_sub(asked_at) >= LEAST_WAIT;
                self.due_at = if waited { now } else { asked_at.saturating_add(LEAST_WAIT) };
                // A set of many parts is not to take as many ticks.
                Some(again.then(|| self.ask(now)).flatten().unwrap_or(Attempt::Succeeded))
            }
            Err(reason) => Some(self.failed(&reason, now)),
        }
    }

    pub(super) fn standing(&self, edge: &Edge) -> Standing {
        let since = self.as_of.unwrap_or(self.waits_since);
        Standing {
            revocations: edge.revoked().set().len(),
            age_seconds: ambient::now_millis().saturating_sub(since) / 1000,
            lag_milliseconds: self.lag,
        }
    }

    /// Lets another worker have the lease at once.
    pub(super) fn end(&self) {
        if let Ok(Some((record, version))) = host::shared_data(&self.names.lease)
            && let Some(free) = Lease::decode(&record).release(self.me)
        {
            let _ = host::set_shared_data(&self.names.lease, &free.encode(), Some(version));
        }
    }

    /// Takes or renews the lease, if nobody else has it.
    fn holds_lease(&self, now: u64) -> bool {
        let Ok(Some((record, version))) = host::shared_data(&self.names.lease) else { return false };
        let taken = Lease::decode(&record).take(self.me, now);
        taken.is_some_and(|lease| {
            host::set_shared_data(&self.names.lease, &lease.encode(), Some(version)).is_ok()
        })
    }

    /// `None` if the question is under way.
    fn ask(&mut self, now: u64) -> Option<Attempt> {
        let Service { cluster, authority, path } = &self.config.service;
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}{}", self.feed.question());
        let headers = [
            (":method", "GET"),
            (":path", path.as_str()),
            (":authority", authority.as_str()),
            ("accept", "application/json"),
            self.token.header(),
        ];
        let timeout = std::time::Duration::from_secs(WAIT_SECONDS.saturating_add(MARGIN_SECONDS));
        match host::http_call(cluster, &headers, &[], timeout) {
            Ok(call) => {
                self.in_flight = Some(InFlight { call, asked_at: now });
                None
            }
            Err(Status::BAD_ARGUMENT) => Some(self.failed("there is no such cluster", now)),
            Err(_) => Some(self.failed("the cluster has no healthy host", now)),
        }
    }

    fn failed(&mut self, reason: &str, now: u64) -> Attempt {
        let Service { cluster, path, .. } = &self.config.service;
        host::log(
            Level::Warn,
            &format!("revocations from {cluster}{path} not taken: {reason}; those that are known stay"),
        );
        let wait = FIRST_BACKOFF.saturating_mul(1 << self.failures.min(6)).min(LONGEST_BACKOFF);
        self.failures = self.failures.saturating_add(1);
        self.due_at = now.saturating_add(wait);
        Attempt::Failed
    }

    /// Puts the answer into force and into shared data, as far as it can be believed.
    fn publish(&mut self, body_size: usize, now: u64, edge: &mut Edge) -> Result<Published, String> {
        let status = host::header(Map::HttpCallResponseHeaders, ":status").ok().flatten();
        match status.as_deref() {
            Some(b"200") => {}
            Some(status) => return Err(format!("status {}", status.escape_ascii())),
            None => return Err("no answer in time, or the connection broke".into()),
        }
        if body_size > MAX_ANSWER_BYTES {
            return Err(format!("the answer has more than {MAX_ANSWER_BYTES} bytes"));
        }
        let page = host::buffer(Buffer::HttpCallResponseBody, 0, body_size)
            .map_err(|_| "the answer cannot be read")?;
        let seconds = ambient::now_seconds();
        let before = self.feed.position().map(|position| position.sequence);
        let answer = self.feed.take(&page, seconds, self.skew).map_err(|broken| broken.to_string())?;
        let more = match answer.news {
            News::Aside => return Ok(Published { again: true, news: true }),
            News::More(more) => {
                edge.revoke(&more).map_err(|error| {
                    self.feed.distrust();
                    error.to_string()
                })?;
                more
            }
            News::All(mut set) => {
                edge.revoked().set().keep_expiring(&mut set, seconds, self.skew);
                edge.revoke_only(set);
                self.generation = None;
                Vec::new()
            }
        };
        if !answer.again {
            self.as_of = Some(now);
        }
        let news = self.generation.is_none() || !more.is_empty();
        self.write(before, more, edge);
        self.judge_age(now, edge);
        Ok(Published { again: answer.again, news })
    }

    /// Hands what is in force to the others: what has come after `before`, or, if that has become much, everything.
    fn write(&mut self, before: Option<u64>, more: Vec<Revocation>, edge: &Edge) {
        let Some(position) = self.feed.position().cloned() else { return };
        let (read, version) = match host::shared_data(&self.names.tail) {
            Ok(Some((record, version))) => (Tail::decode(&record), Some(version)),
            _ => (None, None),
        };
        let as_of = self.as_of.unwrap_or_default();
        let goes_on = read.filter(|tail| {
            Some(tail.generation) == self.generation
                && tail.revocations.len().saturating_add(more.len()) <= LONGEST_TAIL
        });
        let tail = match goes_on {
            Some(Tail { generation, since, mut revocations, .. }) => {
                revocations.extend(more);
                Tail { generation, since, position, as_of, revocations }
            }
            None => {
                let known = before.filter(|_| self.generation.is_some() && more.len() <= LONGEST_TAIL);
                let generation = *self.generation.get_or_insert_with(ambient::random);
                let base = Base::encode(generation, position.sequence, edge.revoked().set());
                if host::set_shared_data(&self.names.base, &base, None).is_err() {
                    return;
                }
                // Those who have everything but this need not read all again.
                let (since, revocations) =
                    known.map_or((position.sequence, Vec::new()), |known| (known, more));
                Tail { generation, since, position, as_of, revocations }
            }
        };
        // If somebody else has written meanwhile, he had the lease; what he wrote is read with the next tick.
        let record = tail.encode();
        if host::set_shared_data(&self.names.tail, &record, version).is_ok()
            && let Ok(Some((written, version))) = host::shared_data(&self.names.tail)
            && *written == *record
        {
            self.tail = Some(version);
        }
        self.lag = 0;
    }

    /// Takes what another worker has read since.
    fn read_tail(&mut self, edge: &mut Edge) {
        let Ok(Some((record, version))) = host::shared_data(&self.names.tail) else { return };
        if self.tail == Some(version) {
            return;
        }
        let Some(Tail { generation, since, position, as_of, revocations }) = Tail::decode(&record) else {
            return;
        };
        let known = self.feed.position().map(|Position { sequence, .. }| *sequence);
        let goes_on = self.generation == Some(generation) && known.is_some_and(|known| since <= known);
        if !goes_on && !self.read_base(generation, since, edge) {
            // It is being written, and with the next tick it is there.
            return;
        }
        if edge.revoke(&revocations).is_err() {
            return;
        }
        self.tail = Some(version);
        self.generation = Some(generation);
        let advanced = known.is_none_or(|known| known < position.sequence) || !goes_on;
        if advanced {
            self.feed.has_come_to(position);
        }
        let now = ambient::now_millis();
        if self.as_of.is_some_and(|before| before < as_of) {
            self.lag = now.saturating_sub(as_of);
        }
        self.as_of = Some(as_of).filter(|as_of| *as_of > 0);
    }

    fn read_base(&mut self, generation: u64, since: u64, edge: &mut Edge) -> bool {
        let Ok(Some((record, _))) = host::shared_data(&self.names.base) else { return false };
        let base = Base::decode(&record);
        let Some(base) = base.filter(|base| base.generation == generation && base.sequence >= since) else {
            return false;
        };
        let mut set = countersign_claims::Revocations::default();
        if set.extend(&base.revocations).is_err() {
            return false;
        }
        edge.revoke_only(set);
        true
    }

    fn judge_age(&self, now: u64, edge: &mut Edge) {
        let longest = u64::try_from(self.config.max_staleness.as_millis()).unwrap_or(u64::MAX);
        let stale = self.as_of.is_none_or(|as_of| now.saturating_sub(as_of) > longest);
        edge.set_undecided(stale && self.config.when_stale == WhenStale::Refuse);
    }
}

struct Published {
    /// There is more to ask for.
    again: bool,
    /// It brought something.
    news: bool,
}
