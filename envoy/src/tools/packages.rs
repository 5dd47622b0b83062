//! Packages that tests play with, Python's and Node's: pinned by version and hash, and installed into a folder of their
//! own.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::{fs, process};

use anyhow::{Context, Result};

use super::{npm, pip, target};

/// The Python packages of a requirements file: the folder with them, for `PYTHONPATH`.
pub(super) fn of_python(name: &str, requirements: &Path) -> Result<PathBuf> {
    provide(name, requirements, |into| {
        pip::run(pip::command("install", requirements).arg("--target").arg(into))
    })
}

/// The Node packages that `package-lock.json` in a folder names: the folder with them, for `NODE_PATH`.
pub(super) fn of_node(name: &str, folder: &Path) -> Result<PathBuf> {
    let home = provide(name, &folder.join("package-lock.json"), |into| npm::install(folder, into))?;
    Ok(home.join("node_modules"))
}

/// A folder that is installed anew when it is not there as `pins` says.
fn provide(name: &str, pins: &Path, install: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _alone = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let wanted = fs::read(pins).with_context(|| format!("cannot read {}", pins.display()))?;
    let home = target().join("tools").join(name);
    // What was installed last lies beside it.
    let stamp = "installed";
    if fs::read(home.join(stamp)).is_ok_and(|installed| installed == wanted) {
        return Ok(home);
    }
    eprintln!("installing packages: {name}");
    let parts = home.with_extension(format!("partial-{}", process::id()));
    let outcome =
        install(&parts).with_context(|| format!("cannot install {}", pins.display())).and_then(|()| {
            if home.exists() {
                fs::remove_dir_all(&home)?;
            }
            fs::write(parts.join(stamp), &wanted)?;
            Ok(fs::rename(&parts, &home)?)
        });
    if parts.exists() {
        fs::remove_dir_all(&parts)?;
    }
    outcome.map(|()| home)
}
