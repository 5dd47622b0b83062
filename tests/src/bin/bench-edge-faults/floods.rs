//! A million bad tokens, no two alike, and a hundred thousand bad API keys, while others work: memory must not grow with
//! them, good tokens stay in the cache, and the issuer hears of few.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use base64ct::{Base64UrlUnpadded, Encoding};
use countersign_tests::bench::edge::{Edge, delta};
use serde_json::json;
use tokio::time::{Duration, Instant, sleep};

use crate::Bench;
use crate::load::{self, Card, Kind, Pace, Tally, Traffic};
use crate::people::{Mint, Person, cards, read};
use crate::report::{Finding, Results, of_bad, of_good};
use crate::site::{Plan, Site};

const CONNECTIONS: u32 = 64;

/// Who works meanwhile.
const CLIENTS: u64 = 500;
const CLIENTS_PER_SECOND: u32 = 500;
const CLIENT_CONNECTIONS: u32 = 8;
const PROGRAMS: usize = 5;

/// Requests with which every worker learns every good token, so many times as there are clients.
const WARM_UP: usize = 30;

/// Of good requests, so many must be answered from the cache.
const HITS: f64 = 0.999;

/// What a flood may add to Envoy, and what the second half of it may: buffers, and what its allocator keeps.
const MOST_MIB: f64 = 32.0;
const MOST_MIB_LATER: f64 = 8.0;
const SAMPLE_EVERY: Duration = Duration::from_millis(250);

/// What a worker asks the issuer about keys that were never good (`filter/src/exchange.rs`): so many at once and then so many
/// in a second, and what waits already when that is used up.
const BAD_KEYS: f64 = 100.0;
const BAD_KEYS_PER_SECOND: f64 = 20.0;
const ASKED_AND_QUEUED: f64 = 32.0 + 256.0;
/// Good keys are asked about again, too.
const GOOD_KEYS: f64 = 4.0 * PROGRAMS as f64;

const EXCHANGES: &str = "countersign_api_key_exchanges";

pub(crate) async fn run(bench: &Bench) -> Result<Results> {
    let site = Site::start(bench, Plan { name: "floods", ..Plan::PLAIN }).await?;
    let person = Person::register(site.issuers[0].port).await?;
    let login = person.log_in().await?;
    let minted = Mint::of(&site.state, &login.access_token)?;
    let tokens = minted.tokens(CLIENTS)?;
    let mut programs = Vec::new();
    for _ in 0..PROGRAMS {
        programs.push(Card::with_key(Kind::Good, &person.api_key(&login).await?));
    }
    let good = cards(Kind::Good, &tokens);
    let mut results = Results::default();

    let count = bench.so_many(1_000_000, 20_000);
    bench.say(&format!("floods: {count} bad tokens"));
    let forger = Arc::new(BadTokens::new(&tokens, &login.access_token, count)?);
    let of_tokens = flood(&site, &forger, &good).await?;
    results.add(of_tokens.findings("tokens"));
    results.detail("tokens", of_tokens.details());

    let count = bench.so_many(100_000, 5_000);
    bench.say(&format!("floods: {count} bad API keys"));
    let exchanges_before = site.issuer_counts(EXCHANGES).await?;
    let all: Vec<_> = good.into_iter().chain(programs).collect();
    let keys = Arc::new(BadKeys { at: AtomicU64::new(0), count });
    let of_keys = flood(&site, &keys, &all).await?;
    let exchanges = site.issuer_counts(EXCHANGES).await? - exchanges_before;
    let seconds = of_keys.bad.time.as_secs_f64() + 2.0;
    let a_worker = BAD_KEYS + BAD_KEYS_PER_SECOND * seconds + ASKED_AND_QUEUED + GOOD_KEYS;
    results.add(of_keys.findings("keys"));
    results.add([
        Finding::new("keys: told to come again", of_keys.bad.told_to_wait as f64, ""),
        Finding::new("keys: what the issuer was asked", exchanges, "").at_most(2.0 * a_worker),
        site.traps().await?,
    ]);
    results.detail("keys", of_keys.details());
    site.stop().await?;
    Ok(results)
}

/// A flood, and how those fared who work.
#[derive(Debug)]
struct Flooded {
    bad: Tally,
    good: Tally,
    hits: u64,
    before_mib: f64,
    /// During the flood.
    resident_mib: Vec<f64>,
    after_mib: f64,
}

