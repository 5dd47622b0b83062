//! A worker serving with one configuration: its state and its background work.

use std::time::Duration;

use countersign_proxy_abi::host::{self, Buffer};
use countersign_proxy_abi::{Action, Status};

use super::ambient;
use super::ambient::ServiceToken;
use super::exchange::Questions;
use super::feed::FeedSync;
use super::keys::KeySync;
use super::live::Streams;
use super::metrics::{Gauges, Metrics};
use super::paused::Paused;
use super::stream;
use crate::cache::Seeds;
use crate::config::Config;
use crate::edge::{Checks, Edge, Waiting};
use crate::principal::ClaimHeader;
use crate::sync::Attempt;
use crate::tally::{Counter, Tally};
use crate::verdict::WaitOn;

/// How soon a worker sees keys and revocations that another has fetched, streams end, and metrics are told. A session that
/// has ended lives on at the edge until the last worker's next tick.
const TICK: Duration = Duration::from_millis(100);

/// How soon the issuer is asked about an API key: with a tick, because a call that is made for a request ends with it.
const AT_ONCE: Duration = Duration::from_millis(1);

/// What the requests of one worker share.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) edge: Edge,
    pub(super) tally: Tally,
    pub(super) keys: Option<KeySync>,
    pub(super) streams: Streams,
    pub(super) paused: Paused,
    /// Of the configuration; here so that they can be read while the edge decides.
    pub(super) claim_headers: Vec<ClaimHeader>,
    feed: Option<FeedSync>,
    questions: Option<Questions>,
    metrics: Metrics,
    /// The next tick comes at once.
    hurries: bool,
}

impl Worker {
    /// Reads the configuration that the host has for the root context, of so many bytes.
    pub(super) fn configure(size: usize) -> Result<Self, String> {
        let json = host::buffer(Buffer::PluginConfiguration, 0, size).map_err(|_| "it cannot be read")?;
        let config = Config::parse(&json).map_err(|error| error.to_string())?;
        let token = match config.needs_service_token() {
            Some(field) => Some(ServiceToken::read().map_err(|reason| format!("{field}: {reason}"))?),
            None => None,
        };
        let (remote, skew) = (config.keys.remote.clone(), config.clock_skew);
        let (revocations, api_keys) = (config.revocations.clone(), config.api_keys.clone());
        let claim_headers = config.claim_headers.clone();
        let mut edge = Edge::new(config, Seeds([ambient::random(), ambient::random()]));
        let keys = remote.map(|remote| KeySync::start(remote, &mut edge));
        let feed = revocations.zip(token.clone());
        let feed = feed.map(|(feed, token)| FeedSync::start(feed, skew, token, &mut edge));
        let questions = api_keys.zip(token).map(|(api_keys, token)| Questions::new(api_keys, token));
        let rules = edge.config().policy.rules();
        let metrics = Metrics::define(rules).map_err(|_| "the host defines no metrics")?;
        host::set_tick_period(TICK).map_err(|_| "the host has no ticks")?;
        let tally = Tally::new(rules);
        let (streams, paused) = (Streams::default(), Paused::default());
        Ok(Self {
            edge,
            tally,
            keys,
            streams,
            paused,
            claim_headers,
            feed,
            questions,
            metrics,
            hurries: false,
        })
    }

    /// Decides about the request whose headers the host has. `root`: this configuration's context.
    pub(super) fn decide(&mut self, root: u32, stream: u32) -> Result<Action, Status> {
        let waiting = if self.paused.is_full() { Waiting::Full } else { Waiting::Allowed };
        if self.paused.is_full_for_keys() {
            self.edge.set_keys_coming(false);
        }
        let before = self.paused.len();
        let action = stream::decide(self, stream, waiting)?;
        if self.paused.len() > before && !self.hurries {
            host::turn_to(root)?;
            self.hurries = host::set_tick_period(AT_ONCE).is_ok();
            host::turn_to(stream)?;
        }
        Ok(action)
    }

