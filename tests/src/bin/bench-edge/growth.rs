//! How cost grows: a request by cached tokens, rules and keys; memory for each worker; time to start.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use countersign_stack::process;
use countersign_tests::bench::edge::{Edge, Processor};
use countersign_tests::bench::stats::Spread;
use serde::Serialize;
use tokio::time::timeout;

use crate::clients::Issuer;
use crate::load::Pace;
use crate::measure::{Bench, Scene};
use crate::setup::{self, Filter, Size, Upstream};

/// Room for every token of the longest curve.
const ROOMY_CACHE: usize = 64 << 20;

const TOKENS: [usize; 4] = [1_000, 5_000, 20_000, 50_000];
/// Beside the five rules and two keys that the curve of tokens has.
const RULES: [usize; 2] = [50, 500];
const KEYS: [u8; 3] = [1, 10, 50];

/// Live tokens in the cache of each worker when its memory is measured.
const TOKENS_IN_MEMORY: usize = 20_000;

/// Workers between which the time to start one is spread.
const MANY_WORKERS: u32 = 9;

/// A request with a known token, with so many of everything.
#[derive(Debug, Serialize)]
pub(crate) struct Point {
    pub(crate) curve: &'static str,
    pub(crate) filter: Filter,
    pub(crate) tokens: usize,
    pub(crate) rules: usize,
    pub(crate) keys: u8,
    pub(crate) cpu_us: Spread,
    pub(crate) overhead_us: Spread,
}

#[derive(Debug, Clone, Copy)]
struct Plan {
    curve: &'static str,
    filter: Filter,
    tokens: usize,
    rules: usize,
    keys: u8,
}

