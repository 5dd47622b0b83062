//! How long a session lives on at the edge after its logout was answered: until the last worker of the last Envoy refuses
//! a token that it knew, and until the last open WebSocket has ended.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use countersign_stack::postgres::{Durability, Postgres};
use countersign_tests::bench::edge::Edge;
use countersign_tests::bench::stats::Percentiles;
use countersign_tests::bench::wire::{self, Connection};
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep};

use crate::Bench;
use crate::people::{Login, Person};
use crate::report::{Finding, Results};
use crate::site::{Plan, Site};
use crate::streams::{End, Stream};
use crate::upstream::quotes;

const EDGES: usize = 2;
const WORKERS: usize = 2;

/// Which ask again and again whether a token is still good.
const CONNECTIONS_FOR_EACH_WORKER: usize = 2;
const ASK_EVERY: Duration = Duration::from_millis(4);

/// On each Envoy. Envoy says of no connection to which worker it goes: with so many, one worker is left out of 32 times.
const STREAMS: usize = 6;
/// As often as quotes come in a busy market: a close frame waits for the next.
const QUOTES_EVERY: u64 = 20;
/// There is no place for a close frame.
const SILENT: u64 = 0;

const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn run(bench: &Bench) -> Result<Results> {
    let trials = bench.so_many(200, 20);
    let mut results = Results::default();
    let plan = Plan { edges: EDGES, workers: u32::try_from(WORKERS)?, ..Plan::PLAIN };
    of_site(bench, Plan { name: "logout-sqlite", ..plan }, "SQLite", trials, &mut results).await?;
    let postgres = Postgres::start(Durability::On).await?;
    let plan = Plan { name: "logout-postgres", database: Some(postgres.url()), issuers: 2, ..plan };
    of_site(bench, plan, "two issuers on PostgreSQL", trials, &mut results).await?;
    postgres.stop().await?;
    Ok(results)
}

/// Milliseconds from the answer of a logout.
#[derive(Debug, Clone, Copy, Serialize)]
struct Trial {
    refused_ms: f64,
    closed_ms: f64,
    /// Streams that ended without a close frame of 1008.
    untold: usize,
    silent_closed_ms: f64,
}

async fn of_site(
    bench: &Bench,
    plan: Plan<'_>,
    database: &str,
    trials: u64,
    results: &mut Results,
) -> Result<()> {
    let site = Site::start(bench, plan).await?;
    let person = Person::register(site.issuers[0].port).await?;
    // The last issuer: if there are two, the Envoys do not hear of it from there.
    let person = person.at(site.issuers.last().context("no issuer")?.port);
    let mut askers = Vec::new();
    for edge in &site.edges {
        askers.extend(on_each_worker(edge).await?);
    }
    bench.say(&format!("{}: {trials} logouts", plan.name));
    let mut seen = Vec::new();
    for number in 0..trials {
        seen.push(
            trial(&site, person, &mut askers, number).await.with_context(|| format!("trial {number}"))?,
        );
    }
    let untold = seen.iter().map(|trial| trial.untold).sum();
    let refused = Percentiles::of(seen.iter().map(|trial| trial.refused_ms)).context("no trials")?;
    let closed = Percentiles::of(seen.iter().map(|trial| trial.closed_ms)).context("no trials")?;
    let silent = Percentiles::of(seen.iter().map(|trial| trial.silent_closed_ms)).context("no trials")?;
    results.add(times(&format!("{database}: refused by every worker"), refused, 150.0));
    results.add(times(&format!("{database}: every WebSocket closed"), closed, 150.0));
    results.add(times(&format!("{database}: every silent WebSocket closed"), silent, 1000.0));
    results.add([
        Finding::never(format!("{database}: WebSockets closed without 1008"), untold, &[]),
        site.traps().await?,
    ]);
    results.detail(plan.name, json!(seen));
    site.stop().await
}

/// `half`: what half of them take at most.
fn times(what: &str, Percentiles { p50, p95, p99, max }: Percentiles, half: f64) -> [Finding; 4] {
    let finding = |which: &str, value| Finding::new(format!("{what}, {which}"), value, "ms");
    [
        finding("p50", p50).at_most(half),
        finding("p95", p95),
        finding("p99", p99).at_most(1000.0),
        finding("max", max),
    ]
}

