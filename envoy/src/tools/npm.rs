//! npm, as it is asked here: for what a lock file names and vouches for, and so that no code of a package runs.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{UNREACHABLE, WRONG_HASH, missing};

/// Installs what `package.json` and `package-lock.json` of one folder say into another.
pub(super) fn install(from: &Path, into: &Path) -> Result<()> {
    fs::create_dir_all(into).with_context(|| format!("cannot create {}", into.display()))?;
    for file in ["package.json", "package-lock.json"] {
        fs::copy(from.join(file), into.join(file))
            .with_context(|| format!("cannot copy {}", from.join(file).display()))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]).current_dir(into);
    let output = npm.output().map_err(|error| {
        missing(error, "npm", "install Node.js 20 or later with npm (Debian: apt install nodejs npm)")
    })?;
    ensure!(output.status.success(), why(&String::from_utf8_lossy(&output.stderr)));
    Ok(())
}

fn why(said: &str) -> String {
    const NO_NETWORK: [&str; 5] =
        ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "ETIMEDOUT", "ERR_SOCKET_TIMEOUT"];
    if NO_NETWORK.iter().any(|code| said.contains(code)) {
        return UNREACHABLE.to_owned();
    }
    if said.contains("EINTEGRITY") {
        return WRONG_HASH.to_owned();
    }
    // Its last line names the log file.
    let told = said.lines().find(|line| line.starts_with("npm error") && !line.contains("error code"));
    format!("npm: {}", told.map_or("no reason given", |line| line.trim_start_matches("npm error").trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offline_is_told() {
        let nobody = format!("127.0.0.1:{}", crate::stack::free_port().unwrap());
        let (from, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let package = serde_json::json!({"dependencies": {"ms": "2.1.3"}});
        let lock = serde_json::json!({"lockfileVersion": 3, "packages": {
            "": package,
            "node_modules/ms": {"version": "2.1.3", "resolved": format!("http://{nobody}/ms.tgz")},
        }});
        fs::write(from.path().join("package.json"), package.to_string()).unwrap();
        fs::write(from.path().join("package-lock.json"), lock.to_string()).unwrap();
        let settings = "fetch-retries=0\ncache=cache\nnoproxy=127.0.0.1\n";
        fs::write(into.path().join(".npmrc"), settings).unwrap();
        let refusal = install(from.path(), into.path()).unwrap_err();
        assert_eq!(refusal.to_string(), UNREACHABLE);
    }
}
