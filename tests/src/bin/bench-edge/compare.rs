//! The comparison: every filter in turn, round after round, in an order that rotates, so that what the machine does
//! besides hits all of them alike.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use countersign_tests::bench::edge::{Edge, Processor};
use countersign_tests::bench::stats::{Ratio, Spread};
use serde::Serialize;
use serde_json::{Value, json};

use crate::clients::{Clients, Issuer};
use crate::load::Pace;
use crate::measure::{Bench, Cost, Scene};
use crate::setup::{self, Filter, Size, Tokens, Upstream};

/// Tokens for loads in which each is new: more than twice what our cache holds.
const NEW: usize = 60_000;

/// Requests per second, in all, for latency under equal load: every filter can carry that with time to spare.
const EQUAL_LOAD: u32 = 4_000;

/// Latency under equal load is measured so often, and the middle 99th percentile counts: a moment's disturbance of the
/// machine would otherwise make it.
const PARTS: usize = 3;

/// The circumstances of a comparison.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    /// Through a real upstream; otherwise Envoy answers by itself.
    pub(crate) proxied: bool,
    pub(crate) workers: u32,
    pub(crate) rounds: usize,
    pub(crate) seconds: u64,
    /// Measure latency under equal load, too.
    pub(crate) paced: bool,
}

/// One filter in one round.
#[derive(Debug, Clone, Copy, Serialize)]
struct Measured {
    saturated: Cost,
    paced: Option<Cost>,
    resident_mib: f64,
}

/// Every filter, once.
type Round = BTreeMap<Filter, Measured>;

/// All rounds of one setting.
#[derive(Debug)]
pub(crate) struct Comparison {
    pub(crate) setting: Setting,
    filters: Vec<Filter>,
    rounds: Vec<Round>,
}

/// One filter in one setting: a line of the table.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) setting: &'static str,
    pub(crate) filter: Filter,
    proxied: bool,
    workers: u32,
    pub(crate) cpu_us: Spread,
    /// Over no filter at all, in the same round.
    pub(crate) overhead_us: Spread,
    pub(crate) requests_per_second: Spread,
    pub(crate) p50_us: Spread,
    pub(crate) p99_us: Spread,
    pub(crate) busy: Spread,
    pub(crate) equal_load: Option<EqualLoad>,
    pub(crate) resident_mib: Spread,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct EqualLoad {
    pub(crate) requests_per_second: Spread,
    pub(crate) cpu_us: Spread,
    pub(crate) p50_us: Spread,
    pub(crate) p99_us: Spread,
}

/// The tokens of both kinds of load.
#[derive(Debug)]
pub(crate) struct Crowd {
    issuer: Issuer,
    known: Clients,
    new: Clients,
}

impl Crowd {
    pub(crate) fn gather(bench: &Bench, known: usize) -> Result<Self> {
        let issuer = Issuer::new(2);
        let known = issuer.clients(&bench.folder, "known", known)?;
        let new = issuer.clients(&bench.folder, "new", NEW)?;
        Ok(Self { issuer, known, new })
    }
}

impl Comparison {
    pub(crate) async fn run(
        bench: &Bench,
        crowd: &Crowd,
        setting: Setting,
        filters: &[Filter],
    ) -> Result<Self> {
        let upstream = if setting.proxied { Some(start_upstream(bench, setting).await?) } else { None };
        let answers = upstream.as_ref().map_or(Upstream::Direct, |upstream| Upstream::Port(upstream.port()));
        let mut comparison = Self { setting, filters: filters.to_vec(), rounds: Vec::new() };
        for round in 0..setting.rounds {
            let mut measured = BTreeMap::new();
            for at in 0..filters.len() {
                let filter = filters[(at + round) % filters.len()];
                let result = one(bench, crowd, setting, filter, answers).await;
                measured
                    .insert(filter, result.with_context(|| format!("{}: {}", setting.name, filter.name()))?);
            }
            eprintln!("{}: round {} of {}", setting.name, round + 1, setting.rounds);
            comparison.rounds.push(measured);
        }
        if let Some(upstream) = upstream {
            upstream.stop().await?;
        }
        Ok(comparison)
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        self.filters.iter().filter_map(|filter| self.row(*filter)).collect()
    }

