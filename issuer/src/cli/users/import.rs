//! `countersign users import`: what came of each line that was not imported is told by its number, and a summary at the
//! end. Nothing of a line is repeated, since it has a password hash in it.

use std::collections::HashSet;
use std::fs::File;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use serde::Serialize;

use super::{block_on, print, printable, say, with_db};
use crate::access;
use crate::accounts::ImportedUser;
use crate::accounts::import::{Format, Outcome, Refusal, Rules, Users, store};
use crate::ambient::Clock;
use crate::cli::progress;
use crate::config::Settings;
use crate::db::Db;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A CSV file whose first line names the columns, or an object of JSON in every line.
    file: PathBuf,
    /// How the file is written, if its name does not end in .csv, .jsonl or .ndjson.
    #[arg(long)]
    format: Option<FileFormat>,
    /// A role for users whose line names none; may be repeated; "user" if not given.
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Take every address for verified, whatever the file says.
    #[arg(long)]
    verified: bool,
    /// Say what would come of each line, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print the summary as JSON, for programs.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FileFormat {
    Csv,
    Jsonl,
}

impl FileFormat {
    fn of(file: &Path) -> anyhow::Result<Self> {
        let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        match extension.to_ascii_lowercase().as_str() {
            "csv" => Ok(Self::Csv),
            "jsonl" | "ndjson" => Ok(Self::Jsonl),
            _ => Err(anyhow!("{}: say --format csv or --format jsonl", file.display())),
        }
    }
}

/// Users that are written in one transaction: few enough that a running issuer has its turn in between.
const BATCH: usize = 500;

#[derive(Debug, Default, Serialize)]
struct Summary {
    dry_run: bool,
    imported: u64,
    imported_before: u64,
    refused: u64,
}

pub(super) fn run(settings: &Settings, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { file, format, roles, verified, dry_run, json } = arguments;
    let format = match format.map_or_else(|| FileFormat::of(&file), Ok)? {
        FileFormat::Csv => Format::Csv,
        FileFormat::Jsonl => Format::JsonLines,
    };
    let default_roles = if roles.is_empty() { vec![access::USER.to_owned()] } else { roles };
    let default_roles = settings.roles.check(&default_roles)?;
    let roles = settings.roles.clone();
    let rules = Rules { roles, default_roles, verified, now: Clock::system().now() };
    let cannot = || file.display().to_string();
    let input = File::open(&file).with_context(cannot)?;
    let bar = progress(input.metadata().with_context(cannot)?.len());
    let input = BufReader::with_capacity(1 << 18, bar.wrap_read(input));
    let users = Users::open(input, format, rules).with_context(cannot)?;
    if !users.unread_columns().is_empty() {
        let columns: Vec<String> = users.unread_columns().iter().map(|column| printable(column)).collect();
        tell(&bar, format_args!("columns that are not read: {}", columns.join(", ")));
    }
    let summary = Summary { dry_run, ..Summary::default() };
    let mut import = Import { bar, seen: dry_run.then(Seen::default), last: 0, summary };
    let imported = block_on(with_db(settings, async |db| import.all(users, db).await));
    import.bar.finish_and_clear();
    imported.with_context(|| format!("{}, after line {}", file.display(), import.last))?;
    let Summary { imported, imported_before, refused, .. } = import.summary;
    if json {
        print(serde_json::to_string(&import.summary)?)?;
    } else {
        let verb = if dry_run { "would be imported" } else { "imported" };
        say(format_args!("{verb}: {imported}, imported before: {imported_before}, refused: {refused}"));
    }
    Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Beside the progress bar.
fn tell(bar: &ProgressBar, line: impl std::fmt::Display) {
    bar.suspend(|| drop(writeln!(std::io::stderr(), "{line}")));
}

/// A run under way.
struct Import {
    bar: ProgressBar,
    /// For a run that writes nothing.
    seen: Option<Seen>,
    /// The last line of which came what had to.
    last: u64,
    summary: Summary,
}

type Read = (u64, Result<ImportedUser, Refusal>);

impl Import {
    async fn all(&mut self, mut users: Users<impl BufRead>, db: &Db) -> anyhow::Result<()> {
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(read) = users.read()? {
            batch.push(read);
            if batch.len() == BATCH {
                self.batch(std::mem::take(&mut batch), db).await?;
            }
        }
        self.batch(batch, db).await
    }

    async fn batch(&mut self, batch: Vec<Read>, db: &Db) -> anyhow::Result<()> {
        let mut lines = Vec::with_capacity(batch.len());
        let mut users = Vec::with_capacity(batch.len());
        for (line, read) in batch {
            lines.push((line, read.map(|user| users.push(user)).err()));
        }
        let outcomes = match &mut self.seen {
            Some(seen) => seen.outcomes(&users, db).await?,
            None => {
                let users = Arc::new(users);
                db.write(async move |tx| store::import(tx, &users).await).await?
            }
        };
        let mut outcomes = outcomes.into_iter();
        for (line, refusal) in lines {
            let outcome = refusal.map(Outcome::Refused).or_else(|| outcomes.next());
            match outcome {
                Some(Outcome::Imported) => self.summary.imported += 1,
                Some(Outcome::Already) => self.summary.imported_before += 1,
                Some(Outcome::Refused(refusal)) => {
                    self.summary.refused += 1;
                    tell(&self.bar, format_args!("line {line}: {refusal}"));
                }
                None => {}
            }
            self.last = line;
        }
        Ok(())
    }
}

/// Fingerprints of the users that would have been imported by now: 24 bytes and more for each.
#[derive(Default)]
struct Seen {
    ids: HashSet<u64>,
    emails: HashSet<u64>,
    usernames: HashSet<u64>,
    both: HashSet<u64>,
}

impl Seen {
    async fn outcomes(&mut self, users: &[ImportedUser], db: &Db) -> anyhow::Result<Vec<Outcome>> {
        let mut outcomes = Vec::with_capacity(users.len());
        for user in users {
            let there = store::find(db.reads(), user).await?;
            outcomes.push(there.unwrap_or_else(|| self.outcome(user)));
        }
        Ok(outcomes)
    }

    /// As the database would answer, had it been written to.
    fn outcome(&mut self, user: &ImportedUser) -> Outcome {
        let (id, email) = (user.id.as_str(), user.email.as_str());
        let username = user.username.as_ref().map(|username| fingerprint(username.as_str()));
        if self.both.contains(&fingerprint((id, email))) {
            Outcome::Already
        } else if self.emails.contains(&fingerprint(email)) {
            Outcome::Refused(Refusal::EmailTaken)
        } else if self.ids.contains(&fingerprint(id)) {
            Outcome::Refused(Refusal::IdTaken)
        } else if username.is_some_and(|username| self.usernames.contains(&username)) {
            Outcome::Refused(Refusal::UsernameTaken)
        } else {
            self.ids.insert(fingerprint(id));
            self.emails.insert(fingerprint(email));
            self.both.insert(fingerprint((id, email)));
            self.usernames.extend(username);
            Outcome::Imported
        }
    }
}

fn fingerprint(value: impl std::hash::Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
