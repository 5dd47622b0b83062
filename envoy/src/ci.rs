//! `cargo ci`: every check and every test, in the order in which a failure is found soonest.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::artifacts::Artifacts;
use crate::tools::{self, WASM_TARGET, cargo, run};

pub fn run_all() -> Result<()> {
    step("formatting", cargo().args(["fmt", "--all", "--check"]))?;
    tools::wasm_target()?;
    let lint = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
    step("clippy", cargo().args(lint))?;
    let packages = ["--package", "countersign-filter", "--package", "countersign-proxy-abi"];
    let lint = [&["clippy"], &packages[..], &["--lib", "--target", WASM_TARGET]].concat();
    for (name, features) in
        [("clippy for wasm", ""), ("clippy for wasm, on the SDK", "countersign-filter/sdk")]
    {
        let strict = ["--profile", "wasm", "--quiet", "--", "-D", "warnings"];
        step(name, cargo().args(&lint).args(["--features", features]).args(strict))?;
    }
    let document = ["doc", "--workspace", "--no-deps", "--quiet"];
    step("documentation", cargo().args(document).env("RUSTDOCFLAGS", "-D warnings"))?;
    Artifacts::provide()?;
    step("tests", cargo().args(["test", "--workspace"]))?;
    let tour = std::env::current_exe().context("cannot find this program")?;
    step("tour", Command::new(tour).args(["up", "--once"]))
}

fn step(name: &str, command: &mut Command) -> Result<()> {
    println!("== {name}");
    let started = Instant::now();
    run(command).with_context(|| name.to_owned())?;
    println!("== {name}: {} s", started.elapsed().as_secs());
    Ok(())
}
