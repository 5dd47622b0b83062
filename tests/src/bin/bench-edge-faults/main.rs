//! `cargo bench-edge-faults`: what becomes of the edge when sessions end, keys change, the issuer goes away, configuration
//! and module are swapped, and many come with nothing good.
//!
//! Everything is real: the issuer as it is shipped, Envoy with the bootstrap and the plugin configuration that people
//! copy. Only what is behind the edge is a stand-in. See `tests/bench/README.md`.

mod floods;
mod load;
mod logout;
mod people;
mod report;
mod revocations;
mod site;
mod streams;
mod swaps;
mod upstream;
mod websockets;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use countersign_stack::artifacts::{self, Artifacts};
use countersign_stack::tools;
use countersign_tests::bench::{machine, release_issuer};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::time::Instant;

use report::{Part, Report};

/// Measures how the edge fares when things change, break or are flooded, and holds it against what is promised.
#[derive(Debug, Parser)]
struct Arguments {
    /// A look at everything in two minutes; its numbers prove nothing
    #[arg(long)]
    quick: bool,
    /// Only these parts
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Option<Vec<Part>>,
}

/// Everything that the parts of a run share.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) artifacts: Artifacts,
    /// Another build of the module, to swap with.
    pub(crate) sdk: PathBuf,
    /// `target/bench/edge-faults`; each part has a folder of its own in it.
    pub(crate) folder: PathBuf,
    quick: bool,
    begun: Instant,
}

impl Bench {
    /// How much of something: all of it, or enough for a look.
    pub(crate) fn so_many(&self, all: u64, quick: u64) -> u64 {
        if self.quick { quick } else { all }
    }

    /// The progress of the run.
    pub(crate) fn say(&self, what: &str) {
        eprintln!("{:>5.0} s  {what}", self.begun.elapsed().as_secs_f64());
    }
}

// One thread: a child is tied to the life of the thread that started it.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything was as promised.
async fn run(arguments: &Arguments) -> Result<bool> {
    open_many_files()?;
    let bench = prepare(arguments.quick)?;
    let about = json!({
        "processor": machine::processor(),
        "busy_before": machine::busy_before().await?,
        "quick": arguments.quick,
    });
    let mut report = Report::new(about);
    let parts = arguments.only.clone().unwrap_or_else(|| Part::ALL.to_vec());
    for part in parts {
        let results = match part {
            Part::Logout => logout::run(&bench).await,
            Part::Rotation | Part::Emergency | Part::IssuerRestart | Part::ConfigSwap | Part::ModuleSwap => {
                swaps::run(&bench, part).await
            }
            Part::Websockets => websockets::run(&bench).await,
            Part::Revocations => revocations::run(&bench).await,
            Part::Floods => floods::run(&bench).await,
        };
        report.add(part, results);
    }
    let file = tools::target().join("bench/edge-faults.json");
    fs::write(&file, serde_json::to_string_pretty(&report)?)?;
    println!("{report}\n{}", file.display());
    Ok(report.is_as_promised())
}

fn prepare(quick: bool) -> Result<Bench> {
    let folder = tools::target().join("bench/edge-faults");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let artifacts = Artifacts {
        issuer: release_issuer()?.join("countersign"),
        filter: artifacts::filter()?,
        envoy: tools::envoy()?,
        // What stands behind the edge is ours.
        stack: PathBuf::new(),
    };
    Ok(Bench { artifacts, sdk: artifacts::sdk_filter()?, folder, quick, begun: Instant::now() })
}

/// Thousands of WebSockets have a file each here, and two in Envoy, which has the same limit.
fn open_many_files() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("cannot open many files")
}
