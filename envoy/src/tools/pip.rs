//! pip, as it is asked here: for wheels only, for what a hash vouches for, and so that no code of a package runs.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use super::{UNREACHABLE, WRONG_HASH, missing};

pub(super) fn python() -> Command {
    Command::new("python3")
}

/// `pip download` or `pip install` of a requirements file, in which each package has its hashes. Where to is still to say.
pub(super) fn command(verb: &str, requirements: &Path) -> Command {
    let mut pip = python();
    pip.args(["-m", "pip", verb, "--quiet", "--disable-pip-version-check", "--retries", "2"])
        .args(["--no-deps", "--only-binary", ":all:", "--require-hashes", "--requirement"])
        .arg(requirements)
        .env("PIP_ROOT_USER_ACTION", "ignore");
    pip
}

/// Runs it to its end; what it says is shown only if it fails.
pub(super) fn run(pip: &mut Command) -> Result<()> {
    let output = pip.output().map_err(|error| {
        missing(error, "python3", "install Python 3 with pip (Debian: apt install python3-pip)")
    })?;
    ensure!(output.status.success(), why(&String::from_utf8_lossy(&output.stderr)));
    Ok(())
}

/// What pip's messages come down to. Its last line is the same for a version that is not there and a network that is
/// not.
fn why(said: &str) -> String {
    if said.contains("connection broken by") {
        UNREACHABLE.to_owned()
    } else if said.contains("DO NOT MATCH THE HASHES") {
        WRONG_HASH.to_owned()
    } else if let Some((_, found)) = said.split_once("(from versions: ") {
        let found = found.split(')').next().unwrap_or_default();
        let machine = std::env::consts::ARCH;
        format!("the package index has no such version for {machine} (it has: {found})")
    } else {
        let last = said.lines().rfind(|line| !line.trim().is_empty());
        format!("pip: {}", last.unwrap_or("no reason given"))
    }
}
