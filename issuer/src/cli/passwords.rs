//! `countersign passwords`: the list of those that leaked elsewhere.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::Subcommand;

use super::{progress, say, settings};
use crate::passwords::breached::{self, Built, Sources};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make the list that passwords.breached_file names, from SHA-1 hashes with counts; a restart takes it up.
    ImportBreached {
        /// Files of HASH:COUNT lines sorted by hash, or a folder of files named after ranges (00F1A.txt).
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Leave out passwords that were seen fewer times.
        #[arg(long, value_name = "COUNT", default_value_t = 1)]
        min_count: u64,
    },
}

pub(super) fn run(config: &Path, command: Command) -> anyhow::Result<()> {
    let settings = settings(config)?;
    let Command::ImportBreached { files, min_count } = command;
    let target = settings.passwords.breached_file.ok_or_else(|| {
        anyhow!("{}: passwords.breached_file: is required to say where the list shall be", config.display())
    })?;
    let sources = Sources::find(&files)?;
    let bar = progress(sources.bytes());
    // It belongs to whoever reads the configuration.
    let like = std::fs::metadata(config).with_context(|| config.display().to_string())?;
    let built = breached::build(sources, &target, &like, min_count, |bytes| bar.set_position(bytes));
    bar.finish_and_clear();
    let Built { read, kept } = built?;
    say(format_args!("{}: {kept} passwords of {read} hashes", target.display()));
    Ok(())
}
