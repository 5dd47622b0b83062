//! The operator's command. What goes wrong is one line per cause on standard error and a non-zero exit; passwords
//! and keys are never taken from, or shown on, the command line.

mod api_keys;
mod audit;
mod check;
mod dumps;
mod keys;
mod passwords;
mod serve;
mod services;
mod users;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use indicatif::{ProgressBar, ProgressStyle};

use crate::ambient::Ids;
use crate::config::{self, Finding, Settings};
use crate::db::{self, Db, Schema};

/// Issues tokens for services behind an edge that verifies them.
#[derive(Debug, Parser)]
#[command(name = "countersign", version, disable_help_subcommand = true)]
struct Arguments {
    /// The configuration; relative paths in it start from its folder.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "COUNTERSIGN_CONFIG",
        default_value = "countersign.toml"
    )]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the issuer until SIGTERM or SIGINT; SIGHUP reads the keys again.
    Serve,
    /// Check configuration, keys and database, print every finding, exit 1 if one is an error. Or check a filter's
    /// configuration and exit 1 if there is any finding.
    Check(check::Arguments),
    /// Make, list, rotate and revoke signing keys; replace the key that protects credentials.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Make, import, list, change and delete accounts, help who is locked out.
    #[command(subcommand)]
    Users(users::Command),
    /// Say which services may call the internal listener, and with which secrets.
    #[command(subcommand)]
    Services(services::Command),
    /// Take over API keys of another system, show and revoke those of an account.
    #[command(subcommand)]
    ApiKeys(api_keys::Command),
    /// Make the list of breached passwords.
    #[command(subcommand)]
    Passwords(passwords::Command),
    /// Prove that no event is missing or changed, and hand the events over.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Create the database or bring it up to date.
    Migrate,
    /// Print what a shell needs to complete these commands.
    Completions {
        /// The shell to print it for.
        shell: Shell,
    },
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let Arguments { config, command } = Arguments::parse();
    dumps::forbid();
    let result = match command {
        Command::Serve => serve::run(&config).map(|()| ExitCode::SUCCESS),
        Command::Check(arguments) => check::run(&config, &arguments),
        Command::Keys(command) => keys::run(&config, command).map(|()| ExitCode::SUCCESS),
        Command::Users(command) => users::run(&config, command),
        Command::Services(command) => services::run(&config, command).map(|()| ExitCode::SUCCESS),
        Command::ApiKeys(command) => api_keys::run(&config, command),
        Command::Passwords(command) => passwords::run(&config, command).map(|()| ExitCode::SUCCESS),
        Command::Audit(command) => audit::run(&config, command).map(|()| ExitCode::SUCCESS),
        Command::Completions { shell } => {
            // A reader that has gone away would make it panic.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "countersign", &mut script);
            still_read(io::stdout().write_all(&script).and_then(|()| io::stdout().flush()))
                .map(|_| ExitCode::SUCCESS)
        }
        Command::Migrate => migrate(&config).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        // Not eprintln, which panics when nobody reads.
        let _ = writeln!(io::stderr(), "error: {}", with_causes(&error));
        ExitCode::FAILURE
    })
}

/// The error and what caused it. Some say their cause themselves.
fn with_causes(error: &anyhow::Error) -> String {
    error.chain().skip(1).map(ToString::to_string).fold(error.to_string(), |told, cause| {
        if told.ends_with(&cause) { told } else { format!("{told}: {cause}") }
    })
}

/// Tells the operator what was done; it is done, whether that can be told or not.
fn say(line: impl std::fmt::Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Prints a line of what was asked for.
///
/// # Errors
/// What keeps it from being written: a part must not pass for all of it.
fn print(line: impl std::fmt::Display) -> anyhow::Result<()> {
    still_read(writeln!(io::stdout(), "{line}")).map(drop)
}

/// Whether anybody reads standard output still. That nobody does is no error, whatever else keeps it from being written is.
fn still_read(written: io::Result<()>) -> anyhow::Result<bool> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).context("standard output cannot be written"),
    }
}

/// Shows how many of so many bytes have been read, if standard error is a terminal.
fn progress(bytes: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {eta} to go");
    ProgressBar::new(bytes).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Shows how many of so many things have been done, if standard error is a terminal.
fn counted(total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len}, {per_sec}, {eta} to go");
    ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// The settings, with warnings printed; every error is a line of the failure.
fn settings(file: &Path) -> anyhow::Result<Settings> {
    let loaded = config::load(file, environment());
    report(&loaded.findings)?;
    loaded.settings.ok_or_else(|| anyhow!("{}: cannot be used", file.display()))
}

/// The variables of this process that are text; others cannot be settings.
fn environment() -> Vec<(String, String)> {
    let text =
        |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    std::env::vars_os().filter_map(text).collect()
}

/// Prints the warnings.
///
/// # Errors
/// The errors among the findings, a line each.
fn report(findings: &[Finding]) -> anyhow::Result<()> {
    for warning in findings.iter().filter(|finding| !finding.is_error()) {
        let _ = writeln!(io::stderr(), "warning: {warning}");
    }
    let errors: Vec<String> = findings.iter().filter(|f| f.is_error()).map(ToString::to_string).collect();
    if errors.is_empty() { Ok(()) } else { Err(anyhow!(errors.join("\nerror: "))) }
}

/// Runs a short task that needs the database.
fn block_on<T>(task: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(task)
}

/// Opens the database, works with it, and closes it.
async fn with_db<T>(
    settings: &Settings,
    work: impl AsyncFnOnce(&Db) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let db = db::open(settings, Schema::Expect, &Ids::system()).await?;
    let result = work(&db).await;
    db.close().await;
    result
}

fn migrate(config: &Path) -> anyhow::Result<()> {
    let settings = settings(config)?;
    block_on(async { Ok(db::migrate(&settings.database).await?) })?;
    say(format_args!("{} is up to date", settings.database.url));
    Ok(())
}
