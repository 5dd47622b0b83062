//! `cargo bench-edge`: what a request costs in Envoy without a filter, with Envoy's own JWT filter, and with ours.
//!
//! Cost is processor time of the Envoy process as the kernel counts it, divided by the requests that Envoy counted.
//! Nothing is reported of a load in which one request was answered wrongly, or from the wrong place. See
//! `tests/bench/README.md`.

mod clients;
mod compare;
mod growth;
mod load;
mod measure;
mod neighbour;
mod report;
mod setup;
mod soak;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::available_parallelism;

use anyhow::{Context, Result};
use clap::Parser;
use countersign_stack::{artifacts, tools};
use countersign_tests::bench::machine;
use serde_json::json;

use compare::{Comparison, Crowd, Setting};
use measure::Bench;
use report::Report;
use setup::{Filter, Modules};

/// Measures what a request costs in Envoy: with no filter, with Envoy's own JWT filter, with ours.
#[derive(Debug, Parser)]
struct Arguments {
    /// Rounds of the main comparison; the others take a quarter
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Seconds of load in each measurement
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Clients that come again, for the loads whose tokens are known
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1_000..=20_000))]
    clients: u32,
    /// A look at everything in a few minutes; its numbers prove nothing
    #[arg(long)]
    quick: bool,
    /// Only compare, only in the main setting
    #[arg(long)]
    main_only: bool,
    /// Only the growth curves, memory and start
    #[arg(long, conflicts_with = "main_only")]
    growth: bool,
    /// Beside a process that sweeps memory: the main setting alone, without latency
    #[arg(long, conflicts_with_all = ["growth", "soak"])]
    neighbour: bool,
    /// Be that process
    #[arg(long, hide = true)]
    sweep: bool,
    /// Only these filters, and bare
    #[arg(long, value_delimiter = ',')]
    filters: Option<Vec<Filter>>,
    /// Another build of our module to compare with
    #[arg(long, value_name = "MODULE")]
    against: Option<PathBuf>,
    /// Only watch memory under steady load for so many minutes
    #[arg(long, value_name = "MINUTES", conflicts_with_all = ["growth", "main_only"])]
    soak: Option<u64>,
}

// One thread: a child is tied to the life of the thread that started it.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.sweep {
        neighbour::sweep();
    }
    match run(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<()> {
    load::check_wrk()?;
    let bench = prepare(arguments)?;
    let mut report = Report { about: about(&bench, arguments).await?, ..Report::default() };
    if let Some(minutes) = arguments.soak {
        report.soak = Some(soak::run(&bench, minutes.max(1)).await?);
        return publish(&report, &bench.folder.join("soak.json"));
    }
    if !arguments.growth {
        let beside = arguments.neighbour.then(|| neighbour::start(&bench.folder)).transpose()?;
        let crowd = Crowd::gather(&bench, usize::try_from(arguments.clients)?)?;
        let filters = arguments.filters();
        for setting in arguments.settings() {
            report.comparisons.push(Comparison::run(&bench, &crowd, setting, &filters).await?);
        }
        if let Some(neighbour) = beside {
            neighbour.stop().await?;
        }
    }
    if !arguments.main_only && !arguments.neighbour {
        let (rounds, seconds) = if arguments.quick { (1, 1) } else { (2, 2) };
        report.curves = growth::curves(&bench, rounds, seconds).await?;
        report.memory = Some(growth::memory(&bench).await?);
        report.start = Some(growth::start(&bench, if arguments.quick { 1 } else { 3 }).await?);
    }
    publish(&report, &bench.folder.join(arguments.result()))
}

impl Arguments {
    fn settings(&self) -> Vec<Setting> {
        let (rounds, seconds) = if self.quick { (2, 1) } else { (usize::from(self.rounds), self.seconds) };
        let main = Setting {
            name: "one worker, answered by Envoy",
            proxied: false,
            workers: 1,
            rounds,
            seconds,
            paced: true,
        };
        if self.neighbour {
            // The neighbour takes turns with the load, so that latency would be of their taking turns.
            return vec![Setting { name: "one worker, beside a neighbour", paced: false, ..main }];
        }
        if self.main_only {
            return vec![main];
        }
        let less = Setting { rounds: rounds.div_ceil(4), seconds: seconds.min(2), paced: false, ..main };
        vec![
            main,
            Setting { name: "one worker, through an upstream", proxied: true, ..less },
            Setting { name: "two workers, answered by Envoy", workers: 2, ..less },
            Setting { name: "two workers, through an upstream", workers: 2, proxied: true, ..less },
        ]
    }

    /// The name of the file that the numbers go to.
    fn result(&self) -> &'static str {
        match (self.growth, self.neighbour) {
            (true, _) => "growth.json",
            (_, true) => "neighbour.json",
            _ => "edge.json",
        }
    }

    fn filters(&self) -> Vec<Filter> {
        let mut filters = match &self.filters {
            None => Filter::STANDARD.to_vec(),
            Some(chosen) => chosen.clone(),
        };
        if self.against.is_some() && self.filters.is_none() {
            filters.extend([Filter::AgainstWarm, Filter::AgainstCold]);
        }
        // What all others are compared with.
        filters.push(Filter::Bare);
        filters.sort_unstable();
        filters.dedup();
        filters
    }
}

fn prepare(arguments: &Arguments) -> Result<Bench> {
    let folder = tools::target().join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let noop = folder.join("noop.wasm");
    let source = tools::workspace().join("tests/bench/noop.wat");
    fs::write(&noop, wat::parse_file(&source)?)?;
    let modules = Modules {
        noop,
        ours: artifacts::filter()?,
        sdk: artifacts::sdk_filter()?,
        against: arguments.against.clone(),
    };
    let processors = u32::try_from(available_parallelism()?.get())?;
    Ok(Bench { envoy: tools::envoy()?, modules, folder, processors })
}

/// What the numbers are from.
async fn about(bench: &Bench, arguments: &Arguments) -> Result<serde_json::Value> {
    let busy_before = machine::busy_before().await?;
    Ok(json!({
        "envoy": bench.envoy.components().rev().nth(3).map(|part| part.as_os_str().to_string_lossy()),
        "processor": machine::processor(),
        "processors": bench.processors,
        "busy_before": busy_before,
        "clients": arguments.clients,
        "neighbour": arguments.neighbour,
        "module_bytes": fs::metadata(&bench.modules.ours)?.len(),
        "sdk_module_bytes": fs::metadata(&bench.modules.sdk)?.len(),
    }))
}

fn publish(report: &Report, file: &Path) -> Result<()> {
    fs::write(file, serde_json::to_string_pretty(&report.json())?)?;
    println!("{}\n{}", report.table(), file.display());
    Ok(())
}
