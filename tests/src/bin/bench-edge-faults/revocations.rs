//! A hundred thousand sessions that have ended and whose tokens have not: read from a real issuer, in whose database they
//! stand. What they take of Envoy's memory, and what they cost a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use countersign_tests::bench::edge::Processor;
use countersign_tests::bench::stats::Ratio;
use serde_json::json;
use tokio::time::{Duration, Instant, sleep};

use crate::Bench;
use crate::load::{self, Card, Kind, Pace, Traffic};
use crate::people::{Mint, Person, cards};
use crate::report::{Finding, Results};
use crate::site::{Plan, Site, replace};

const CLIENTS: u64 = 2_000;
const CONNECTIONS: u32 = 64;

/// Until memory is as it stays.
const REST: Duration = Duration::from_secs(2);

/// Runs on one machine differ by so much: see the ratios of `cargo bench-edge`.
const NO_COST: f64 = 1.05;

pub(crate) async fn run(bench: &Bench) -> Result<Results> {
    let count = bench.so_many(100_000, 10_000);
    let rounds = bench.so_many(8, 2);
    let time = Duration::from_secs(bench.so_many(2, 1));
    let plan =
        Plan { workers: 1, processor: Processor::Only(1), bootstrap: answered_by_envoy, ..Plan::PLAIN };
    let none = Crowd::gather(bench, Plan { name: "revocations-none", ..plan }).await?;
    let many = Plan { name: "revocations", revocations: count, ..plan };
    let many = Crowd::gather(bench, many).await?;

    bench.say(&format!("revocations: {rounds} rounds with {count} and with none"));
    let mut costs = Vec::new();
    for round in 0..=rounds {
        // In turn: what the machine does besides hits both.
        let (with, without) = if round % 2 == 0 {
            let with = many.cost(time).await?;
            (with, none.cost(time).await?)
        } else {
            let without = none.cost(time).await?;
            (many.cost(time).await?, without)
        };
        // In the first round all is new to both.
        if round > 0 {
            costs.push((with, without));
        }
    }
    sleep(REST).await;
    let resident = |crowd: &Crowd| crowd.site.edges[0].resident_bytes().map(|bytes| bytes as f64 / 1e6);
    let (with, without) = (resident(&many)?, resident(&none)?);
    let ratio = Ratio::of(&costs).context("no rounds")?;
    let known = many.site.edges[0].counters().await?;
    let known = known.get("wasmcustom.countersign_revocations").copied().unwrap_or_default();
    let mut results = Results::default();
    results.add([
        Finding::new("revocations in force", known as f64, "").at_least(count as f64),
        Finding::new("memory over none", with - without, "MB").at_most(16.0),
        Finding::new("memory of Envoy with none", without, "MB"),
        Finding::new("cost of a request, by the cost with none", ratio.value, "").at_most(NO_COST),
        Finding::new("cost of a request, without any one round: least", ratio.low, ""),
        Finding::new("cost of a request, without any one round: most", ratio.high, ""),
        many.site.traps().await?,
        none.site.traps().await?,
    ]);
    results.detail("cpu_us with and without", json!(costs));
    results.detail("ratio", json!(ratio));
    many.site.stop().await?;
    none.site.stop().await?;
    Ok(results)
}

/// Clients whose tokens are remembered.
#[derive(Debug)]
struct Crowd {
    site: Site,
    cards: Arc<[Arc<Card>]>,
}

impl Crowd {
    async fn gather(bench: &Bench, plan: Plan<'_>) -> Result<Self> {
        let site = Site::start(bench, plan).await?;
        let login = Person::register(site.issuers[0].port).await?.log_in().await?;
        let minted = Mint::of(&site.state, &login.access_token)?;
        let cards = cards(Kind::Good, &minted.tokens(CLIENTS)?).into();
        Ok(Self { site, cards })
    }

    /// Processor time of Envoy for a request, in µs.
    async fn cost(&self, time: Duration) -> Result<f64> {
        let turns =
            Turns { cards: Arc::clone(&self.cards), at: AtomicUsize::new(0), end: Instant::now() + time };
        let edge = &self.site.edges[0];
        let before = edge.cpu_time()?;
        let tally = load::send(edge.port(), CONNECTIONS, Pace::AsFastAsItGoes, &Arc::new(turns)).await;
        let spent = edge.cpu_time()?.saturating_sub(before);
        ensure!(tally.refused + tally.unanswered == 0, "good requests were refused: {:?}", tally.notes);
        Ok(spent.as_secs_f64() * 1e6 / tally.sent as f64)
    }
}

/// One after the other, until the time is over.
#[derive(Debug)]
struct Turns {
    cards: Arc<[Arc<Card>]>,
    at: AtomicUsize,
    end: Instant,
}

impl Traffic for Turns {
    fn next(&self) -> Option<Arc<Card>> {
        let at = self.at.fetch_add(1, Ordering::Relaxed);
        self.cards.get(at % self.cards.len()).filter(|_| Instant::now() < self.end).cloned()
    }
}

/// The backend's routes answered at once: all else that a request costs is as small as it can be.
fn answered_by_envoy(bootstrap: &str) -> Result<String> {
    let route = |to: &str| format!("- match: {{ prefix: /api/ }}\n                          {to}\n");
    let direct = route(r#"direct_response: { status: 200, body: { inline_string: "{}" } }"#);
    replace(bootstrap, &route("route: { cluster: backend }"), &direct)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_bootstrap_has_the_route_that_is_answered() {
        let direct = answered_by_envoy(include_str!("../../../../envoy/envoy.yaml")).unwrap();
        assert_eq!(direct.matches("direct_response").count(), 1);
    }
}
