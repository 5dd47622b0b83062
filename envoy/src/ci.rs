//! `cargo ci`: every check and every test, in the order in which a failure is found soonest.

use std::fs;
use std::num::NonZero;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::artifacts::{self, Artifacts};
use crate::postgres::{self, Durability, Postgres};
use crate::process::{Interrupt, run_to_end};
use crate::tools::{self, WASM_TARGET};

/// What the filter's module may weigh: each worker of each Envoy compiles it before it serves.
const MODULE_BUDGET: u64 = 500 * 1024;

pub async fn run_all() -> Result<()> {
    let mut steps = Steps { done: Vec::new(), interrupt: Interrupt::listen()? };
    let outcome = every_step(&mut steps).await;
    steps.sum_up(outcome.is_ok());
    outcome
}

/// Known vulnerabilities among the dependencies. Not a step of `cargo ci`: it needs the network, and what it finds changes
/// without a change of ours.
pub async fn advisories() -> Result<()> {
    let mut check = tool(tools::cargo_deny()?, &["--locked", "--workspace", "check", "advisories"]);
    run_to_end(&mut check, &mut Interrupt::listen()?).await
}

async fn every_step(steps: &mut Steps) -> Result<()> {
    steps.run("formatting", cargo(&["fmt", "--all", "--check"])).await?;
    steps.run("unused dependencies", tool(tools::cargo_shear()?, &["--locked", "--deny-warnings"])).await?;
    let kinds = ["--locked", "--workspace", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"];
    steps.run("licences, bans, sources", tool(tools::cargo_deny()?, &kinds)).await?;

    let strict = ["--quiet", "--", "-D", "warnings"];
    let lint = ["clippy", "--locked", "--workspace", "--all-targets"];
    steps.run("clippy", cargo(&[&lint[..], &strict].concat())).await?;
    tools::wasm_target()?;
    let in_wasm = ["clippy", "--locked", "--lib", "--target", WASM_TARGET, "--profile", "wasm"];
    let packages = ["countersign-filter", "countersign-proxy-abi", "countersign-claims"];
    let packages: Vec<_> = packages.iter().flat_map(|package| ["--package", package]).collect();
    for (name, features) in
        [("clippy for wasm", ""), ("clippy for wasm, on the SDK", "countersign-filter/sdk")]
    {
        let lint = [&in_wasm[..], &packages, &["--features", features], &strict].concat();
        steps.run(name, cargo(&lint)).await?;
    }
    let mut document = cargo(&["doc", "--locked", "--workspace", "--no-deps", "--quiet"]);
    document.env("RUSTDOCFLAGS", "-D warnings");
    steps.run("documentation", document).await?;

    steps.take("what is tested, built", || Artifacts::provide().map(drop))?;
    steps.take("size of the module", module_fits_its_budget)?;
    steps.run("tests", tests(&["--workspace"])).await?;
    let postgres = Postgres::provide(Durability::Off).await?;
    // Of the workspace, although it is one package's: fewer dependencies get other features then, and are built again.
    let suite = ["--workspace", "--test", "issuer"];
    let mut on_postgres = tests(&suite);
    on_postgres.env(postgres::URL_VARIABLE, postgres.url());
    let tested = steps.run("issuer on PostgreSQL", on_postgres).await;
    postgres.stop().await?;
    tested?;
    // Our own code without what the release profile leaves out. What it is built on is not built again.
    let mut unchecked = tests(&suite);
    unchecked.env("CARGO_INCREMENTAL", "0");
    for package in ["countersign-claims", "countersign-issuer"] {
        for setting in ["debug-assertions", "overflow-checks"] {
            unchecked.arg("--config").arg(format!("profile.dev.package.{package}.{setting}=false"));
        }
    }
    steps.run("issuer without debug assertions", unchecked).await?;
    steps.run("tour", cargo(&["up", "--once"])).await
}

fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::from(tools::cargo());
    cargo.args(arguments);
    cargo
}

fn tool(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(tools::workspace());
    command
}

/// Tests talk to this machine only, whatever proxy and database the environment names. All of them run, also when one has
/// failed: who mends it wants to know of the others.
fn tests(which: &[&str]) -> Command {
    let mut cargo = cargo(&[&["test", "--locked", "--no-fail-fast"], which].concat());
    cargo.env("NO_PROXY", "127.0.0.1,localhost").env_remove("no_proxy").env_remove(postgres::URL_VARIABLE);
    // An error says in words what it is about. A backtrace of each hides that.
    cargo.env("RUST_LIB_BACKTRACE", "0");
    // Those of the edge wait for Envoy half of their time.
    let threads = 2 * available_parallelism().map_or(1, NonZero::get);
    cargo.env("RUST_TEST_THREADS", threads.to_string());
    cargo
}

fn module_fits_its_budget() -> Result<()> {
    let size = fs::metadata(artifacts::filter()?)?.len();
    println!("{size} of {MODULE_BUDGET} bytes");
    ensure!(size <= MODULE_BUDGET, "the filter's module has {size} bytes, its budget is {MODULE_BUDGET}");
    Ok(())
}

/// What was done, and how long it took.
struct Steps {
    done: Vec<(&'static str, Duration)>,
    interrupt: Interrupt,
}

impl Steps {
    async fn run(&mut self, name: &'static str, mut command: Command) -> Result<()> {
        let started = begin(name);
        let outcome = run_to_end(&mut command, &mut self.interrupt).await;
        self.end(name, started, outcome)
    }

    fn take(&mut self, name: &'static str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let started = begin(name);
        let outcome = work();
        self.end(name, started, outcome)
    }

    fn end(&mut self, name: &'static str, started: Instant, outcome: Result<()>) -> Result<()> {
        let took = started.elapsed();
        println!("== {name}: {} s", took.as_secs());
        self.done.push((name, took));
        outcome.context(name)
    }

    fn sum_up(&self, all_well: bool) {
        println!("\n== summary");
        for (at, (name, took)) in self.done.iter().enumerate() {
            let mark = if all_well || at + 1 < self.done.len() { "ok  " } else { "FAIL" };
            println!("{mark} {:5} s  {name}", took.as_secs());
        }
        let whole: Duration = self.done.iter().map(|(_, took)| *took).sum();
        println!("     {:5} s", whole.as_secs());
    }
}

fn begin(name: &str) -> Instant {
    println!("== {name}");
    Instant::now()
}
