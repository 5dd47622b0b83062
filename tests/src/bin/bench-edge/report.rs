//! What was measured, for people (a table) and for programs (`target/bench/edge.json`).

use std::fmt::Write as _;

use countersign_tests::bench::stats::{Ratio, Spread};
use serde_json::{Map, Value, json};

use crate::compare::{Comparison, Row};
use crate::growth::{Memory, Point, Start};
use crate::setup::Filter;
use crate::soak::Soak;

/// The ratios that the project promises something about, by name: of overhead over no filter.
const RATIOS: [(&str, Filter, Filter); 6] = [
    ("warm_vs_jwt_authn_cached", Filter::OursWarm, Filter::JwtAuthnCached),
    ("cold_vs_jwt_authn", Filter::OursCold, Filter::JwtAuthn),
    ("warm_vs_noop", Filter::OursWarm, Filter::Noop),
    ("warm_vs_sdk", Filter::OursWarm, Filter::SdkWarm),
    ("cold_vs_sdk", Filter::OursCold, Filter::SdkCold),
    ("warm_vs_against", Filter::OursWarm, Filter::AgainstWarm),
];

/// The same of 99th percentiles under equal load.
const P99_RATIOS: [(&str, Filter, Filter); 2] = [
    ("p99_warm_vs_jwt_authn_cached", Filter::OursWarm, Filter::JwtAuthnCached),
    ("p99_cold_vs_jwt_authn", Filter::OursCold, Filter::JwtAuthn),
];

/// All that a run has measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) about: Value,
    pub(crate) comparisons: Vec<Comparison>,
    pub(crate) curves: Vec<Point>,
    pub(crate) memory: Option<Memory>,
    pub(crate) start: Option<Start>,
    pub(crate) soak: Option<Soak>,
}

impl Report {
    pub(crate) fn json(&self) -> Value {
        let rows: Vec<_> = self.comparisons.iter().flat_map(Comparison::rows).collect();
        let mut ratios = Map::new();
        if let Some(first) = self.comparisons.first() {
            ratios.extend(named_ratios(first).map(|(name, ratio)| (name.to_owned(), json!(ratio.value))));
        }
        let spreads = |comparison: &Comparison| -> Map<String, Value> {
            named_ratios(comparison).map(|(name, ratio)| (name.to_owned(), json!(ratio))).collect()
        };
        let by_setting: Map<_, _> = self
            .comparisons
            .iter()
            .map(|comparison| (comparison.setting.name.to_owned(), spreads(comparison).into()))
            .collect();
        json!({
            "about": self.about,
            "ratios": ratios,
            "ratios_by_setting": by_setting,
            "rows": rows,
            "growth": self.curves,
            "memory": self.memory,
            "start": self.start,
            "soak": self.soak,
            "rounds": self.comparisons.iter().map(Comparison::raw).collect::<Vec<_>>(),
        })
    }

    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        for comparison in &self.comparisons {
            write_comparison(&mut out, comparison);
        }
        if !self.curves.is_empty() {
            out.push_str("\ngrowth, tokens known: CPU µs for each request, and over bare\n");
        }
        for Point { curve, filter, tokens, rules, keys, cpu_us, overhead_us } in &self.curves {
            let size = format!("{tokens} tokens, {rules} rules, {keys} keys");
            let (name, cost, over) = (filter.name(), with_mad(*cpu_us), with_mad(*overhead_us));
            let _ = writeln!(out, "  {curve:<7} {name:<17} {size:<34} {cost:>14} {over:>14}");
        }
        if let Some(Memory { tokens, for_each_worker_mib, whole_process_mib }) = &self.memory {
            let _ = writeln!(
                out,
                "\nmemory with {tokens} tokens in the cache: {for_each_worker_mib:.1} MiB for each worker, \
                 {whole_process_mib:.1} MiB over bare for a process with one",
            );
        }
        if let Some(Start { vm_ms, validate_ms }) = &self.start {
            let _ = writeln!(
                out,
                "\nstart over bare: {} ms CPU for each VM; {} ms to compile, start and check",
                with_mad(*vm_ms),
                with_mad(*validate_ms),
            );
        }
        if let Some(Soak { minutes, resident_mib, slope_kib_per_minute }) = &self.soak
            && let Some(spread) = Spread::of(resident_mib.iter().copied())
        {
            let _ = writeln!(
                out,
                "\n{minutes} minutes of churn: {:.1} to {:.1} MiB, {slope_kib_per_minute:+.1} KiB a minute at the end",
                spread.min, spread.max,
            );
        }
        out
    }
}

fn named_ratios(comparison: &Comparison) -> impl Iterator<Item = (&'static str, Ratio)> {
    let overheads = RATIOS.into_iter().map(|(name, of, to)| Some((name, comparison.overhead_ratio(of, to)?)));
    let latencies = P99_RATIOS.into_iter().map(|(name, of, to)| Some((name, comparison.p99_ratio(of, to)?)));
    overheads.chain(latencies).flatten()
}

fn write_comparison(out: &mut String, comparison: &Comparison) {
    let setting = comparison.setting;
    let _ = writeln!(out, "\n{}, {} rounds of {} s", setting.name, setting.rounds, setting.seconds);
    let _ = writeln!(
        out,
        "  {:<17} {:>14} {:>14} {:>8} {:>7} {:>7} {:>5} {:>16} {:>7}",
        "filter",
        "CPU µs/request",
        "over bare",
        "req/s",
        "p50 µs",
        "p99 µs",
        "busy",
        "equal load 50/99",
        "MiB"
    );
    for row in comparison.rows() {
        let Row { filter, cpu_us, overhead_us, requests_per_second, p50_us, p99_us, busy, .. } = &row;
        let equal = row.equal_load.map_or_else(
            || "-".to_owned(),
            |equal| format!("{:.0} / {:.0} µs", equal.p50_us.median, equal.p99_us.median),
        );
        let overhead = if *filter == Filter::Bare { "-".to_owned() } else { with_mad(*overhead_us) };
        let _ = writeln!(
            out,
            "  {:<17} {:>14} {:>14} {:>8.0} {:>7.0} {:>7.0} {:>5.2} {:>16} {:>7.1}",
            filter.name(),
            with_mad(*cpu_us),
            overhead,
            requests_per_second.median,
            p50_us.median,
            p99_us.median,
            busy.median,
            equal,
            row.resident_mib.median,
        );
    }
    for (name, ratio) in named_ratios(comparison) {
        let Ratio { value, low, high, steady } = ratio;
        let unsteady = if steady { "" } else { ", not steady: another run may say something else" };
        let _ = writeln!(out, "  {name:<30} {value:.2} ({low:.2} to {high:.2}){unsteady}");
    }
}

fn with_mad(spread: Spread) -> String {
    format!("{:.2} ±{:.2}", spread.median, spread.mad)
}