async fn flood<T: Traffic>(site: &Site, bad: &Arc<T>, good: &[Arc<Card>]) -> Result<Flooded> {
    let edge = &site.edges[0];
    let warm_up = Arc::new(Work::new(good, Some(WARM_UP * good.len())));
    let warmed = load::send(edge.port(), 2 * CLIENT_CONNECTIONS, Pace::AsFastAsItGoes, &warm_up).await;
    ensure!(warmed.refused + warmed.unanswered == 0, "good requests are refused: {:?}", warmed.notes);

    let before = edge.counters().await?;
    let before_mib = resident_mib(edge)?;
    let work = Arc::new(Work::new(good, None));
    let far = Instant::now() + Duration::from_secs(3600);
    let (bad, good, resident_mib_meanwhile) = tokio::join!(
        async {
            let tally = load::send(edge.port(), CONNECTIONS, Pace::AsFastAsItGoes, bad).await;
            work.over.store(true, Ordering::Relaxed);
            tally
        },
        load::send(edge.port(), CLIENT_CONNECTIONS, Pace::PerSecond(CLIENTS_PER_SECOND, far), &work),
        async {
            let mut samples = Vec::new();
            while !work.over.load(Ordering::Relaxed) {
                samples.push(resident_mib(edge));
                sleep(SAMPLE_EVERY).await;
            }
            samples
        },
    );
    let after = edge.counters().await?;
    let hits = delta(&before, &after, "wasmcustom.countersign_tokens.source.cache");
    let resident = resident_mib_meanwhile.into_iter().collect::<Result<_>>()?;
    Ok(Flooded { bad, good, hits, before_mib, resident_mib: resident, after_mib: resident_mib(edge)? })
}

impl Flooded {
    fn findings(&self, what: &str) -> Vec<Finding> {
        let Self { bad, good, hits, before_mib, resident_mib, after_mib } = self;
        let most = resident_mib.iter().copied().fold(*after_mib, f64::max);
        let middle = resident_mib.get(resident_mib.len() / 2).copied().unwrap_or(*before_mib);
        let hit_rate = *hits as f64 / good.sent.max(1) as f64;
        let named = |finding: Finding| finding.named(what);
        let mut findings = vec![
            Finding::new("bad ones sent", bad.sent as f64, ""),
            Finding::new("bad ones a second", bad.per_second(), ""),
        ];
        findings.extend(of_bad(bad));
        findings.push(Finding::never("bad ones without an answer", bad.unanswered, &bad.notes));
        findings.push(Finding::new("good requests meanwhile", good.sent as f64, ""));
        findings.extend(of_good(good));
        if let Some(latency) = good.latency() {
            findings.push(Finding::new("good requests, p99", latency.p99, "ms"));
        }
        findings.extend([
            Finding::new("good requests answered from the cache", hit_rate, "").at_least(HITS),
            Finding::new("memory before", *before_mib, "MiB"),
            Finding::new("memory added at most", most - before_mib, "MiB").at_most(MOST_MIB),
            Finding::new("memory added in the second half", after_mib - middle, "MiB")
                .at_most(MOST_MIB_LATER),
            Finding::new("memory after", *after_mib, "MiB"),
        ]);
        findings.into_iter().map(named).collect()
    }

    fn details(&self) -> serde_json::Value {
        json!({"resident_mib": self.resident_mib, "bad": self.bad.notes, "good": self.good.notes})
    }
}

fn resident_mib(edge: &Edge) -> Result<f64> {
    Ok(edge.resident_bytes()? as f64 / f64::from(1 << 20))
}

/// Good requests in turn, so many or until it is over.
#[derive(Debug)]
struct Work {
    cards: Vec<Arc<Card>>,
    at: AtomicUsize,
    count: Option<usize>,
    over: AtomicBool,
}

impl Work {
    fn new(cards: &[Arc<Card>], count: Option<usize>) -> Self {
        Self { cards: cards.to_vec(), at: AtomicUsize::new(0), count, over: AtomicBool::new(false) }
    }
}

impl Traffic for Work {
    fn next(&self) -> Option<Arc<Card>> {
        let at = self.at.fetch_add(1, Ordering::Relaxed);
        let over = self.over.load(Ordering::Relaxed) || self.count.is_some_and(|count| at >= count);
        self.cards.get(at % self.cards.len()).filter(|_| !over).cloned()
    }
}

