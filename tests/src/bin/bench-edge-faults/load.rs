//! Requests, good and bad, and what came of each: at an even pace, or as fast as it goes.

use std::sync::Arc;

use anyhow::Result;
use countersign_tests::bench::stats::Percentiles;
use countersign_tests::bench::wire::{self, Connection};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep_until, timeout};

const PATH: &str = "/api/positions";

/// Longer than the edge lets any request wait.
const PATIENCE: Duration = Duration::from_secs(15);

/// Described of what went wrong.
const MOST_NOTES: usize = 20;

/// What a request comes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Good,
    /// A token that the issuer did not sign, or none.
    Forged,
    /// A token of a session that has ended.
    Revoked,
    /// A token whose key is revoked while the load runs.
    Withdrawn,
    /// An API key that is none. Told so, or, if there are too many, to come again.
    BadKey,
}

#[derive(Debug)]
pub(crate) struct Card {
    pub(crate) kind: Kind,
    pub(crate) request: Vec<u8>,
}

impl Card {
    pub(crate) fn with_token(kind: Kind, token: &str) -> Arc<Self> {
        Arc::new(Self { kind, request: wire::get(PATH, Some(token)) })
    }

    pub(crate) fn with_key(kind: Kind, key: &str) -> Arc<Self> {
        let mut request = wire::get(PATH, None);
        request.truncate(request.len() - 2);
        request.extend_from_slice(format!("x-api-key: {key}\r\n\r\n").as_bytes());
        Arc::new(Self { kind, request })
    }
}

/// Where requests come from.
pub(crate) trait Traffic: Send + Sync + 'static {
    /// The next one; `None` when that was all.
    fn next(&self) -> Option<Arc<Card>>;

    /// From when on tokens of [`Kind::Withdrawn`] may be refused, and from when on they must be.
    fn withdrawn(&self) -> Option<Withdrawn> {
        None
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Withdrawn {
    pub(crate) may_be: Instant,
    pub(crate) must_be: Instant,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    AsFastAsItGoes,
    /// So many in a second, all connections together, until then.
    PerSecond(u32, Instant),
}

/// What a load has seen.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Requests that were sent.
    pub(crate) sent: usize,
    pub(crate) good: usize,
    pub(crate) time: Duration,
    /// Good ones that did not get 200.
    pub(crate) refused: usize,
    /// Bad ones that got 200.
    pub(crate) admitted: usize,
    /// Bad ones that got another refusal than theirs.
    pub(crate) otherwise: usize,
    pub(crate) unanswered: usize,
    /// Some of what went wrong.
    pub(crate) notes: Vec<String>,
    /// Bad keys that were told to come again.
    pub(crate) told_to_wait: usize,
    /// When a withdrawn token was last let through.
    pub(crate) withdrawn_until: Option<Instant>,
    /// Of good requests.
    latencies_ms: Vec<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Right,
    Refused,
    Admitted,
    Otherwise,
}

/// Sends requests on so many connections, until the traffic or the time is over.
pub(crate) async fn send<T: Traffic>(port: u16, connections: u32, pace: Pace, traffic: &Arc<T>) -> Tally {
    let begin = Instant::now();
    let mut seats = JoinSet::new();
    for place in 0..connections {
        let schedule = match pace {
            Pace::AsFastAsItGoes => None,
            Pace::PerSecond(rate, end) => {
                let period = Duration::from_secs(1) * connections / rate.max(1);
                Some(Schedule { first: begin + period * place / connections, period, end })
            }
        };
        seats.spawn(sit(port, schedule, Arc::clone(traffic), begin));
    }
    let mut tally = Tally::default();
    while let Some(seat) = seats.join_next().await {
        match seat {
            Ok(some) => tally.add(some),
            Err(error) => tally.miss(&format!("{error}")),
        }
    }
    tally.time = begin.elapsed();
    tally
}

/// When a connection sends. Who is late sends what was due at once, so that the pace is kept.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    first: Instant,
    period: Duration,
    end: Instant,
}

async fn sit<T: Traffic>(port: u16, schedule: Option<Schedule>, traffic: Arc<T>, begin: Instant) -> Tally {
    let mut tally = Tally::default();
    let mut connection = None;
    let mut due = schedule.map(|schedule| schedule.first);
    loop {
        if let (Some(Schedule { period, end, .. }), Some(at)) = (schedule, &mut due) {
            if *at >= end {
                return tally;
            }
            sleep_until(*at).await;
            *at += period;
        }
        let Some(card) = traffic.next() else { return tally };
        let sent = Instant::now();
        tally.sent += 1;
        tally.good += usize::from(card.kind == Kind::Good);
        match exchange(port, &mut connection, &card.request).await {
            Ok((status, body)) => {
                let answered = Instant::now();
                let outcome = judge(card.kind, status, sent, answered, traffic.withdrawn());
                tally.count(card.kind, status, outcome, answered - sent);
                if card.kind == Kind::Withdrawn && status == 200 {
                    tally.withdrawn_until = Some(answered);
                }
                if outcome != Outcome::Right {
                    let (at, reason) = ((sent - begin).as_secs_f64(), reason(&body));
                    tally.note(|| format!("{at:.2} s: {:?} got {status} {reason}", card.kind));
                }
            }
            Err(error) => {
                connection = None;
                let at = (sent - begin).as_secs_f64();
                tally.miss(&format!("{at:.2} s: {:?}: {error:#}", card.kind));
            }
        }
    }
}

