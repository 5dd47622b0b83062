//! Python packages that a test imports: pinned and checked by the hashes of a requirements file, and installed into a
//! folder of their own, without running code of theirs.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::{fs, process};

use anyhow::{Context, Result, bail};

use super::wheel::{python, why_pip_failed};
use super::{missing, target};

/// The folder with the packages, for `PYTHONPATH`; installed if it is not there as `requirements` says.
pub(super) fn provide(name: &str, requirements: &Path) -> Result<PathBuf> {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _alone = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let wanted = fs::read(requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    let home = target().join("tools").join(name);
    // What was installed last lies beside it.
    let stamp = home.join("requirements.txt");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(home);
    }
    eprintln!("installing Python packages: {name}");
    let parts = home.with_extension(format!("partial-{}", process::id()));
    let outcome = install(requirements, &parts).and_then(|()| {
        if home.exists() {
            fs::remove_dir_all(&home)?;
        }
        fs::write(parts.join("requirements.txt"), &wanted)?;
        Ok(fs::rename(&parts, &home)?)
    });
    if parts.exists() {
        fs::remove_dir_all(&parts)?;
    }
    outcome.map(|()| home)
}

fn install(requirements: &Path, into: &Path) -> Result<()> {
    let mut pip = python();
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--retries",
        "2",
    ])
    .args(["--only-binary", ":all:", "--require-hashes", "--requirement"])
    .arg(requirements)
    .arg("--target")
    .arg(into)
    .env("PIP_ROOT_USER_ACTION", "ignore");
    let output = pip.output().map_err(|error| {
        missing(error, "python3", "install Python 3 with pip (Debian: apt install python3-pip)")
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("cannot install {}: {}", requirements.display(), why_pip_failed(&said));
    }
    Ok(())
}
