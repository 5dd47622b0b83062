//! What was measured, for people (a table) and for programs (`target/bench/issuer.json`), held against what the project
//! promises.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::credentials::Rewrap;
use crate::database::Kind;
use crate::load::Run;
use crate::measure::{Load, Measured, Part, Results};

/// With any number of rows, this much of the rate with the fewest. Runs on one machine differ by a tenth.
const FLAT: f64 = 0.85;

/// Up to so many accounts, memory at rest has a bound.
const MANY: u64 = 100_000;

#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) about: Value,
    pub(crate) results: Vec<(Kind, Results)>,
}

/// A promise, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Target {
    database: &'static str,
    name: String,
    value: f64,
    bound: f64,
    met: bool,
}

impl Report {
    pub(crate) fn json(&self) -> Value {
        let results: Map<_, _> =
            self.results.iter().map(|(kind, results)| (kind.name().to_owned(), json!(results))).collect();
        json!({ "about": self.about, "targets": self.targets(), "results": results })
    }

    pub(crate) fn targets(&self) -> Vec<Target> {
        self.results.iter().flat_map(|(kind, results)| targets(*kind, results)).collect()
    }

    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        for (kind, results) in &self.results {
            write_results(&mut out, *kind, results);
        }
        out.push_str("\npromised\n");
        for Target { database, name, value, bound, met } in self.targets() {
            let met = if met { "yes" } else { "NO" };
            let _ = writeln!(out, "  {database:<9} {name:<46} {value:>10.2} {bound:>10.2}  {met}");
        }
        out
    }
}

fn targets(kind: Kind, results: &Results) -> Vec<Target> {
    let mut targets = Vec::new();
    let mut promise = |name: String, value: f64, bound: f64, met: bool| {
        targets.push(Target { database: kind.name(), name, value, bound, met });
    };
    let mut at_least =
        |name: &str, value: f64, bound: f64| promise(format!("{name} ≥"), value, bound, value >= bound);
    if let Some(limit) = &results.limit {
        at_least("logins / argon2id limit", limit.reached, 0.95);
    }
    if let Some(rate) = rate(&results.loads, Part::Refreshes) {
        let bound = if kind == Kind::Sqlite { 5_000.0 } else { 3_000.0 };
        at_least("refreshes/s at 64 connections", rate, bound);
    }
    if let Some(rate) = rate(&results.loads, Part::Me) {
        at_least("me/s", rate, 20_000.0);
    }
    if let Some(rate) = rate(&results.loads, Part::Credentials) {
        at_least("credentials/s", rate, 1_000.0);
    }
    let credentials = results.credentials.as_ref();
    let steady = credentials.and_then(|credentials| credentials.steady);
    if let Some(steady) = steady {
        // The pace that is asked for, but for what answers take.
        at_least("credentials/s at a steady pace", steady.per_second, 950.0);
    }
    if let Some((first, rest)) = results.rows.split_first() {
        for size in rest {
            for Load { name, measured } in &size.loads {
                let Some(with_few) = rate(&first.loads, *name) else { continue };
                let name = format!("{}, {} / {} rows", name.name(), size.rows, first.rows);
                at_least(&name, measured.run.per_second / with_few, FLAT);
            }
        }
    }
    let mut at_most =
        |name: &str, value: f64, bound: f64| promise(format!("{name} ≤"), value, bound, value <= bound);
    if let Some(latency) = &results.latency {
        at_most("p99 of me while logins saturate, ms", f64::from(latency.me.p99_us) / 1e3, 25.0);
        at_most("p99 of JWKS meanwhile, ms", f64::from(latency.jwks.p99_us) / 1e3, 25.0);
    }
    if let Some(steady) = steady {
        at_most("p50 of credentials at that pace, ms", f64::from(steady.p50_us) / 1e3, 3.0);
    }
    if let Some((credentials, rewrap)) =
        credentials.and_then(|credentials| Some((credentials, credentials.rewrap.as_ref()?)))
    {
        let share = credentials.records as f64 / MANY as f64;
        at_most(&format!("rewrap of {} records, s", credentials.records), rewrap.seconds, 120.0 * share);
        let [first, second] = rewrap.most_mb;
        at_most("its memory in the second half / first", second / first, 1.1);
    }
    if let Some(memory) = &results.memory {
        at_most("memory at rest, MB", memory.at_rest_mb, 30.0);
        at_most("memory after load, MB", memory.after_load_mb, 60.0);
    }
    for size in results.rows.iter().filter(|size| size.rows <= MANY) {
        at_most(&format!("memory at rest, {} rows, MB", size.rows), size.at_rest_mb, 40.0);
    }
    targets
}

fn rate(loads: &[Load], part: Part) -> Option<f64> {
    loads.iter().find(|load| load.name == part).map(|load| load.measured.run.per_second)
}

