//! Thousands of open WebSockets on one worker: what each takes of Envoy's memory, and how long a tick of the filter keeps
//! the worker from everything else.

use anyhow::{Context, Result};
use countersign_tests::bench::edge::Processor;
use countersign_tests::bench::stats::{Percentiles, slope};
use countersign_tests::bench::wire::{self, Connection};
use serde::Serialize;
use serde_json::json;
use tokio::time::{Duration, Instant, sleep};

use crate::Bench;
use crate::people::{Mint, Person};
use crate::report::{Finding, Results};
use crate::site::{Plan, Site};
use crate::streams::{End, Stream};
use crate::upstream::quotes;

/// As the filter has it (`filter/src/plugin/worker.rs`).
const TICK: Duration = Duration::from_millis(100);

/// How often a request is sent to see whether the worker is busy.
const PROBE_EVERY: Duration = Duration::from_millis(2);

/// How often memory is looked at while they become more.
const SAMPLES: u64 = 10;

/// Until Envoy's memory is as it stays.
const REST: Duration = Duration::from_secs(2);

/// Longer than a stream may live on whose session has ended.
const PATIENCE: Duration = Duration::from_secs(10);

/// One Envoy with all streams open, nothing being said.
#[derive(Debug, Clone, Copy, Serialize)]
struct Measured {
    bytes_each: f64,
    /// Processor time in a second, before and with the streams.
    idle_ms: f64,
    idle_with_streams_ms: f64,
    /// Of requests on the same worker.
    probe_ms: Percentiles,
}

pub(crate) async fn run(bench: &Bench) -> Result<Results> {
    let count = bench.so_many(5_000, 500);
    let mut results = Results::default();
    let plan = Plan { workers: 1, processor: Processor::Only(1), ..Plan::PLAIN };
    let bare = Plan { name: "websockets-bare", bootstrap: without_filter, ..plan };
    let without = measure(bench, bare, count, &mut results).await?;
    let with = measure(bench, Plan { name: "websockets", ..plan }, count, &mut results).await?;

    let ticks_per_second = 1.0 / TICK.as_secs_f64();
    let tick_ms = (with.idle_with_streams_ms - without.idle_with_streams_ms) / ticks_per_second;
    let kib = |bytes: f64| bytes / 1024.0;
    results.add([
        Finding::new("open WebSockets on one worker", count as f64, ""),
        Finding::new("memory for each", kib(with.bytes_each), "KiB"),
        Finding::new("memory for each without the filter", kib(without.bytes_each), "KiB"),
        Finding::new("the filter's share", kib(with.bytes_each - without.bytes_each), "KiB"),
        Finding::new("processor time of a tick", tick_ms, "ms").at_most(5.0),
        Finding::new("requests meanwhile, p99", with.probe_ms.p99, "ms"),
        Finding::new("requests meanwhile, max", with.probe_ms.max, "ms"),
        Finding::new("requests meanwhile without the filter, p99", without.probe_ms.p99, "ms"),
        Finding::new("requests meanwhile without the filter, max", without.probe_ms.max, "ms"),
    ]);
    results.detail("with the filter", json!(with));
    results.detail("without the filter", json!(without));
    Ok(results)
}

async fn measure(bench: &Bench, plan: Plan<'_>, count: u64, results: &mut Results) -> Result<Measured> {
    let site = Site::start(bench, plan).await?;
    let edge = &site.edges[0];
    let person = Person::register(site.issuers[0].port).await?;
    let login = person.log_in().await?;
    let minted = Mint::of(&site.state, &login.access_token)?;
    let time = Duration::from_secs(bench.so_many(10, 2));

    bench.say(&format!("{}: {count} WebSockets", plan.name));
    let idle_ms = idle(&site, time).await?;
    let (mut streams, mut memory) = (Vec::new(), Vec::new());
    for number in 0..count {
        streams.push(Stream::open(edge.port(), &quotes(0), &minted.token(number)?).await?);
        if (number + 1).is_multiple_of(count / SAMPLES) {
            sleep(REST / 4).await;
            memory.push((streams.len() as f64, edge.resident_bytes()? as f64));
        }
    }
    sleep(REST).await;
    // What comes with the first of them is not of each.
    let bytes_each = slope(&memory);
    let idle_with_streams_ms = idle(&site, time).await?;
    let probe_ms = probe(edge.port(), time).await?;
    if plan.name == "websockets" {
        let last = Stream::open(edge.port(), &quotes(20), &login.access_token).await?;
        let followed = tokio::spawn(last.follow(Instant::now() + PATIENCE));
        person.log_out(&login).await?;
        let answered = Instant::now();
        let (at, end) = followed.await?.ended.context("a WebSocket goes on whose session has ended")?;
        let took = at.saturating_duration_since(answered).as_secs_f64() * 1e3;
        let untold = usize::from(end != End::Told(1008));
        results.add([
            Finding::new("from a logout to the close frame of one of them", took, "ms").at_most(1000.0),
            Finding::never("closed without 1008", untold, &[format!("{end:?}")]),
            site.traps().await?,
        ]);
    }
    drop(streams);
    site.stop().await?;
    Ok(Measured { bytes_each, idle_ms, idle_with_streams_ms, probe_ms })
}

/// Processor time in a second, nobody asking for anything.
async fn idle(site: &Site, time: Duration) -> Result<f64> {
    let before = site.edges[0].cpu_time()?;
    sleep(time).await;
    let spent = site.edges[0].cpu_time()?.saturating_sub(before);
    Ok(spent.as_secs_f64() * 1e3 / time.as_secs_f64())
}

async fn probe(port: u16, time: Duration) -> Result<Percentiles> {
    let mut connection = Connection::open(port).await?;
    let request = wire::get("/api/health", None);
    let end = Instant::now() + time;
    let mut took = Vec::new();
    while Instant::now() < end {
        let sent = Instant::now();
        connection.exchange(&request).await?;
        took.push(sent.elapsed().as_secs_f64() * 1e3);
        sleep(PROBE_EVERY).await;
    }
    Percentiles::of(took).context("nothing was asked")
}

/// The bootstrap without the filter: from its name to the next.
fn without_filter(bootstrap: &str) -> Result<String> {
    const FILTER: &str = "                  - name: ";
    let (before, rest) =
        bootstrap.split_once(&format!("{FILTER}countersign\n")).context("no filter in the bootstrap")?;
    let (_, after) = rest.split_once(FILTER).context("no filter after ours")?;
    Ok(format!("{before}{FILTER}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_bootstrap_loses_the_filter_alone() {
        let shipped = include_str!("../../../../envoy/envoy.yaml");
        let bare = without_filter(shipped).unwrap();
        assert!(!bare.contains("config_discovery") && bare.contains("filters.http.buffer"));
        let filters = |text: &str| text.matches("                  - name: envoy.filters.http").count();
        assert_eq!(filters(&bare), filters(shipped));
    }
}