/// Tokens that the issuer did not sign, each another one.
#[derive(Debug)]
struct BadTokens {
    at: AtomicU64,
    count: u64,
    /// Header and claims of good ones.
    messages: Vec<String>,
    header: String,
    /// JSON, with `NUMBER` where the number goes.
    claims: String,
}

impl BadTokens {
    fn new(good: &[String], real: &str, count: u64) -> Result<Self> {
        let message = |token: &String| token.rsplit_once('.').map(|(message, _)| message.to_owned());
        let (_, mut claims) = read(real)?;
        claims.jti = Some("NUMBER".into());
        Ok(Self {
            at: AtomicU64::new(0),
            count,
            messages: good.iter().filter_map(message).collect(),
            header: real.split('.').next().context("a token without a header")?.to_owned(),
            claims: serde_json::to_string(&claims)?,
        })
    }

    /// Of 20: twelve with a good token's claims, five with claims of their own, one that names another key, one that is cut
    /// off, one that is very long.
    fn token(&self, number: u64) -> String {
        let encode = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
        let signature = signature(number);
        let claims = || self.claims.replace("NUMBER", &number.to_string());
        match number % 20 {
            0..12 => {
                let message = &self.messages[number as usize % self.messages.len()];
                format!("{message}.{signature}")
            }
            12..17 => format!("{}.{}.{signature}", self.header, encode(&claims())),
            17 => {
                let header = format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"flood-{number}"}}"#);
                format!("{}.{}.{signature}", encode(&header), encode(&claims()))
            }
            18 => format!("{}.{}", self.header, encode(&claims())),
            _ => {
                let long = claims().replacen('{', &format!(r#"{{"padding":"{}","#, "x".repeat(4096)), 1);
                format!("{}.{}.{signature}", self.header, encode(&long))
            }
        }
    }
}

impl Traffic for BadTokens {
    fn next(&self) -> Option<Arc<Card>> {
        let number = self.at.fetch_add(1, Ordering::Relaxed);
        (number < self.count).then(|| Card::with_token(Kind::Forged, &self.token(number)))
    }
}

/// Well-formed, and of nobody: its second half is less than the order of the group (RFC 8032 §5.1.7).
fn signature(number: u64) -> String {
    let mut bytes = [0; 64];
    for (at, word) in (0..).zip(bytes.chunks_exact_mut(8)) {
        word.copy_from_slice(&scatter(number * 8 + at).to_le_bytes());
    }
    bytes[63] &= 0x0f;
    Base64UrlUnpadded::encode_string(&bytes)
}

/// Numbers that look random, another one for each (SplitMix64).
fn scatter(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// API keys that are none, each another one.
#[derive(Debug)]
struct BadKeys {
    at: AtomicU64,
    count: u64,
}

/// Of three: one as the issuer makes them, one with a wrong checksum, one as another system's.
fn bad_key(number: u64) -> String {
    let random: String = (0..4).map(|word| format!("{:016x}", scatter(number * 4 + word))).collect();
    let ours = format!("cs_key_{random}");
    let checksum = crc32fast::hash(ours.as_bytes());
    match number % 3 {
        0 => format!("{ours}{checksum:08x}"),
        1 => format!("{ours}{:08x}", !checksum),
        _ => format!("sk_live_{random}"),
    }
}

impl Traffic for BadKeys {
    fn next(&self) -> Option<Arc<Card>> {
        let number = self.at.fetch_add(1, Ordering::Relaxed);
        (number < self.count).then(|| Card::with_key(Kind::BadKey, &bad_key(number)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_bad_ones_are_alike() {
        let real = format!("{}.{}.x", "e30", Base64UrlUnpadded::encode_string(b"{}"));
        let tokens = BadTokens {
            at: AtomicU64::new(0),
            count: 0,
            messages: vec!["a.b".into()],
            header: real.split('.').next().unwrap().into(),
            claims: r#"{"jti":"NUMBER"}"#.into(),
        };
        let all: BTreeSet<_> = (0..2000).map(|number| tokens.token(number)).collect();
        assert_eq!(all.len(), 2000);
        let all: BTreeSet<_> = (0..2000).map(bad_key).collect();
        assert_eq!(all.len(), 2000);
        assert_eq!(bad_key(0).len(), "cs_key_".len() + 72);
    }

    #[test]
    fn a_made_up_signature_has_the_form_of_one() {
        for number in 0..100 {
            let bytes = Base64UrlUnpadded::decode_vec(&signature(number)).unwrap();
            assert_eq!((bytes.len(), bytes[63] >> 4), (64, 0));
        }
    }
}