    /// `newest`: no configuration has come after this one.
    pub(super) fn tick(&mut self, root: u32, newest: bool) {
        if std::mem::take(&mut self.hurries) {
            let _ = host::set_tick_period(TICK);
        }
        let seconds = ambient::now_seconds();
        self.edge.tick(seconds);
        if let Some(keys) = &mut self.keys {
            let attempt = keys.tick(&mut self.edge);
            let under_way = keys.is_under_way();
            self.count_attempt(attempt, Counter::KeyFetch);
            if !under_way {
                // Whoever fetched them, they are here, or do not come.
                self.go_on(root, WaitOn::Keys);
            }
        }
        if let Some(feed) = &mut self.feed {
            let attempt = feed.tick(&mut self.edge);
            self.count_attempt(attempt, Counter::RevocationFetch);
        }
        self.ask_about_keys(root);
        self.end_streams(root, seconds);
        self.flush_counters();
        if newest {
            self.set_gauges();
        }
    }

    /// Takes the answer to an HTTP call.
    pub(super) fn answered(&mut self, root: u32, call: u32, body_size: usize) {
        if let Some(keys) = &mut self.keys {
            let attempt = keys.answered(call, body_size, &mut self.edge);
            self.count_attempt(attempt, Counter::KeyFetch);
            if attempt.is_some() {
                self.go_on(root, WaitOn::Keys);
            }
        }
        if let Some(feed) = &mut self.feed {
            let attempt = feed.answered(call, body_size, &mut self.edge);
            self.count_attempt(attempt, Counter::RevocationFetch);
            // The next bytes of a stream may come sooner than the next tick.
            self.end_streams(root, ambient::now_seconds());
        }
        if let (Some(questions), Some(exchange)) = (&mut self.questions, &mut self.edge.exchange)
            && let Some(key) = questions.answered(call, body_size, exchange)
        {
            self.go_on(root, WaitOn::ApiKey(key));
            self.ask_about_keys(root);
        }
    }

    /// Lets go of what other configurations, or this one's successor, may want to have.
    pub(super) fn end(&mut self) {
        if let Some(feed) = &self.feed {
            feed.end();
        }
        self.flush_counters();
    }

    fn end_streams(&mut self, root: u32, seconds: i64) {
        self.streams.tick(root, seconds, ambient::now_millis(), &self.edge, &mut self.tally);
    }

    fn ask_about_keys(&mut self, root: u32) {
        if let (Some(questions), Some(exchange)) = (&mut self.questions, &mut self.edge.exchange) {
            for unheard in questions.ask(exchange) {
                self.go_on(root, WaitOn::ApiKey(unheard));
            }
        }
    }

    /// Decides about the requests that have waited for this. `root`: the context that is being called.
    fn go_on(&mut self, root: u32, on: WaitOn) {
        for (stream, held) in self.paused.take(on) {
            // Some have gone meanwhile.
            if host::turn_to(stream).is_ok() {
                match stream::decide(self, stream, Waiting::Over(on, &held)) {
                    Ok(Action::Continue) => drop(host::continue_request()),
                    Ok(Action::Pause) => {}
                    Err(_) => drop(stream::fail_closed()),
                }
            }
        }
        let _ = host::turn_to(root);
    }

    fn count_attempt(&mut self, attempt: Option<Attempt>, counter: fn(Attempt) -> Counter) {
        if let Some(attempt) = attempt {
            self.tally.add(counter(attempt), 1);
        }
    }

    /// Tells the host what was counted.
    pub(super) fn flush_counters(&mut self) {
        let Checks { cached, verified } = std::mem::take(&mut self.edge.checks);
        self.tally.add(Counter::TokenEvicted, self.edge.take_evictions());
        self.tally.add(Counter::TokenCached, cached);
        self.tally.add(Counter::TokenVerified, verified);
        // A metric that the host does not take must not stop the rest.
        let _ = self.metrics.flush(&mut self.tally);
    }

    /// Tells the host how things stand. Keys that stand in the configuration have no age.
    fn set_gauges(&self) {
        let feed = self.feed.as_ref().map(|feed| feed.standing(&self.edge)).unwrap_or_default();
        let _ = self.metrics.set(&Gauges {
            keys: self.edge.keys(),
            keys_age_seconds: self.keys.as_ref().map_or(0, KeySync::age_seconds),
            feed,
        });
    }
}