#[derive(Debug, Serialize)]
pub(crate) struct Memory {
    pub(crate) tokens: usize,
    /// What a second worker adds, less what it adds without a filter.
    pub(crate) for_each_worker_mib: f64,
    /// All that a process with one worker has more than without a filter: two more VMs, and V8 itself.
    pub(crate) whole_process_mib: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Start {
    /// Processor time for each further worker, less the same without a filter: a VM, its tables, its configuration.
    pub(crate) vm_ms: Spread,
    /// Until Envoy has checked a configuration and exits, less the same without a filter: compilation, too.
    pub(crate) validate_ms: Spread,
}

const BASE: Plan = Plan { curve: "tokens", filter: Filter::OursWarm, tokens: 1_000, rules: 5, keys: 2 };

/// The points of all curves, after the one without a filter that all are compared with.
fn plan() -> Vec<Plan> {
    let mut plan = vec![Plan { curve: "bare", filter: Filter::Bare, ..BASE }];
    for filter in [Filter::JwtAuthnCached, Filter::OursWarm] {
        plan.extend(TOKENS.map(|tokens| Plan { filter, tokens, ..BASE }));
    }
    plan.extend(RULES.map(|rules| Plan { curve: "rules", rules, ..BASE }));
    plan.extend(KEYS.map(|keys| Plan { curve: "keys", keys, ..BASE }));
    plan
}

pub(crate) async fn curves(bench: &Bench, rounds: usize, seconds: u64) -> Result<Vec<Point>> {
    let plan = plan();
    let mut rounds_measured = Vec::new();
    for round in 0..rounds {
        let mut measured = vec![0.0; plan.len()];
        for at in 0..plan.len() {
            let at = (at + round) % plan.len();
            let point = plan[at];
            measured[at] = warm_cost(bench, point, seconds).await.with_context(|| format!("{point:?}"))?;
        }
        eprintln!("growth: round {} of {rounds}", round + 1);
        rounds_measured.push(measured);
    }
    plan.into_iter()
        .enumerate()
        .skip(1)
        .map(|(at, Plan { curve, filter, tokens, rules, keys })| {
            let cpu_us = Spread::of(rounds_measured.iter().map(|round| round[at])).context("no rounds")?;
            let over = rounds_measured.iter().map(|round| round[at] - round[0]);
            let overhead_us = Spread::of(over).context("no rounds")?;
            Ok(Point { curve, filter, tokens, rules, keys, cpu_us, overhead_us })
        })
        .collect()
}

async fn warm_cost(bench: &Bench, plan: Plan, seconds: u64) -> Result<f64> {
    let Plan { filter, tokens, rules, keys, .. } = plan;
    let issuer = Issuer::new(keys);
    let clients = issuer.clients(&bench.folder, "growth", tokens)?;
    let size = Size { rules, cache_bytes: ROOMY_CACHE };
    let scene = Scene { filter, upstream: Upstream::Direct, workers: 1, size, issuer: &issuer };
    let mut running = bench.start(scene, &clients).await?;
    running.warm_up().await?;
    let cost = running.measure(seconds, Pace::AsFastAsItGoes).await?;
    running.edge.stop().await?;
    Ok(cost.cpu_us)
}

pub(crate) async fn memory(bench: &Bench) -> Result<Memory> {
    let issuer = Issuer::new(2);
    let clients = issuer.clients(&bench.folder, "memory", TOKENS_IN_MEMORY)?;
    let size = Size { cache_bytes: ROOMY_CACHE, ..Size::default() };
    let mut resident = [[0.0; 2]; 2];
    for (filter, resident) in [Filter::Bare, Filter::OursWarm].into_iter().zip(&mut resident) {
        for (workers, resident) in [1, 2].into_iter().zip(resident) {
            let scene = Scene { filter, upstream: Upstream::Direct, workers, size, issuer: &issuer };
            let mut running = bench.start(scene, &clients).await?;
            running.warm_up().await?;
            *resident = running.edge.resident_bytes()? as f64 / f64::from(1 << 20);
            running.edge.stop().await?;
        }
    }
    let [[bare, bare_two], [ours, ours_two]] = resident;
    Ok(Memory {
        tokens: TOKENS_IN_MEMORY,
        for_each_worker_mib: (ours_two - ours) - (bare_two - bare),
        whole_process_mib: ours - bare,
    })
}

pub(crate) async fn start(bench: &Bench, rounds: usize) -> Result<Start> {
    let issuer = Issuer::new(2);
    let config = |filter| setup::config(filter, Upstream::Direct, Size::default(), &issuer, &bench.modules);
    let (bare, ours) = (config(Filter::Bare)?, config(Filter::OursWarm)?);
    let (mut vm_ms, mut validate_ms) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let with = starting_cost(bench, &ours).await?;
        let without = starting_cost(bench, &bare).await?;
        vm_ms.push(with - without);
        validate_ms.push(validation(bench, &ours).await? - validation(bench, &bare).await?);
    }
    Ok(Start {
        vm_ms: Spread::of(vm_ms).context("no rounds")?,
        validate_ms: Spread::of(validate_ms).context("no rounds")?,
    })
}

/// Processor time, in ms, that each further worker takes until Envoy is ready.
async fn starting_cost(bench: &Bench, config: &str) -> Result<f64> {
    let mut spent = [0.0; 2];
    for (workers, spent) in [1, MANY_WORKERS].into_iter().zip(&mut spent) {
        let folder = bench.folder.join("start");
        let edge = Edge::start(&bench.envoy, config, &folder, workers, Processor::Any, None).await?;
        // Workers make their VMs after Envoy listens; they have, once the counters are there.
        edge.counters().await?;
        *spent = edge.cpu_time()?.as_secs_f64() * 1e3;
        edge.stop().await?;
    }
    let [one, many] = spent;
    Ok((many - one) / f64::from(MANY_WORKERS - 1))
}

/// How long, in ms, Envoy takes to check a configuration. It starts the plugin for that.
async fn validation(bench: &Bench, config: &str) -> Result<f64> {
    let file = bench.folder.join("start").join("validate.yaml");
    std::fs::write(&file, config)?;
    let mut command = process::command(Path::new(&bench.envoy));
    command.args(["--mode", "validate", "--log-level", "error", "--config-path"]).arg(&file);
    let started = Instant::now();
    let output = timeout(Duration::from_secs(30), command.output()).await??;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(started.elapsed().as_secs_f64() * 1e3)
}
