//! What changes under an edge that works: keys, the issuer, configuration, module. All the while good requests must be let
//! through and bad ones refused, and WebSockets go on that are to live.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use countersign_stack::stack::Times;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep, sleep_until};

use crate::Bench;
use crate::load::{self, Card, Kind, Pace, Tally, Traffic, Withdrawn};
use crate::people::{self, Login, Mint, Person, cards};
use crate::report::{Finding, Part, Results, of_bad, of_good};
use crate::site::{Plan, Site, replace};
use crate::streams::{End, Followed, Stream};
use crate::upstream::quotes;

const PER_SECOND: u32 = 2_000;
const CONNECTIONS: u32 = 40;
const CLIENTS: u64 = 500;
const ENDED: u64 = 20;
const STREAMS: u64 = 200;
const QUOTES_EVERY: u64 = 250;

/// One of so many requests is bad: forged and revoked in turn.
const ONE_BAD_OF: usize = 5;

/// How often the person refreshes, whose tokens are of the newest key.
const REFRESH_EVERY: Duration = Duration::from_millis(250);

/// A stream that has said nothing for so long is no longer alive.
const SILENCE: Duration = Duration::from_secs(2);

/// So much later than a refresh the last worker may have the keys: a tenth of it at most, and a tick.
const MARGIN: Duration = Duration::from_secs(1);

/// The edge asks for keys as often as they may be cached. Shorter than anybody would have them, so that a rotation as it
/// should be fits into the time.
const TIMES: Times =
    Times { jwks_max_age: Duration::from_secs(2), jwks_refresh: Duration::from_secs(2), ..Times::DEFAULT };

pub(crate) async fn run(bench: &Bench, part: Part) -> Result<Results> {
    let seconds = Duration::from_secs(bench.so_many(30, 8));
    let mut site = Site::start(bench, Plan { name: part.name(), times: TIMES, ..Plan::PLAIN }).await?;
    let (port, person) = (site.port(), Person::register(site.issuers[0].port).await?);
    let deck = deal(&site, person, part).await?;
    let doomed = person.log_in().await?;

    bench.say(&format!("{}: {PER_SECOND} requests/s for {} s", part.name(), seconds.as_secs()));
    let begin = Instant::now();
    let end = begin + seconds;
    let mut streams = JoinSet::new();
    for number in 0..STREAMS {
        let token = deck.minted.token(CLIENTS + number)?;
        streams.spawn(Stream::open(port, &quotes(QUOTES_EVERY), &token).await?.follow(end + MARGIN));
    }
    let last = Stream::open(port, &quotes(20), &doomed.access_token).await?;
    let last = tokio::spawn(last.follow(end + 2 * SILENCE + MARGIN));
    let deck = Arc::new(deck);
    let clock = Clock { begin: Instant::now(), seconds };
    let (tally, done) = tokio::join!(
        load::send(port, CONNECTIONS, Pace::PerSecond(PER_SECOND, clock.at(1.0)), &deck),
        play(bench, part, &mut site, person, &deck, clock),
    );
    let done = done.context("the change")?;
    let streams = streams.join_all().await;

    let mut results = Results::default();
    results.add(of_good(&tally));
    results.add(of_bad(&tally));
    results.add(of_streams(&streams));
    results.add([of_doomed(person, &doomed, last).await?, site.traps().await?]);
    results.add(done);
    if let (Some(until), Some(Withdrawn { may_be, .. })) = (tally.withdrawn_until, deck.withdrawn()) {
        let took = until.saturating_duration_since(may_be).as_secs_f64();
        results.add([Finding::new("from the revocation to the last token that passed", took, "s")]);
    }
    results.add(of_pace(&tally, seconds));
    results.detail("notes", json!(tally.notes));
    site.stop().await?;
    Ok(results)
}

/// Parts of the time that a load takes.
#[derive(Debug, Clone, Copy)]
struct Clock {
    begin: Instant,
    seconds: Duration,
}

impl Clock {
    fn at(self, part: f64) -> Instant {
        self.begin + self.seconds.mul_f64(part)
    }
}

/// The requests that are sent, in turn.
#[derive(Debug)]
struct Deck {
    good: Mutex<Vec<Arc<Card>>>,
    bad: Vec<Arc<Card>>,
    at: AtomicUsize,
    withdrawn: Mutex<Option<Withdrawn>>,
    /// Of the key that signs when all begins.
    minted: Mint,
    /// What tokens of that key are.
    kind: Kind,
}

impl Deck {
    fn add(&self, cards: impl IntoIterator<Item = Arc<Card>>) {
        self.good.lock().unwrap_or_else(PoisonError::into_inner).extend(cards);
    }
}

impl Traffic for Deck {
    fn next(&self) -> Option<Arc<Card>> {
        let at = self.at.fetch_add(1, Ordering::Relaxed);
        let bad = at / ONE_BAD_OF;
        if at.is_multiple_of(ONE_BAD_OF) {
            return self.bad.get(bad % self.bad.len()).cloned();
        }
        let good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        good.get((at - bad) % good.len()).cloned()
    }

