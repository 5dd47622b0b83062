//! `countersign check`: everything that would stop or trouble `serve`, or a filter, without changing anything.

mod envoy_file;
mod filter;

use std::path::Path;
use std::process::ExitCode;

use super::serve::{breached_finding, examine};
use super::{block_on, environment, say};
use crate::ambient::{Clock, Entropy};
use crate::config::{self, Finding, Settings, Severity, readable_by_others};
use crate::db;
use crate::envelope::{self, Envelope};
use crate::passwords::BreachedList;

pub(super) use filter::Arguments;

pub(super) fn run(config: &Path, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if let Some(code) = filter::run(arguments)? {
        return Ok(code);
    }
    let loaded = config::load(config, environment());
    let mut findings = loaded.findings;
    if let Some(settings) = &loaded.settings {
        findings.extend(examine(settings, Clock::system().now().seconds()).1);
        findings.extend(breached(settings));
        findings.extend(encryption(settings));
        findings.extend(database(settings));
        // It holds the hashes of passwords.
        let open = settings.database.url.file().and_then(readable_by_others);
        findings.extend(open.map(|text| Finding::warning(settings.file.display(), "database.url", text)));
    }
    for finding in &findings {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        say(format_args!("{severity}: {finding}"));
    }
    let errors = findings.iter().filter(|finding| finding.is_error()).count();
    let warnings = findings.len() - errors;
    say(format_args!("{}: errors: {errors}, warnings: {warnings}", config.display()));
    Ok(if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Damage inside the list, which `serve` has no time to look for; the rest was examined as it does.
fn breached(settings: &Settings) -> Option<Finding> {
    let list = BreachedList::configured(&settings.passwords).ok()??;
    list.verify().err().map(|error| breached_finding(settings, &error))
}

/// Whether credentials could be protected. `serve` does not ask: without them, everything else goes on.
fn encryption(settings: &Settings) -> Option<Finding> {
    let envelope = Envelope::new(&settings.encryption, Entropy::system());
    let error = block_on(async { Ok(envelope.probe().await) }).ok()?.err()?;
    let error = Some(error).filter(|error| *error != envelope::Error::Off)?;
    // Keys from files always can.
    Some(Finding::error(settings.file.display(), "encryption.kms_key", error.to_string()))
}

fn database(settings: &Settings) -> Option<Finding> {
    let source = settings.file.display();
    let pending = block_on(async { Ok(db::pending_migrations(&settings.database).await?) });
    let file = &settings.database.url;
    let absolute = file.file().and_then(|file| std::path::absolute(file).ok());
    let folder_exists = absolute.is_some_and(|file| file.parent().is_some_and(Path::is_dir));
    match pending {
        Ok(Some(0)) => None,
        Ok(Some(pending)) => {
            let message =
                format!("database {file}: {pending} migrations to come; serve and migrate run them");
            Some(Finding::warning(source, "database.url", message))
        }
        Ok(None) if folder_exists => {
            let message = format!("database {file}: does not exist yet; serve and migrate create it");
            Some(Finding::warning(source, "database.url", message))
        }
        Ok(None) => {
            let message = format!("database {file}: its folder does not exist");
            Some(Finding::error(source, "database.url", message))
        }
        // It names the key itself.
        Err(error) => Some(Finding::error(source, "", format!("{error:#}"))),
    }
}