    fn row(&self, filter: Filter) -> Option<Row> {
        let over = |value: fn(&Cost) -> f64| self.spread(|round| Some(value(&round.get(&filter)?.saturated)));
        let equal =
            |value: fn(&Cost) -> f64| self.spread(|round| round.get(&filter)?.paced.as_ref().map(value));
        let equal_load = equal(|cost| cost.cpu_us).and_then(|cpu_us| {
            Some(EqualLoad {
                cpu_us,
                requests_per_second: equal(|cost| cost.requests_per_second)?,
                p50_us: equal(|cost| cost.p50_us)?,
                p99_us: equal(|cost| cost.p99_us)?,
            })
        });
        Some(Row {
            setting: self.setting.name,
            filter,
            proxied: self.setting.proxied,
            workers: self.setting.workers,
            cpu_us: over(|cost| cost.cpu_us)?,
            overhead_us: self.spread(|round| overhead(round, filter))?,
            requests_per_second: over(|cost| cost.requests_per_second)?,
            p50_us: over(|cost| cost.p50_us)?,
            p99_us: over(|cost| cost.p99_us)?,
            busy: over(|cost| cost.busy)?,
            equal_load,
            resident_mib: self.spread(|round| Some(round.get(&filter)?.resident_mib))?,
        })
    }

    /// What one filter costs more than none, as a part of what another does.
    pub(crate) fn overhead_ratio(&self, of: Filter, to: Filter) -> Option<Ratio> {
        self.ratio(|round| Some((overhead(round, of)?, overhead(round, to)?)))
    }

    /// The same of 99th percentiles of latency under equal load.
    pub(crate) fn p99_ratio(&self, of: Filter, to: Filter) -> Option<Ratio> {
        let p99 = |round: &Round, filter| Some(round.get(&filter)?.paced?.p99_us);
        self.ratio(|round| Some((p99(round, of)?, p99(round, to)?)))
    }

    fn ratio(&self, pair: impl Fn(&Round) -> Option<(f64, f64)>) -> Option<Ratio> {
        Ratio::of(&self.rounds.iter().filter_map(pair).collect::<Vec<_>>())
    }

    /// What each round measured, for whoever wants to look closer.
    pub(crate) fn raw(&self) -> Value {
        json!({"setting": self.setting.name, "rounds": self.rounds.iter().map(by_name).collect::<Vec<_>>()})
    }

    fn spread(&self, value: impl Fn(&Round) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.rounds.iter().filter_map(value))
    }
}

fn by_name(round: &Round) -> BTreeMap<&'static str, Measured> {
    round.iter().map(|(filter, measured)| (filter.name(), *measured)).collect()
}

fn overhead(round: &Round, filter: Filter) -> Option<f64> {
    Some(round.get(&filter)?.saturated.cpu_us - round.get(&Filter::Bare)?.saturated.cpu_us)
}

async fn start_upstream(bench: &Bench, setting: Setting) -> Result<Edge> {
    // Not where the one worker is that is measured.
    let processor =
        if setting.workers == 1 && bench.processors > 1 { Processor::Only(0) } else { Processor::Any };
    let folder = bench.folder.join("upstream");
    Edge::start(&bench.envoy, &setup::upstream_config()?, &folder, setting.workers, processor, None).await
}

async fn one(
    bench: &Bench,
    crowd: &Crowd,
    setting: Setting,
    filter: Filter,
    upstream: Upstream,
) -> Result<Measured> {
    let clients = match filter.tokens() {
        Tokens::Known => &crowd.known,
        Tokens::New => &crowd.new,
    };
    let scene =
        Scene { filter, upstream, workers: setting.workers, size: Size::default(), issuer: &crowd.issuer };
    let mut running = bench.start(scene, clients).await?;
    // New tokens fill the cache, too: making room in it is part of what they cost.
    running.warm_up().await?;
    let saturated = running.measure(setting.seconds, Pace::AsFastAsItGoes).await?;
    let parts = if setting.paced { PARTS } else { 0 };
    let mut paced = Vec::with_capacity(parts);
    for _ in 0..parts {
        paced.push(running.measure(setting.seconds.div_ceil(2), Pace::PerSecond(EQUAL_LOAD)).await?);
    }
    paced.sort_by(|one, other| one.p99_us.total_cmp(&other.p99_us));
    let resident_mib = running.edge.resident_bytes()? as f64 / f64::from(1 << 20);
    running.edge.stop().await?;
    Ok(Measured { saturated, paced: paced.get(PARTS / 2).copied(), resident_mib })
}
