//! A small proxy-wasm host (ABI 0.2.1) on wasmtime that runs the module as it is shipped.
//!
//! It stands in for Envoy by behaviour: header maps, shared data with compare-and-swap among several workers, HTTP
//! calls that a test answers, metrics, logs, and a clock that a test moves. It never looks at which host calls are
//! made, or in which order; it counts them, because each costs. A trap, or a call that runs away, panics the test.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use wasmtime::error::Context;
use wasmtime::{Config, Engine, Module, Result};

mod abi;
mod process;
mod tokens;
mod traffic;
mod worker;

pub use process::{LogLine, Process};
pub use tokens::{Issuer, jwks};
pub use traffic::{Headers, Outcome, Refusal, Request};
pub use worker::{Call, Root, Worker};

/// The time at which every process begins: seconds since the Unix epoch.
pub const START: i64 = 1_800_000_000;

/// What one call into the module may cost before it counts as running away. A request with a signature to check
/// takes less than a tenth of it.
const FUEL: u64 = 200_000_000;

/// The shipped module, compiled once per test binary.
struct Shipped {
    engine: Engine,
    module: Module,
}

/// The names of what the shipped module exports.
pub fn exports() -> BTreeSet<String> {
    shipped().module.exports().map(|export| export.name().to_owned()).collect()
}

/// What the shipped module imports: modules and names.
pub fn imports() -> Vec<(String, String)> {
    let imports = shipped().module.imports();
    imports.map(|import| (import.module().to_owned(), import.name().to_owned())).collect()
}

fn shipped() -> &'static Shipped {
    static SHIPPED: OnceLock<Shipped> = OnceLock::new();
    SHIPPED.get_or_init(|| {
        let path = match std::env::var_os("COUNTERSIGN_FILTER_WASM") {
            Some(path) => PathBuf::from(path),
            None => countersign_stack::artifacts::filter().expect("the filter's module can be built"),
        };
        compile(&path).expect("the filter's module can be compiled")
    })
}

fn compile(path: &Path) -> Result<Shipped> {
    let mut config = Config::new();
    config.consume_fuel(true);
    let engine = Engine::new(&config)?;
    let module = Module::from_file(&engine, path).with_context(|| path.display().to_string())?;
    Ok(Shipped { engine, module })
}
