//! `countersign audit`: what happened, proved and handed over.

use std::io::{BufWriter, Write};
use std::path::Path;

use clap::Subcommand;

use super::{block_on, print, settings, still_read, with_db};
use crate::audit::chain::{Head, Link};
use crate::audit::export::{CSV_HEADER, Line};
use crate::audit::{store, verify::verify};
use crate::config::Settings;
use crate::db::Db;
use crate::secrets::Ring;

/// Events that are read at a time.
const STRETCH: i64 = 1000;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Prove that no event was removed, changed, inserted or moved; exit 1 and name the first one that was.
    Verify {
        /// A head that was kept elsewhere, from the log or an earlier run: the chain has to go through it.
        #[arg(long, value_name = "NUMBER:SEAL")]
        head: Option<Head>,
    },
    /// Print every event, oldest first, a line of JSON each.
    Export {
        /// As CSV for spreadsheets, in which no cell is a formula.
        #[arg(long)]
        csv: bool,
    },
}

pub(super) fn run(config: &Path, command: Command) -> anyhow::Result<()> {
    let settings = settings(config)?;
    match command {
        Command::Verify { head } => block_on(prove(&settings, head)),
        Command::Export { csv } => block_on(with_db(&settings, async |db| export(db, csv).await)),
    }
}

async fn prove(settings: &Settings, head: Option<Head>) -> anyhow::Result<()> {
    let ring = Ring::from(&settings.archive_secrets());
    let proof = with_db(settings, async |db| Ok(verify(db, &ring, head.as_ref()).await?)).await?;
    if proof.removed.sequence > 0 {
        print(format_args!("events up to {} were removed by retention", proof.removed.sequence))?;
    }
    print(format_args!("sealed events, all as they were written: {}", proof.sealed))?;
    print(format_args!("waiting to be sealed, none of them changed: {}", proof.unsealed))?;
    print(format_args!("head: {}", proof.head))
}

/// The sealed events in the order of the chain, then those that wait.
async fn export(db: &Db, csv: bool) -> anyhow::Result<()> {
    let mut out = BufWriter::new(std::io::stdout());
    if csv && !still_read(writeln!(out, "{CSV_HEADER}"))? {
        return Ok(());
    }
    let (mut after, mut id) = (0, String::new());
    loop {
        let links = store::sealed(db.reads(), after, &id, STRETCH).await?;
        let Some(last) = links.last() else { break };
        (after, id) = (last.sequence.unwrap_or(i64::MAX), last.event.id.clone());
        if !write(&mut out, links, csv)? {
            return Ok(());
        }
    }
    id.clear();
    loop {
        // Also those that are sealed while others are read: they would else be among neither.
        let links = store::unsealed_at(db.reads(), after, &id, STRETCH).await?;
        let Some(last) = links.last() else { break };
        id.clone_from(&last.event.id);
        if !write(&mut out, links, csv)? {
            return Ok(());
        }
    }
    still_read(out.flush()).map(drop)
}

/// Whether someone still reads.
fn write(out: &mut impl Write, links: Vec<Link>, csv: bool) -> anyhow::Result<bool> {
    for link in links {
        let line = Line::from(link);
        let text = if csv { line.csv() } else { serde_json::to_string(&line)? };
        if !still_read(writeln!(out, "{text}"))? {
            return Ok(false);
        }
    }
    Ok(true)
}