    fn withdrawn(&self) -> Option<Withdrawn> {
        *self.withdrawn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tokens of many, of sessions that have ended, and of no issuer; the edge knows already what has ended.
async fn deal(site: &Site, person: Person, part: Part) -> Result<Deck> {
    let minted = Mint::of(&site.state, &person.log_in().await?.access_token)?;
    let good = minted.tokens(CLIENTS)?;
    let revoked = cards(Kind::Revoked, &person.ended(ENDED).await?);
    let forged = good.iter().map(|token| Card::with_token(Kind::Forged, &forge(token)));
    let bad: Vec<_> =
        forged.zip(revoked.into_iter().cycle()).flat_map(|(forged, revoked)| [forged, revoked]).collect();
    site.wait_for(0, "the filter knows what has ended", |counters| {
        counters.get("wasmcustom.countersign_revocations").is_some_and(|known| *known >= ENDED)
    })
    .await?;
    // The other worker hears of it within a tick.
    sleep(MARGIN).await;
    // In an emergency, these are tokens of the key that is revoked.
    let kind = if part == Part::Emergency { Kind::Withdrawn } else { Kind::Good };
    let good = Mutex::new(cards(kind, &good));
    Ok(Deck { good, bad, at: AtomicUsize::new(0), withdrawn: Mutex::new(None), minted, kind })
}

/// The token with a signature that does not fit it.
fn forge(token: &str) -> String {
    let (message, signature) = token.rsplit_once('.').unwrap_or_default();
    let other = if signature.starts_with('A') { "B" } else { "A" };
    format!("{message}.{other}{}", signature.get(1..).unwrap_or_default())
}

/// What happens while the load runs, and what was seen of it.
async fn play(
    bench: &Bench,
    part: Part,
    site: &mut Site,
    person: Person,
    deck: &Deck,
    clock: Clock,
) -> Result<Vec<Finding>> {
    match part {
        Part::Rotation => rotation(site, person, deck, clock).await,
        Part::Emergency => emergency(site, person, deck, clock).await,
        Part::IssuerRestart => issuer_restart(site, clock).await,
        Part::ConfigSwap => {
            let plugin = std::fs::read_to_string(site.state.plugin())?;
            let other = replace(&plugin, r#""max_bytes": 8388608"#, r#""max_bytes": 4194304"#)?;
            swap(site, &[&other, &plugin], 10, clock).await
        }
        Part::ModuleSwap => {
            let plugin = std::fs::read_to_string(site.state.plugin())?;
            let sdk = site.state.bootstrap().with_file_name("filter-sdk.wasm");
            std::fs::copy(&bench.sdk, &sdk)?;
            let ours = site.state.bootstrap().with_file_name("filter.wasm");
            let path = |file: &std::path::Path| file.to_str().map(str::to_owned).context("no UTF-8");
            let other = replace(&plugin, &path(&ours)?, &path(&sdk)?)?;
            swap(site, &[&other, &plugin], 4, clock).await
        }
        Part::Logout | Part::Websockets | Part::Revocations | Part::Floods => {
            anyhow::bail!("nothing is swapped in {}", part.name())
        }
    }
}

/// Two keys come one after the other, each as it should: published for as long as keys may be cached, twice over, before
/// it signs.
async fn rotation(site: &Site, person: Person, deck: &Deck, clock: Clock) -> Result<Vec<Finding>> {
    let rotate = async {
        for part in [0.05, 0.4] {
            sleep_until(clock.at(part)).await;
            site.operate(&["keys", "rotate"]).await?;
        }
        anyhow::Ok(())
    };
    let (rotated, kids) = tokio::join!(rotate, refresh(site, person, deck, clock.at(0.98)));
    rotated?;
    Ok(vec![Finding::new("keys whose tokens were sent", kids?.len() as f64, "").at_least(3.0)])
}

/// A new key signs at once, and then the old one is revoked.
async fn emergency(site: &Site, person: Person, deck: &Deck, clock: Clock) -> Result<Vec<Finding>> {
    let old = deck.minted.kid.clone();
    let revoke = async {
        sleep_until(clock.at(0.1)).await;
        site.operate(&["keys", "rotate", "--sign-in", "0s", "--force"]).await?;
        sleep_until(clock.at(0.5)).await;
        let may_be = Instant::now();
        let withdraw = |must_be| {
            *deck.withdrawn.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(Withdrawn { may_be, must_be });
        };
        withdraw(clock.at(1.0));
        site.operate(&["keys", "revoke", &old]).await?;
        withdraw(Instant::now() + TIMES.jwks_refresh + MARGIN);
        anyhow::Ok(())
    };
    let (revoked, kids) = tokio::join!(revoke, refresh(site, person, deck, clock.at(0.98)));
    revoked?;
    Ok(vec![Finding::new("keys whose tokens were sent", kids?.len() as f64, "").at_least(2.0)])
}

/// Has the person refresh until then, and sends the tokens; the keys that have signed them.
async fn refresh(site: &Site, person: Person, deck: &Deck, until: Instant) -> Result<Vec<String>> {
    let mut login = person.log_in().await?;
    let mut kids = vec![deck.minted.kid.clone()];
    while Instant::now() < until {
        sleep(REFRESH_EVERY).await;
        login = person.refresh(&login).await?;
        let (kid, _) = people::read(&login.access_token)?;
        let kind = if kid == deck.minted.kid { deck.kind } else { Kind::Good };
        deck.add([Card::with_token(kind, &login.access_token)]);
        if !kids.contains(&kid) {
            // Of a new key many come at once.
            let minted = Mint::of(&site.state, &login.access_token)?;
            deck.add(cards(kind, &minted.tokens(CLIENTS / 5)?));
            kids.push(kid);
        }
    }
    Ok(kids)
}

/// It stops, is away, and comes back; and then it is killed and comes back at once.
async fn issuer_restart(site: &mut Site, clock: Clock) -> Result<Vec<Finding>> {
    let issuer = &mut site.issuers[0];
    sleep_until(clock.at(0.1)).await;
    issuer.stop().await?;
    sleep_until(clock.at(0.35)).await;
    issuer.come().await?;
    sleep_until(clock.at(0.65)).await;
    issuer.kill().await;
    issuer.come().await?;
    Ok(Vec::new())
}

/// Moves one after the other over the file that Envoy watches, so many times in all.
async fn swap(site: &Site, plugins: &[&str], times: u32, clock: Clock) -> Result<Vec<Finding>> {
    let reloads = async || {
        let counters = site.edges[0].counters_now("extension_config_discovery").await?;
        let of = |end: &str| -> u64 {
            counters.iter().filter(|(name, _)| name.ends_with(end)).map(|(_, value)| *value).sum()
        };
        anyhow::Ok((of("config_reload"), of("config_fail")))
    };
    let (before, _) = reloads().await?;
    for (number, plugin) in (0..times).zip(plugins.iter().cycle()) {
        sleep_until(clock.at(f64::from(number + 1) / f64::from(times + 1))).await;
        site.state.install_plugin(plugin)?;
    }
    sleep_until(clock.at(0.99)).await;
    let (after, failed) = reloads().await?;
    let taken = (after - before) as f64;
    let refused = usize::try_from(failed)?;
    Ok(vec![
        Finding::new("swaps that Envoy took", taken, "").at_least(f64::from(times)),
        Finding::never("swaps that Envoy refused", refused, &[]),
    ])
}

/// Streams that are to live.
fn of_streams(streams: &[Followed]) -> Vec<Finding> {
    let ended: Vec<_> = streams.iter().filter_map(|stream| stream.ended).collect();
    let notes: Vec<_> = ended.iter().map(|(_, end)| format!("{end:?}")).collect();
    let silent =
        streams.iter().filter(|stream| stream.ended.is_none() && stream.left - stream.heard > SILENCE);
    vec![
        Finding::new("WebSockets", streams.len() as f64, ""),
        Finding::never("WebSockets that ended", ended.len(), &notes),
        Finding::never("WebSockets that fell silent", silent.count(), &[]),
    ]
}

/// A stream that was opened before everything, and is to end after it.
async fn of_doomed(
    person: Person,
    login: &Login,
    stream: tokio::task::JoinHandle<Followed>,
) -> Result<Finding> {
    ensure!(!stream.is_finished(), "the WebSocket whose session is to end has ended before");
    person.log_out(login).await?;
    let answered = Instant::now();
    let (at, end) = stream.await?.ended.context("a WebSocket goes on whose session has ended")?;
    ensure!(end == End::Told(1008), "the WebSocket whose session has ended got {end:?}");
    let took = (at - answered).as_secs_f64() * 1e3;
    Ok(Finding::new("afterwards: from a logout to its close frame", took, "ms").at_most(1000.0))
}

fn of_pace(tally: &Tally, seconds: Duration) -> Vec<Finding> {
    let wanted = f64::from(PER_SECOND) * seconds.as_secs_f64();
    let mut findings = vec![
        Finding::new("requests sent", tally.sent as f64, "").at_least(0.98 * wanted),
        Finding::new("requests/s", tally.per_second(), "").at_least(0.95 * f64::from(PER_SECOND)),
    ];
    if let Some(latency) = tally.latency() {
        findings.push(Finding::new("good requests, p99", latency.p99, "ms"));
        findings.push(Finding::new("good requests, max", latency.max, "ms"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forged_token_differs_in_its_signature_alone() {
        assert_eq!(forge("a.b.Cxyz"), "a.b.Axyz");
        assert_eq!(forge("a.b.Axyz"), "a.b.Bxyz");
    }
}
