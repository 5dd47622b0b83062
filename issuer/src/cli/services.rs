//! `countersign services`: who may call the internal listener, and get tokens for calls through the edge. A secret is shown once, on standard output and by itself, so
//! that it can be sent where it is needed; one that was drawn elsewhere comes by standard input or a file.

use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::{Args, Subcommand};
use serde::Serialize;
use zeroize::Zeroizing;

use super::{block_on, print, say, settings, with_db};
use crate::ambient::Entropy;
use crate::audit::Origin;
use crate::config::{Settings, readable_by_others};
use crate::secrets::MachineSecret;
use crate::services::standing::{self, Added};
use crate::services::{MOST_SECRETS, PREFIX, Scopes, ServiceName, ServiceToken, store};
use crate::sessions::Rules;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Give a service a secret, another one if it has some; the secret alone is printed, once.
    ///
    /// It is for X-Service-Token on /v1/internal, and the client_secret at /v1/auth/token.
    Add {
        /// What the service is called: a-z, 0-9, '_', '-' and '.'.
        name: String,
        /// What it may do: a call of /v1/internal, such as credentials:read, or a permission at the edge; may be repeated.
        #[arg(long = "scope", value_name = "SCOPE", required = true)]
        scopes: Vec<String>,
        #[command(flatten)]
        given: Given,
    },
    /// Show the secrets that are good, without the secrets.
    List {
        /// As JSON, for programs.
        #[arg(long)]
        json: bool,
    },
    /// Take a service's secrets away: each is refused from now on, and so are the tokens that it was exchanged for.
    Revoke {
        /// What the service is called.
        name: String,
        /// Only the one with this id, as `services list` shows it.
        #[arg(long)]
        id: Option<String>,
    },
}

#[derive(Debug, Args)]
#[group(multiple = false)]
pub(super) struct Given {
    /// Take the secret from the first line of standard input instead of drawing one.
    #[arg(long)]
    secret_stdin: bool,
    /// Take the secret from the first line of a file instead of drawing one.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

pub(super) fn run(config: &Path, command: Command) -> anyhow::Result<()> {
    let settings = settings(config)?;
    match command {
        Command::Add { name, scopes, given } => {
            let name = parse_name(&name)?;
            let scopes = Scopes::read(&scopes, &settings.service_permissions())?;
            block_on(add(&settings, name, scopes, given))
        }
        Command::List { json } => block_on(list(&settings, json)),
        Command::Revoke { name, id } => block_on(revoke(&settings, parse_name(&name)?, id)),
    }
}

fn parse_name(name: &str) -> anyhow::Result<ServiceName> {
    ServiceName::parse(name).map_err(|error| anyhow!("{name:?} {error}"))
}

impl Given {
    /// The secret that was drawn elsewhere, if there is one.
    fn secret(&self) -> anyhow::Result<Option<MachineSecret>> {
        let mut line = Zeroizing::new(String::new());
        match &self.secret_file {
            Some(file) => {
                let cannot = || file.display().to_string();
                let text = Zeroizing::new(std::fs::read_to_string(file).with_context(cannot)?);
                line.push_str(text.lines().next().unwrap_or_default());
                if let Some(warning) = readable_by_others(file) {
                    let _ = writeln!(std::io::stderr(), "warning: {warning}");
                }
            }
            None if self.secret_stdin => {
                let read = std::io::stdin().lock().read_line(&mut line);
                read.context("cannot read the secret from standard input")?;
            }
            None => return Ok(None),
        }
        let secret = MachineSecret::given(PREFIX, line.trim_end_matches(['\r', '\n']));
        secret.map(Some).map_err(|error| anyhow!("the secret {error}"))
    }
}

async fn add(settings: &Settings, name: ServiceName, scopes: Scopes, given: Given) -> anyhow::Result<()> {
    let drawn = given.secret()?;
    let shown = drawn.is_none();
    let secret = drawn.unwrap_or_else(|| MachineSecret::draw(PREFIX, &Entropy::system()));
    let (hash, called) = (secret.sha256(), name.clone());
    let added = with_db(settings, async move |db| {
        let work =
            db.write(async move |tx| standing::add(tx, &called, &scopes, &hash, &Origin::command()).await);
        Ok(work.await?)
    });
    let id = match added.await? {
        Added::Done(id) => id,
        Added::SecretInUse => bail!("this secret is in use already; draw another one"),
        Added::TooMany => {
            bail!("{name} has {MOST_SECRETS} secrets already; `countersign services revoke {name} --id ID`")
        }
    };
    // The secret is all that goes to standard output.
    let _ = writeln!(std::io::stderr(), "added {name} ({id})");
    if shown { print(secret.expose()) } else { Ok(()) }
}

/// An entry of `services list`.
#[derive(Debug, Serialize)]
struct Listed {
    id: String,
    name: String,
    scopes: Vec<String>,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339, to within some minutes.
    last_used_at: Option<String>,
}

impl From<ServiceToken> for Listed {
    fn from(token: ServiceToken) -> Self {
        let ServiceToken { id, name, scopes, created_at, last_used_at } = token;
        Self {
            id,
            name: name.to_string(),
            scopes: scopes.iter().map(str::to_owned).collect(),
            created_at: created_at.to_string(),
            last_used_at: last_used_at.map(|at| at.to_string()),
        }
    }
}

async fn list(settings: &Settings, json: bool) -> anyhow::Result<()> {
    let tokens = with_db(settings, async |db| Ok(store::list(db.reads()).await?)).await?;
    let listed: Vec<Listed> = tokens.into_iter().map(Listed::from).collect();
    if json {
        return print(serde_json::to_string_pretty(&listed)?);
    }
    print(format_args!("{:<36}  {:<24} {:<20}  {:<20}  SCOPES", "ID", "NAME", "CREATED", "LAST USED"))?;
    for Listed { id, name, scopes, created_at, last_used_at } in listed {
        let (used, scopes) = (last_used_at.unwrap_or_else(|| "never".to_owned()), scopes.join(","));
        print(format_args!("{id:<36}  {name:<24} {created_at:<20}  {used:<20}  {scopes}"))?;
    }
    Ok(())
}

async fn revoke(settings: &Settings, name: ServiceName, id: Option<String>) -> anyhow::Result<()> {
    let (called, rules) = (name.clone(), Rules::from(settings));
    let revoked = with_db(settings, async move |db| {
        let work = db.write(async move |tx| {
            standing::revoke(tx, &called, id.as_deref(), &Origin::command(), rules).await
        });
        Ok(work.await?)
    });
    let revoked = revoked.await?;
    ensure!(!revoked.is_empty(), "there is no such secret of {name}; `countersign services list` shows all");
    for id in revoked {
        say(format_args!("revoked {name} ({id})"));
    }
    Ok(())
}
