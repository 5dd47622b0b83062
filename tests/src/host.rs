//! A small proxy-wasm host (ABI 0.2.1) on wasmtime that runs the module as it is shipped, and beside it the same
//! module on the `proxy-wasm` crate: whatever is done to one is done to the other, and nothing may come of it that
//! differs.
//!
//! It stands in for Envoy by behaviour: header maps, shared data with compare-and-swap among several workers, HTTP
//! calls that a test answers, metrics, logs, and a clock that a test moves. It never looks at which host calls are
//! made, or in which order; it counts them, because each costs. A trap, or a call that runs away, panics the test.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use countersign_stack::artifacts;
use wasmtime::error::Context;
use wasmtime::{Config, Engine, Module, Result};

mod abi;
mod pair;
mod process;
mod tokens;
mod traffic;
mod worker;

pub use pair::{Root, Stream, Worker};
pub use process::{LogLine, Process};
pub use tokens::{Issuer, jwks};
pub use traffic::{Headers, Outcome, Refusal, Request};
pub use worker::Call;

/// The time at which every process begins: seconds since the Unix epoch.
pub const START: i64 = 1_800_000_000;

/// What one call into the module may cost before it counts as running away. A request with a signature to check
/// takes less than a tenth of it.
const FUEL: u64 = 200_000_000;

/// How the module speaks to its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// By our own ABI: as it is shipped.
    Own,
    /// By the `proxy-wasm` crate.
    Sdk,
}

impl Build {
    pub const ALL: [Self; 2] = [Self::Own, Self::Sdk];

    /// The names of what the module exports.
    pub fn exports(self) -> BTreeSet<String> {
        compiled(self).module.exports().map(|export| export.name().to_owned()).collect()
    }

    /// What the module imports: modules and names.
    pub fn imports(self) -> Vec<(String, String)> {
        let imports = compiled(self).module.imports();
        imports.map(|import| (import.module().to_owned(), import.name().to_owned())).collect()
    }
}

/// A module that is to be tested instead of those that are built here.
fn given() -> Option<PathBuf> {
    std::env::var_os("COUNTERSIGN_FILTER_WASM").map(PathBuf::from)
}

/// A module and what it was compiled for.
struct Compiled {
    engine: Engine,
    module: Module,
}

/// Each is compiled once per test binary.
fn compiled(build: Build) -> &'static Compiled {
    static OWN: OnceLock<Compiled> = OnceLock::new();
    static SDK: OnceLock<Compiled> = OnceLock::new();
    let compiled = match build {
        Build::Own => &OWN,
        Build::Sdk => &SDK,
    };
    compiled.get_or_init(|| {
        let path = match build {
            Build::Own => given().map_or_else(artifacts::filter, Ok),
            Build::Sdk => artifacts::sdk_filter(),
        };
        let path = path.expect("the filter's module can be built");
        compile(&path).expect("the filter's module can be compiled")
    })
}

fn compile(path: &Path) -> Result<Compiled> {
    let mut config = Config::new();
    config.consume_fuel(true);
    let engine = Engine::new(&config)?;
    let module = Module::from_file(&engine, path).with_context(|| path.display().to_string())?;
    Ok(Compiled { engine, module })
}
