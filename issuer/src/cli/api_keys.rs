//! `countersign api-keys`: keys of another system are taken over, and those of any account shown and revoked.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, ensure};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::{block_on, print, progress, say, settings, with_db};
use crate::accounts::{self, Email};
use crate::ambient::{Ids, UnixTime};
use crate::api_keys::import::{self, Imported, Keys, Outcome, Refusal};
use crate::api_keys::{ApiKey, ApiKeyBody, ApiKeyId, KeyHash, ending, store};
use crate::audit::Origin;
use crate::config::Settings;
use crate::db::Db;
use crate::sessions::Rules;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Take over the keys of another system by their hashes: they go on working.
    Import(Arguments),
    /// Show the keys of an account, newest first.
    List {
        /// The address of the account.
        email: String,
        /// As JSON, for programs.
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key, whoever's it is: the edge refuses it at once.
    Revoke {
        /// The id of the key, as `api-keys list` shows it.
        id: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A file with an object of JSON in every line.
    file: PathBuf,
    /// Say what would come of each line, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print the summary as JSON, for programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Path, command: Command) -> anyhow::Result<ExitCode> {
    let settings = settings(config)?;
    match command {
        Command::Import(arguments) => return import_file(&settings, &arguments),
        Command::List { email, json } => block_on(list(&settings, &email, json))?,
        Command::Revoke { id } => block_on(revoke(&settings, &id))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Keys that are written in one transaction: few enough that a running issuer has its turn in between.
const BATCH: usize = 500;

#[derive(Debug, Default, Serialize)]
struct Summary {
    dry_run: bool,
    imported: u64,
    imported_before: u64,
    refused: u64,
}

fn import_file(settings: &Settings, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { file, dry_run, json } = arguments;
    let cannot = || file.display().to_string();
    let input = File::open(file).with_context(cannot)?;
    let bar = progress(input.metadata().with_context(cannot)?.len());
    let input = BufReader::with_capacity(1 << 18, bar.wrap_read(input));
    let keys = Keys::new(input, settings.roles.clone(), Ids::system());
    let mut import = Import {
        seen: dry_run.then(HashSet::new),
        last: 0,
        summary: Summary { dry_run: *dry_run, ..Summary::default() },
        tell: |line| bar.suspend(|| drop(writeln!(std::io::stderr(), "{line}"))),
    };
    let imported = block_on(with_db(settings, async |db| import.all(keys, db).await));
    bar.finish_and_clear();
    imported.with_context(|| format!("{}, after line {}", file.display(), import.last))?;
    let Summary { imported, imported_before, refused, .. } = import.summary;
    if *json {
        print(serde_json::to_string(&import.summary)?)?;
    } else {
        let verb = if *dry_run { "would be imported" } else { "imported" };
        say(format_args!("{verb}: {imported}, imported before: {imported_before}, refused: {refused}"));
    }
    Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A run under way.
struct Import<T> {
    /// For a run that writes nothing: the keys that would have been imported by now.
    seen: Option<HashSet<KeyHash>>,
    /// The last line of which came what had to.
    last: u64,
    summary: Summary,
    tell: T,
}

impl<T: Fn(String)> Import<T> {
    async fn all(&mut self, mut keys: Keys<impl BufRead>, db: &Db) -> anyhow::Result<()> {
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(read) = keys.read()? {
            batch.push(read);
            if batch.len() == BATCH {
                self.batch(std::mem::take(&mut batch), db).await?;
            }
        }
        self.batch(batch, db).await
    }

    async fn batch(&mut self, batch: Vec<(u64, Result<Imported, Refusal>)>, db: &Db) -> anyhow::Result<()> {
        let mut lines = Vec::with_capacity(batch.len());
        let mut keys = Vec::with_capacity(batch.len());
        for (line, read) in batch {
            lines.push((line, read.map(|key| keys.push(key)).err()));
        }
        let outcomes = if self.seen.is_some() {
            self.would_be(&keys, db).await?
        } else {
            let keys = Arc::new(keys);
            db.write(async move |tx| import::import(tx, &keys).await).await?
        };
        let mut outcomes = outcomes.into_iter();
        for (line, refusal) in lines {
            match refusal.map(Outcome::Refused).or_else(|| outcomes.next()) {
                Some(Outcome::Imported) => self.summary.imported += 1,
                Some(Outcome::Already) => self.summary.imported_before += 1,
                Some(Outcome::Refused(refusal)) => {
                    self.summary.refused += 1;
                    (self.tell)(format!("line {line}: {refusal}"));
                }
                None => {}
            }
            self.last = line;
        }
        Ok(())
    }

    async fn would_be(&mut self, keys: &[Imported], db: &Db) -> anyhow::Result<Vec<Outcome>> {
        let mut outcomes = Vec::with_capacity(keys.len());
        for key in keys {
            let outcome = import::try_out(db, key).await?;
            let new = self.seen.as_mut().is_none_or(|seen| seen.insert(key.hash().clone()));
            let again = outcome == Outcome::Imported && !new;
            outcomes.push(if again { Outcome::Already } else { outcome });
        }
        Ok(outcomes)
    }
}

async fn list(settings: &Settings, email: &str, json: bool) -> anyhow::Result<()> {
    let address = Email::parse(email).map_err(|error| anyhow!("{email:?} {error}"))?;
    let keys = with_db(settings, async |db| {
        let found = accounts::store::find_for_login(db.reads(), &address).await?;
        let (user, _) = found.with_context(|| format!("there is no account with {address}"))?;
        Ok(store::page(db.reads(), &user.id, None, usize::MAX).await?)
    });
    let keys = keys.await?;
    if json {
        let shown: Vec<ApiKeyBody> = keys.into_iter().map(ApiKeyBody::from).collect();
        return print(serde_json::to_string_pretty(&shown)?);
    }
    print(format_args!("{:<36}  {:<16} {:<20}  {:<20}  NAME", "ID", "PREFIX", "LAST USED", "EXPIRES"))?;
    for ApiKey { id, name, hint, expires_at, last_used_at, .. } in keys {
        let moment = |at: Option<UnixTime>| at.map_or_else(|| "never".to_owned(), |at| at.to_string());
        let (id, used, expires) = (id.as_str(), moment(last_used_at), moment(expires_at));
        // Names have nothing in them that acts on a terminal.
        print(format_args!("{id:<36}  {hint:<16} {used:<20}  {expires:<20}  {name}"))?;
    }
    Ok(())
}

async fn revoke(settings: &Settings, text: &str) -> anyhow::Result<()> {
    let id = ApiKeyId::parse(text).ok_or_else(|| anyhow!("{text:?} is no id of an API key"))?;
    let rules = Rules::from(settings);
    let revoked = with_db(settings, async |db| {
        let none = || anyhow!("there is no API key {id}");
        let (key, user) = store::find_with_user(db.reads(), &id).await?.ok_or_else(none)?;
        let owner = user.id.clone();
        let work =
            db.write(async move |tx| ending::end_one(tx, &owner, &key.id, &Origin::command(), rules).await);
        ensure!(work.await?, none());
        Ok(user.email)
    });
    say(format_args!("revoked {id} of {}", revoked.await?));
    Ok(())
}
