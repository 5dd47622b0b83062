//! One measurement: an Envoy with one filter, checked to do its work, warmed up, and put under load.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use countersign_tests::bench::edge::{Counters, Edge, Processor, delta};
use reqwest::StatusCode;
use serde::Serialize;

use crate::clients::{Client, Clients, Issuer};
use crate::load::{Load, Pace, Run};
use crate::setup::{self, Filter, Modules, Size, Tokens, Upstream};

/// Of tokens that should come from the cache, this many may be checked: with several workers, one may be new to one.
const MISSES_ALLOWED: f64 = 0.001;

const MOST_WARM_UP_SECONDS: u32 = 40;

/// Everything that the measurements of a run share.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) envoy: PathBuf,
    pub(crate) modules: Modules,
    /// `target/bench`.
    pub(crate) folder: PathBuf,
    pub(crate) processors: u32,
}

/// What one Envoy is started with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) filter: Filter,
    pub(crate) upstream: Upstream,
    pub(crate) workers: u32,
    pub(crate) size: Size,
    pub(crate) issuer: &'a Issuer,
}

/// What one load cost.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Cost {
    /// Processor time of the whole Envoy process for each request, in µs.
    pub(crate) cpu_us: f64,
    pub(crate) requests_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// Processors that Envoy kept busy.
    pub(crate) busy: f64,
}

/// An Envoy under load.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    filter: Filter,
    pub(crate) edge: Edge,
    load: Load<'a>,
    /// As they were after the last load.
    counters: Counters,
}

impl Bench {
    /// Starts Envoy and checks that it lets through what it should and nothing else.
    pub(crate) async fn start<'a>(&self, scene: Scene<'_>, clients: &'a Clients) -> Result<Running<'a>> {
        let Scene { filter, upstream, workers, size, issuer } = scene;
        let config = setup::config(filter, upstream, size, issuer, &self.modules)?;
        // One worker and the load get a processor each, if there are two.
        let alone = workers == 1 && self.processors > 1;
        let (here, there) =
            if alone { (Processor::Only(1), Processor::Only(0)) } else { (Processor::Any, Processor::Any) };
        let edge = Edge::start(&self.envoy, &config, &self.folder.join("edge"), workers, here, None).await?;
        check(&edge, filter, upstream, &clients.first)
            .await
            .with_context(|| format!("{} does not do its work", filter.name()))?;
        let counters = edge.counters().await?;
        let load = Load { clients, threads: workers, processor: there, position: 0 };
        Ok(Running { filter, edge, load, counters })
    }
}

async fn check(edge: &Edge, filter: Filter, upstream: Upstream, client: &Client) -> Result<()> {
    let answer = edge.request(Some(&client.token)).await?;
    ensure!(answer.status() == StatusCode::OK, "a good token gets {}", answer.status());
    if !filter.verifies() {
        return Ok(());
    }
    if let Upstream::Port(_) = upstream {
        for (name, expected) in [("x-seen-user-id", &client.user_id), ("x-seen-user-email", &client.email)] {
            let seen = answer.headers().get(name).map(|value| value.as_bytes());
            ensure!(seen == Some(expected.as_bytes()), "the upstream does not get {name}");
        }
    }
    for (what, token) in [("a forged token", Some(client.forged())), ("no token", None)] {
        let status = edge.request(token.as_deref()).await?.status();
        ensure!(status == StatusCode::UNAUTHORIZED, "{what} gets {status}");
    }
    Ok(())
}

impl Running<'_> {
    /// Load that is not measured: code is compiled, pools grow, caches fill. Known tokens are sent until they are new
    /// to no worker.
    pub(crate) async fn warm_up(&mut self) -> Result<()> {
        for _ in 0..MOST_WARM_UP_SECONDS {
            let before = self.counters.clone();
            let run = self.load.run(&self.edge, 1, Pace::AsFastAsItGoes).await?;
            self.counters = self.edge.counters().await?;
            let misses = self.looked_up(&before).map_or(0, |(_, misses)| misses);
            let all_known = (misses as f64) < MISSES_ALLOWED * run.requests as f64;
            if all_known || self.filter.tokens() == Tokens::New {
                return Ok(());
            }
        }
        bail!("{} does not keep {} in its cache", self.filter.name(), self.load.clients.file.display())
    }

    pub(crate) async fn measure(&mut self, seconds: u64, pace: Pace) -> Result<Cost> {
        let before = self.counters.clone();
        let cpu_before = self.edge.cpu_time()?;
        let run = self.load.run(&self.edge, seconds, pace).await?;
        let cpu = self.edge.cpu_time()?.saturating_sub(cpu_before);
        self.counters = self.edge.counters().await?;

        let served = delta(&before, &self.counters, "http.edge.downstream_rq_2xx");
        let completed = delta(&before, &self.counters, "http.edge.downstream_rq_completed");
        ensure!(served == completed, "{} of {completed} requests were refused", completed - served);
        ensure!(served >= run.requests, "Envoy counts {served} requests, wrk {}", run.requests);
        self.check_cache(&before, served)?;
        Ok(Cost::of(run, served, cpu.as_secs_f64()))
    }

    /// That tokens were known, or new, as they should be.
    fn check_cache(&self, before: &Counters, served: u64) -> Result<()> {
        let Some((hits, misses)) = self.looked_up(before) else { return Ok(()) };
        let name = self.filter.name();
        match self.filter.tokens() {
            Tokens::Known => {
                let allowed = MISSES_ALLOWED * served as f64;
                ensure!(
                    misses as f64 <= allowed,
                    "{name}: {misses} of {served} tokens were not in the cache"
                );
                ensure!(
                    hits + misses >= served,
                    "{name}: {hits} tokens from the cache for {served} requests"
                );
            }
            Tokens::New => {
                ensure!(hits == 0, "{name}: {hits} of {served} tokens were in the cache");
                ensure!(misses >= served, "{name}: {misses} tokens checked for {served} requests");
            }
        }
        Ok(())
    }

    /// Tokens answered from the cache since, and tokens that were not.
    fn looked_up(&self, before: &Counters) -> Option<(u64, u64)> {
        let (hits, misses) = self.filter.cache_counters()?;
        Some((delta(before, &self.counters, hits), delta(before, &self.counters, misses)))
    }
}

impl Cost {
    fn of(run: Run, served: u64, cpu_seconds: f64) -> Self {
        let seconds = run.duration_us as f64 / 1e6;
        Self {
            cpu_us: cpu_seconds * 1e6 / served as f64,
            requests_per_second: run.requests as f64 / seconds,
            p50_us: run.p50_us as f64,
            p99_us: run.p99_us as f64,
            busy: cpu_seconds / seconds,
        }
    }
}