fn write_results(out: &mut String, kind: Kind, results: &Results) {
    let _ = writeln!(
        out,
        "\n{:<36} {:>10} {:>9} {:>9} {:>14} {:>12}",
        kind.name(),
        "per second",
        "p50 µs",
        "p99 µs",
        "issuer CPU µs",
        "load CPU µs"
    );
    let mut row = |name: &str, Measured { run, issuer_cpu_us, load_cpu_us }: &Measured| {
        let _ = writeln!(
            out,
            "  {name:<34} {:>10.1} {:>9} {:>9} {issuer_cpu_us:>14.1} {load_cpu_us:>12.1}",
            run.per_second, run.p50_us, run.p99_us,
        );
    };
    for Load { name, measured } in &results.loads {
        row(name.name(), measured);
    }
    for size in &results.rows {
        for Load { name, measured } in &size.loads {
            row(&format!("{}, {} rows", name.name(), size.rows), measured);
        }
    }
    if let Some(limit) = &results.limit {
        let _ = writeln!(out, "  argon2id limit {:.1}/s", limit.per_second);
    }
    if let Some(latency) = &results.latency {
        let ms = |us: u32| f64::from(us) / 1e3;
        let (me, jwks) = (&latency.me, &latency.jwks);
        let _ = writeln!(
            out,
            "  while {:.1} logins/s saturate: me p50 {:.1} p99 {:.1} max {:.1} ms, JWKS p50 {:.1} p99 {:.1} max {:.1} ms",
            latency.logins.per_second,
            ms(me.p50_us),
            ms(me.p99_us),
            ms(me.max_us),
            ms(jwks.p50_us),
            ms(jwks.p99_us),
            ms(jwks.max_us),
        );
    }
    if let Some(credentials) = &results.credentials {
        let records = credentials.records;
        if let Some(Run { per_second, p50_us, p99_us, .. }) = credentials.steady {
            let _ = writeln!(
                out,
                "  at {per_second:.0} credentials/s of {records}: p50 {p50_us} p99 {p99_us} µs"
            );
        }
        if let Some(Rewrap { seconds, most_mb: [first, second] }) = &credentials.rewrap {
            let _ = writeln!(
                out,
                "  {records} rewrapped in {seconds:.1} s, with at most {first:.1}, then {second:.1} MB"
            );
        }
    }
    if let Some(memory) = &results.memory {
        let (rest, after) = (memory.at_rest_mb, memory.after_load_mb);
        let _ = writeln!(out, "  memory {rest:.1} MB at rest, {after:.1} MB after load");
    }
    for size in &results.rows {
        let _ = writeln!(out, "  memory {:.1} MB at rest with {} rows", size.at_rest_mb, size.rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Memory, Size};

    fn measured(per_second: f64) -> Measured {
        let run = Run { requests: 1, per_second, p50_us: 1, p99_us: 2, max_us: 3 };
        Measured { run, issuer_cpu_us: 1.0, load_cpu_us: 1.0 }
    }

    #[test]
    fn a_promise_that_is_missed_is_told() {
        let results = || Results {
            loads: vec![Load { name: Part::Refreshes, measured: measured(4_000.0) }],
            memory: Some(Memory { at_rest_mb: 20.0, after_load_mb: 61.0 }),
            ..Results::default()
        };
        let results = vec![(Kind::Sqlite, results()), (Kind::Postgres, results())];
        let report = Report { about: Value::Null, results };
        let met: Vec<_> = report.targets().iter().map(|target| (target.database, target.met)).collect();
        let expected = [("sqlite", false), ("sqlite", true), ("sqlite", false)];
        assert_eq!(met[..3], expected);
        assert_eq!(met[3], ("postgres", true));
        assert!(report.table().contains("NO"));
    }

    #[test]
    fn a_call_that_grows_dearer_with_the_rows_is_told() {
        let size = |rows, per_second, at_rest_mb| {
            let load = |name, per_second| Load { name, measured: measured(per_second) };
            Size { rows, at_rest_mb, loads: vec![load(Part::Admin, 100.0), load(Part::Audit, per_second)] }
        };
        let rows = vec![size(1_000, 100.0, 20.0), size(100_000, 84.0, 41.0), size(1_000_000, 85.0, 80.0)];
        let results = vec![(Kind::Sqlite, Results { rows, ..Results::default() })];
        let report = Report { about: Value::Null, results };
        let missed: Vec<_> = report.targets().into_iter().filter(|target| !target.met).collect();
        let missed: Vec<_> = missed.iter().map(|target| target.name.as_str()).collect();
        assert_eq!(missed, ["audited changes, 100000 / 1000 rows ≥", "memory at rest, 100000 rows, MB ≤"]);
    }
}
