//! What cargo builds and the stack runs: the issuer's binary and the filter's module.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::tools;

/// Paths of everything that the stack starts.
#[derive(Debug, Clone)]
pub struct Artifacts {
    pub issuer: PathBuf,
    pub filter: PathBuf,
    pub envoy: PathBuf,
}

impl Artifacts {
    /// Provides the tools and builds what is out of date.
    pub fn provide() -> Result<Self> {
        Ok(Self { envoy: tools::envoy()?, issuer: issuer()?, filter: filter()? })
    }
}

/// The issuer, with the profile that everything native here is built with.
pub fn issuer() -> Result<PathBuf> {
    build(&["--package", "countersign-issuer", "--bin", "countersign"], "debug/countersign")
        .context("cannot build the issuer")
}

/// The filter's module as it is shipped.
pub fn filter() -> Result<PathBuf> {
    tools::wasm_target()?;
    let target = ["--target", tools::WASM_TARGET, "--profile", "wasm"];
    let package = ["--package", "countersign-filter", "--lib"];
    build(&[&package[..], &target[..]].concat(), "wasm32-wasip1/wasm/countersign_filter.wasm")
        .context("cannot build the filter")
}

fn build(arguments: &[&str], artifact: &str) -> Result<PathBuf> {
    tools::run(tools::cargo().args(["build", "--quiet"]).args(arguments))?;
    let artifact = tools::target().join(artifact);
    ensure!(artifact.is_file(), "cargo left no {}", artifact.display());
    Ok(artifact)
}
