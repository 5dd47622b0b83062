//! `cargo bench-issuer`: how much the issuer does in a second, on which database, and what it takes.
//!
//! The issuer is the one that is shipped (release profile), by itself on this machine, over loopback. An answer other
//! than the right one ends the run. See `tests/bench/README.md`.

mod clients;
mod credentials;
mod database;
mod issuer;
mod load;
mod measure;
mod people;
mod report;
mod scene;

use std::fs;
use std::process::ExitCode;
use std::thread::available_parallelism;

use anyhow::{Context, Result};
use clap::Parser;
use countersign_stack::tools;
use countersign_tests::bench::machine;
use serde_json::json;
use tokio::time::Instant;

use database::Kind;
use issuer::{Hashing, Programs};
use measure::{Bench, Part};
use report::Report;

/// As the issuer has them by default.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;

const ROWS: [u64; 3] = [1_000, 100_000, 1_000_000];
const QUICK_ROWS: [u64; 2] = [1_000, 10_000];

/// Trading accounts.
const RECORDS: u64 = 100_000;
const QUICK_RECORDS: u64 = 5_000;

/// Measures what the issuer answers in a second, its latency under load, its memory, and all of it with many rows.
#[derive(Debug, Parser)]
struct Arguments {
    /// Rounds of each load; the one with the middle rate counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Seconds of each load; the issuer closes a connection that says nothing for ten, as during the hashes between
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=9))]
    seconds: u64,
    /// A look at everything in two minutes; its numbers prove nothing
    #[arg(long)]
    quick: bool,
    /// Only these parts
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Option<Vec<Part>>,
    /// Only this database; by default SQLite, and PostgreSQL if TEST_DATABASE_URL names a server
    #[arg(long)]
    database: Option<Kind>,
    /// Hashing threads; as many as there are processors by default
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: Option<u32>,
    /// Accounts, and what comes with each; 1,000, 100,000 and 1,000,000 by default
    #[arg(long, value_delimiter = ',')]
    rows: Option<Vec<u64>>,
    /// Keep the issuer's log in target/bench instead of throwing it away
    #[arg(long)]
    log: bool,
}

// One thread: a child is tied to the life of the thread that started it, and the load should not take more.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<()> {
    let folder = tools::target().join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let processors = u32::try_from(available_parallelism()?.get())?;
    let threads = arguments.threads.unwrap_or(processors);
    let (rounds, seconds) =
        if arguments.quick { (1, 2) } else { (usize::from(arguments.rounds), arguments.seconds) };
    let mut rows = match &arguments.rows {
        Some(rows) => rows.clone(),
        None if arguments.quick => QUICK_ROWS.to_vec(),
        None => ROWS.to_vec(),
    };
    rows.sort_unstable();
    let bench = Bench {
        programs: Programs::build()?,
        folder,
        hashing: Hashing { memory_kib: MEMORY_KIB, passes: PASSES, threads },
        seconds,
        rounds,
        rows,
        only: arguments.only.clone(),
        records: if arguments.quick { QUICK_RECORDS } else { RECORDS },
        log: arguments.log,
        begun: Instant::now(),
    };
    let mut report = Report { about: about(&bench, processors).await?, ..Report::default() };
    for kind in arguments.databases() {
        report.results.push((kind, bench.measure(kind).await.with_context(|| kind.name())?));
    }
    let file = bench.folder.join("issuer.json");
    fs::write(&file, serde_json::to_string_pretty(&report.json())?)?;
    println!("{}\n{}", report.table(), file.display());
    Ok(())
}

impl Arguments {
    fn databases(&self) -> Vec<Kind> {
        match self.database {
            Some(kind) => vec![kind],
            None if std::env::var_os(database::POSTGRES).is_some() => vec![Kind::Sqlite, Kind::Postgres],
            None => vec![Kind::Sqlite],
        }
    }
}

/// What the numbers are from.
async fn about(bench: &Bench, processors: u32) -> Result<serde_json::Value> {
    let busy_before = machine::busy_before().await?;
    Ok(json!({
        "processor": machine::processor(),
        "processors": processors,
        "busy_before": busy_before,
        "hashing": bench.hashing,
        "connections": measure::CONNECTIONS,
        "seconds": bench.seconds,
        "rounds": bench.rounds,
    }))
}