async fn trial(site: &Site, person: Person, askers: &mut Vec<Connection>, number: u64) -> Result<Trial> {
    let login = person.log_in().await?;
    let request = wire::get("/api/positions", Some(&login.access_token));
    // Twice: then every worker remembers the token.
    for _ in 0..2 {
        for asker in askers.iter_mut() {
            let status = asker.exchange(&request).await?.status;
            ensure!(status == 200, "a good token gets {status}");
        }
    }
    let mut streams = Vec::new();
    for edge in &site.edges {
        for every in [QUOTES_EVERY, SILENT].repeat(STREAMS) {
            streams.push((every, Stream::open(edge.port(), &quotes(every), &login.access_token).await?));
        }
    }
    // At any time between two ticks of the workers.
    sleep(Duration::from_millis(number * 37 % 200)).await;
    let until = Instant::now() + PATIENCE;
    let (mut asking, mut followed) = (JoinSet::new(), JoinSet::new());
    for asker in askers.drain(..) {
        asking.spawn(refusal(asker, request.clone(), until));
    }
    for (every, stream) in streams {
        followed.spawn(async move { (every, stream.follow(until).await) });
    }
    let answered = log_out(person, &login).await?;
    let (mut refused, mut closed, mut silent_closed, mut untold) = (answered, answered, answered, 0);
    while let Some(asked) = asking.join_next().await {
        let (asker, at) = asked??;
        askers.push(asker);
        refused = refused.max(at);
    }
    while let Some(stream) = followed.join_next().await {
        let (every, followed) = stream?;
        let (at, end) = followed.ended.context("a WebSocket of a session that has ended goes on")?;
        if every == SILENT {
            silent_closed = silent_closed.max(at);
        } else {
            closed = closed.max(at);
            untold += usize::from(end != End::Told(1008));
        }
    }
    let since = |at: Instant| (at - answered).as_secs_f64() * 1e3;
    Ok(Trial {
        refused_ms: since(refused),
        closed_ms: since(closed),
        untold,
        silent_closed_ms: since(silent_closed),
    })
}

async fn log_out(person: Person, login: &Login) -> Result<Instant> {
    person.log_out(login).await?;
    Ok(Instant::now())
}

/// When a token is refused for the first time.
async fn refusal(mut asker: Connection, request: Vec<u8>, until: Instant) -> Result<(Connection, Instant)> {
    loop {
        let answer = asker.exchange(&request).await?;
        let now = Instant::now();
        match answer.status {
            401 => return Ok((asker, now)),
            200 => ensure!(now < until, "a session that has ended is let through"),
            status => anyhow::bail!("a token of a session that may have ended gets {status}"),
        }
        sleep(ASK_EVERY).await;
    }
}

/// Connections of which as many go to each worker.
async fn on_each_worker(edge: &Edge) -> Result<Vec<Connection>> {
    let mut found: BTreeMap<String, Vec<Connection>> = BTreeMap::new();
    for _ in 0..1000 {
        let before = edge.counters_now("downstream_cx_total").await?;
        let mut connection = Connection::open(edge.port()).await?;
        connection.exchange(&wire::get("/api/health", None)).await?;
        let after = edge.counters_now("downstream_cx_total").await?;
        // `listener.<address>.worker_<number>.downstream_cx_total`
        let grew = |(name, value): &(&String, &u64)| {
            name.contains(".worker_") && before.get(*name).copied().unwrap_or_default() < **value
        };
        let (worker, _) = after.iter().find(grew).context("no worker has the connection")?;
        let of_worker = found.entry(worker.clone()).or_default();
        if of_worker.len() < CONNECTIONS_FOR_EACH_WORKER {
            of_worker.push(connection);
        }
        if found.values().map(Vec::len).sum::<usize>() == WORKERS * CONNECTIONS_FOR_EACH_WORKER {
            return Ok(found.into_values().flatten().collect());
        }
    }
    anyhow::bail!("connections do not reach every worker")
}