/// Status and, of a refusal, the body.
async fn exchange(port: u16, kept: &mut Option<Connection>, request: &[u8]) -> Result<(u16, Vec<u8>)> {
    let exchange = async {
        let connection = match kept {
            Some(connection) => connection,
            None => kept.insert(Connection::open(port).await?),
        };
        let answer = connection.exchange(request).await?;
        let body = if answer.status == 200 { Vec::new() } else { answer.body.to_vec() };
        Ok((answer.status, body))
    };
    timeout(PATIENCE, exchange).await?
}

fn judge(kind: Kind, status: u16, sent: Instant, answered: Instant, withdrawn: Option<Withdrawn>) -> Outcome {
    let good = match (kind, withdrawn) {
        (Kind::Good, _) | (Kind::Withdrawn, None) => Some(true),
        (Kind::Withdrawn, Some(Withdrawn { may_be, .. })) if answered < may_be => Some(true),
        (Kind::Withdrawn, Some(Withdrawn { must_be, .. })) if sent < must_be => None,
        _ => Some(false),
    };
    match (good, status) {
        (Some(true), 200) | (Some(false), 401) | (None, 200 | 401) => Outcome::Right,
        (Some(false), 503) if kind == Kind::BadKey => Outcome::Right,
        (Some(true), _) => Outcome::Refused,
        (Some(false), 200) => Outcome::Admitted,
        _ => Outcome::Otherwise,
    }
}

/// What a refusal says of itself.
fn reason(body: &[u8]) -> String {
    let problem: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    problem["reason"].as_str().unwrap_or_default().to_owned()
}

impl Tally {
    fn count(&mut self, kind: Kind, status: u16, outcome: Outcome, took: Duration) {
        match outcome {
            Outcome::Right => {}
            Outcome::Refused => self.refused += 1,
            Outcome::Admitted => self.admitted += 1,
            Outcome::Otherwise => self.otherwise += 1,
        }
        if kind == Kind::Good {
            self.latencies_ms.push(took.as_secs_f64() * 1e3);
        }
        self.told_to_wait += usize::from(kind == Kind::BadKey && status == 503);
    }

    fn miss(&mut self, what: &str) {
        self.unanswered += 1;
        self.note(|| what.to_owned());
    }

    fn note(&mut self, note: impl FnOnce() -> String) {
        if self.notes.len() < MOST_NOTES {
            self.notes.push(note());
        }
    }

    fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.good += other.good;
        self.refused += other.refused;
        self.admitted += other.admitted;
        self.otherwise += other.otherwise;
        self.unanswered += other.unanswered;
        self.told_to_wait += other.told_to_wait;
        self.withdrawn_until = self.withdrawn_until.max(other.withdrawn_until);
        self.latencies_ms.extend(other.latencies_ms);
        self.notes.extend(other.notes);
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.sent as f64 / self.time.as_secs_f64()
    }

    /// Of good requests, if there were any.
    pub(crate) fn latency(&self) -> Option<Percentiles> {
        Percentiles::of(self.latencies_ms.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_whose_key_is_revoked_may_be_refused_from_then_on_and_must_be_a_refresh_later() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let withdrawn = Some(Withdrawn { may_be: at(10), must_be: at(12) });
        let judged = |sent, status, withdrawn| judge(Kind::Withdrawn, status, at(sent), at(sent), withdrawn);
        for (sent, status, withdrawn, outcome) in [
            (5, 200, None, Outcome::Right),
            (5, 401, None, Outcome::Refused),
            (5, 401, withdrawn, Outcome::Refused),
            (11, 200, withdrawn, Outcome::Right),
            (11, 401, withdrawn, Outcome::Right),
            (11, 503, withdrawn, Outcome::Otherwise),
            (13, 401, withdrawn, Outcome::Right),
            (13, 200, withdrawn, Outcome::Admitted),
        ] {
            assert_eq!(judged(sent, status, withdrawn), outcome, "{sent} {status}");
        }
    }

    #[test]
    fn only_a_bad_key_may_be_told_to_come_again() {
        let now = Instant::now();
        let judged = |kind, status| judge(kind, status, now, now, None);
        assert_eq!(judged(Kind::BadKey, 503), Outcome::Right);
        assert_eq!(judged(Kind::BadKey, 200), Outcome::Admitted);
        assert_eq!(judged(Kind::Forged, 503), Outcome::Otherwise);
        assert_eq!(judged(Kind::Revoked, 200), Outcome::Admitted);
        assert_eq!(judged(Kind::Good, 503), Outcome::Refused);
    }

    #[test]
    fn a_key_stands_in_a_header_of_its_own() {
        let card = Card::with_key(Kind::BadKey, "k");
        let request = String::from_utf8(card.request.clone()).unwrap();
        assert!(request.ends_with("\r\nx-api-key: k\r\n\r\n") && !request.contains("\r\n\r\nx"), "{request}");
    }
}
