//! What the benchmarks share: the machine, an Envoy, raw HTTP, and what numbers say.

pub mod edge;
pub mod machine;
pub mod process;
pub mod stats;
pub mod wire;

use std::path::PathBuf;

use anyhow::{Context, Result};
use countersign_stack::tools;

/// Builds the issuer as it is shipped, and beside it `examples/argon2id_limit`, although not every benchmark needs that:
/// with an example, dependencies have other features, and what linking takes minutes for would be built twice. The
/// folder where both are.
pub fn release_issuer() -> Result<PathBuf> {
    let both = ["--package", "countersign-issuer", "--bin", "countersign", "--example", "argon2id_limit"];
    let build = ["build", "--quiet", "--release"];
    tools::run(tools::cargo().args(build).args(both)).context("cannot build the issuer")?;
    Ok(tools::target().join("release"))
}
