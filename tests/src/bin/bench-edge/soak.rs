//! Memory over time: many more clients than the cache holds, at a steady pace, so that it is full and always
//! changing.

use anyhow::{Context, Result};
use countersign_tests::bench::stats::slope;
use serde::Serialize;

use crate::clients::Issuer;
use crate::load::Pace;
use crate::measure::{Bench, Scene};
use crate::setup::{Filter, Size, Upstream};

const CLIENTS: usize = 60_000;
const PER_SECOND: u32 = 4_000;
const SAMPLE_SECONDS: u64 = 10;

#[derive(Debug, Serialize)]
pub(crate) struct Soak {
    pub(crate) minutes: u64,
    /// Resident memory of Envoy after each ten seconds.
    pub(crate) resident_mib: Vec<f64>,
    /// Of the second half: by then everything has been full for long.
    pub(crate) slope_kib_per_minute: f64,
}

pub(crate) async fn run(bench: &Bench, minutes: u64) -> Result<Soak> {
    let issuer = Issuer::new(2);
    let clients = issuer.clients(&bench.folder, "soak", CLIENTS)?;
    let scene = Scene {
        filter: Filter::OursCold,
        upstream: Upstream::Direct,
        workers: 1,
        size: Size::default(),
        issuer: &issuer,
    };
    let mut running = bench.start(scene, &clients).await?;
    running.warm_up().await?;
    let mut resident_mib = Vec::new();
    for _ in 0..minutes * 60 / SAMPLE_SECONDS {
        running.measure(SAMPLE_SECONDS, Pace::PerSecond(PER_SECOND)).await?;
        resident_mib.push(running.edge.resident_bytes()? as f64 / f64::from(1 << 20));
    }
    running.edge.stop().await?;
    let second_half: Vec<_> = resident_mib.iter().enumerate().skip(resident_mib.len() / 2).collect();
    let per_minute = 60.0 / SAMPLE_SECONDS as f64;
    let points: Vec<_> =
        second_half.iter().map(|(at, mib)| (*at as f64 / per_minute, **mib * 1024.0)).collect();
    resident_mib.first().context("a soak of no time")?;
    let slope_kib_per_minute = slope(&points);
    Ok(Soak { minutes, resident_mib, slope_kib_per_minute })
}
