//! What cargo builds and the stack runs: the issuer, the filter's module, and this program with the stand-ins.

mod exports;
mod image;

use std::fs;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};

use crate::tools;

/// Paths of everything that the stack starts.
#[derive(Debug, Clone)]
pub struct Artifacts {
    pub issuer: PathBuf,
    pub filter: PathBuf,
    pub envoy: PathBuf,
    pub stack: PathBuf,
}

impl Artifacts {
    /// Provides the tools and builds what is out of date.
    pub fn provide() -> Result<Self> {
        Ok(Self { envoy: tools::envoy()?, filter: filter()?, issuer: issuer()?, stack: stack()? })
    }
}

/// The issuer, with the profile and the features that everything native here is built with: see `.cargo/config.toml`.
fn issuer() -> Result<PathBuf> {
    build("the issuer", &["--workspace", "--bin", "countersign"], "debug/countersign")
}

/// This program. Nothing to do under `cargo up`; a test that was started alone may find it out of date.
fn stack() -> Result<PathBuf> {
    build("the stand-ins", &["--workspace", "--bin", "countersign-stack"], "debug/countersign-stack")
}

/// The filter's module, as it is shipped.
pub fn filter() -> Result<PathBuf> {
    tools::wasm_target()?;
    let target = ["--target", tools::WASM_TARGET, "--profile", "wasm"];
    let package = ["--package", "countersign-filter", "--lib"];
    build("the filter", &[&package[..], &target[..]].concat(), "wasm32-wasip1/wasm/countersign_filter.wasm")
}

/// What the filter asks of a host, and `proxy_on_delete`, by which the SDK lets go of a stream.
const SDK_EXPORTS: [&str; 13] = [
    "memory",
    "_initialize",
    "proxy_abi_version_0_2_1",
    "proxy_on_memory_allocate",
    "proxy_on_context_create",
    "proxy_on_vm_start",
    "proxy_on_configure",
    "proxy_on_tick",
    "proxy_on_http_call_response",
    "proxy_on_request_headers",
    "proxy_on_request_trailers",
    "proxy_on_response_body",
    "proxy_on_delete",
];

/// The same filter on the `proxy-wasm` crate, without the callbacks that it does not need.
pub fn sdk_filter() -> Result<PathBuf> {
    tools::wasm_target()?;
    let target = ["--target", tools::WASM_TARGET, "--profile", "wasm-sdk"];
    let package = ["--package", "countersign-filter", "--lib", "--features", "sdk"];
    let linked = build(
        "the filter on the SDK",
        &[&package[..], &target[..]].concat(),
        "wasm32-wasip1/wasm-sdk/countersign_filter.wasm",
    )?;
    let module = exports::only(&fs::read(&linked)?, |name| SDK_EXPORTS.contains(&name))
        .with_context(|| linked.display().to_string())?;
    let file = linked.with_file_name("countersign_filter_sdk.wasm");
    // Tests do this at once, threads of one program and programs: no one finds half a file, or none.
    static WRITING: Mutex<()> = Mutex::new(());
    let _alone = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let part = file.with_extension(format!("{}.part", std::process::id()));
    fs::write(&part, module)
        .and_then(|()| fs::rename(&part, &file))
        .with_context(|| file.display().to_string())?;
    Ok(file)
}

/// The filter as an image that Istio and Envoy Gateway load, in a folder as registries' clients take it (OCI image layout); with
/// the digest of its manifest.
pub fn filter_image() -> Result<(PathBuf, String)> {
    let folder = tools::target().join("wasm/oci");
    let digest = image::write(&fs::read(filter()?)?, &folder)
        .with_context(|| format!("cannot write {}", folder.display()))?;
    Ok((folder, digest))
}

/// A first build takes minutes. On a terminal cargo shows how far it is.
fn build(what: &str, arguments: &[&str], artifact: &str) -> Result<PathBuf> {
    let mut cargo = tools::cargo();
    cargo.args(["build", "--locked"]).args(arguments);
    eprintln!("building {what}; the first time takes minutes");
    if !std::io::stderr().is_terminal() {
        cargo.arg("--quiet");
    }
    tools::run(&mut cargo).with_context(|| format!("cannot build {what}"))?;
    let artifact = tools::target().join(artifact);
    ensure!(artifact.is_file(), "cargo left no {}", artifact.display());
    Ok(artifact)
}
