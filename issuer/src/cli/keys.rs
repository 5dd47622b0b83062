//! `countersign keys`: the schedule of signing keys, as lines of the configuration and files beside it. A private
//! key is written once, readable by its owner only, and never printed.

mod published;
mod rewrap;

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Subcommand;
use countersign_claims::SigningKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{EncodePrivateKey as _, KeypairBytes};
use serde::Serialize;

use self::published::NotGone;
use super::{environment, print, report, say, settings};
use crate::ambient::{Clock, Entropy, UnixTime};
use crate::config::{
    self, Finding, KeyLine, Seconds, Settings, append_key, belong_as, is_kid, key_lines, lock_for_edit,
    remove_keys, replace_file, revoke_key, sync_folder,
};
use crate::tokens::KeySet;
use crate::tokens::schedule::{Schedule, State};

/// How long a running issuer may take to take up a change.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show every key: kid, when it begins to sign, and what it is doing now.
    List {
        /// As JSON, for programs.
        #[arg(long)]
        json: bool,
    },
    /// Write a new private key and print the [[keys]] lines for it; needs no configuration.
    Generate {
        /// The key id; a date and four random characters if not given.
        #[arg(long)]
        kid: Option<String>,
        /// Where to write the key (PKCS#8 PEM, mode 0600); keys/<KID>.pem beside the configuration if not given.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Write a new key and schedule it in the configuration; a running issuer takes it up by itself.
    Rotate {
        /// The key id; a date and four random characters if not given.
        #[arg(long)]
        kid: Option<String>,
        /// How long from now it begins to sign; twice jwks.max_age if not given, at once for the first key.
        #[arg(long, value_name = "DURATION")]
        sign_in: Option<Seconds>,
        /// Accept a --sign-in so short that verifiers may meet the key before they have fetched it.
        #[arg(long)]
        force: bool,
    },
    /// Set revoked = true for a key: it is unpublished and every token that it signed is refused.
    Revoke {
        /// The key id, as `keys list` shows it.
        kid: String,
    },
    /// Remove retired keys: their entries and their files. Without --yes it only shows them.
    Prune {
        /// Remove what would be removed.
        #[arg(long)]
        yes: bool,
    },
    /// Print the published keys (RFC 7517).
    Jwks,
    /// Protect stored credentials with the current key of [encryption], so that the previous ones can go; beside running
    /// issuers, and again after being broken off.
    Rewrap,
}

pub(super) fn run(config: &Path, command: Command) -> anyhow::Result<()> {
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let now = clock.now().seconds();
    match command {
        Command::List { json } => list(&settings(config)?, json, now),
        Command::Generate { kid, out } => generate(config, kid, out, now, &entropy),
        Command::Rotate { kid, sign_in, force } => rotate(config, kid, sign_in, force, now, &entropy),
        Command::Revoke { kid } => revoke(config, &kid, now),
        Command::Prune { yes } => prune(config, yes, now),
        Command::Jwks => jwks(&settings(config)?, now),
        Command::Rewrap => rewrap::run(config, entropy),
    }
}

fn jwks(settings: &Settings, now: i64) -> anyhow::Result<()> {
    let (set, findings) = KeySet::load(settings, settings.overlap(), now);
    report(&findings)?;
    print(serde_json::to_string_pretty(&set.context("the keys cannot be used")?.jwks(now))?)
}

/// Also when a file is missing or nothing signs: this is where one looks then.
fn list(settings: &Settings, json: bool, now: i64) -> anyhow::Result<()> {
    for finding in KeySet::load(settings, settings.overlap(), now).1 {
        warn(finding);
    }
    let schedule = Schedule::of(&settings.keys, settings.overlap())?;
    let rows = schedule.states(now).map(|(slot, state)| {
        let (state, until) = match state {
            State::Scheduled => ("scheduled", None),
            State::Signing => ("signing", None),
            State::Retiring { until } => ("retiring", Some(rfc3339(until))),
            State::Retired => ("retired", None),
            State::Revoked => ("revoked", None),
        };
        Row { kid: &slot.kid, sign_from: rfc3339(slot.sign_from), state, until }
    });
    let rows: Vec<Row<'_>> = rows.collect();
    if json {
        return print(serde_json::to_string_pretty(&rows)?);
    }
    print(format_args!("{:<24} {:<22} STATE", "KID", "SIGN FROM"))?;
    for Row { kid, sign_from, state, until } in rows {
        let until = until.map(|until| format!(" until {until}")).unwrap_or_default();
        print(format_args!("{kid:<24} {sign_from:<22} {state}{until}"))?;
    }
    Ok(())
}

/// A line of `keys list`.
#[derive(Debug, Serialize)]
struct Row<'a> {
    kid: &'a str,
    sign_from: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
}

fn generate(
    config: &Path,
    kid: Option<String>,
    out: Option<PathBuf>,
    now: i64,
    entropy: &Entropy,
) -> anyhow::Result<()> {
    let kid = kid_or_new(kid, now, entropy)?;
    let is_first = !config.try_exists()?;
    let sign_from = if is_first {
        now
    } else {
        let settings = settings(config)?;
        free_moment(&settings, now.saturating_add(safe_delay(&settings)))
    };
    let file = out.unwrap_or_else(|| folder(config).join(key_file(&kid)));
    // The file of the configuration, not its folder: that is an empty path for a bare name.
    let (absolute, named) = (std::path::absolute(&file)?, std::path::absolute(config)?);
    write_key(&file, config, entropy)?;
    let listed = absolute.strip_prefix(folder(&named)).unwrap_or(&absolute);
    print(key_lines(&kid, &listed.to_string_lossy(), &rfc3339(sign_from))?.trim_end())?;
    if is_first {
        warn("there is no configuration yet, so this is taken for its first key, which signs at once");
    }
    Ok(())
}

fn rotate(
    config: &Path,
    kid: Option<String>,
    sign_in: Option<Seconds>,
    force: bool,
    now: i64,
    entropy: &Entropy,
) -> anyhow::Result<()> {
    let _editing = lock(config)?;
    let settings = settings(config)?;
    let safe = safe_delay(&settings);
    let delay = sign_in.map_or(safe, |Seconds(delay)| delay);
    ensure!(
        delay >= safe || force,
        "--sign-in {delay}s is less than twice jwks.max_age ({safe}s): verifiers may not know the key yet; \
         --force accepts that"
    );
    let kid = kid_or_new(kid, now, entropy)?;
    let taken = settings.keys.iter().any(|line| line.kid == kid);
    ensure!(!taken, "{}: a key {kid:?} exists already", config.display());
    let (listed, sign_from) = (key_file(&kid), free_moment(&settings, now.saturating_add(delay)));
    let text = read(config)?;
    let edited = append_key(&text, &kid, &listed.to_string_lossy(), &rfc3339(sign_from))?;
    let file = folder(config).join(&listed);
    write_key(&file, config, entropy)?;
    if let Err(error) = put_in_force(config, &text, &edited, now) {
        let _ = std::fs::remove_file(&file);
        return Err(error);
    }
    say(format_args!("wrote {} and scheduled {kid} in {}", file.display(), config.display()));
    let until_then = if delay > 0 { "; until then it is only published" } else { "" };
    say(format_args!("{}  it signs{until_then}", rfc3339(sign_from)));
    if !settings.keys.is_empty() {
        let retired = rfc3339(sign_from.saturating_add(settings.overlap()));
        say(format_args!(
            "{retired}  the key before it is no longer published; `countersign keys prune` removes it"
        ));
    }
    Ok(())
}

/// How long a new key waits, so that every verifier knows it before it signs; the first one need not.
fn safe_delay(settings: &Settings) -> i64 {
    if settings.keys.is_empty() { 0 } else { settings.jwks.max_age.saturating_mul(2) }
}

/// The first second from `at` on from which no other key signs: two that share one are refused.
fn free_moment(settings: &Settings, at: i64) -> i64 {
    let taken = |at: &i64| settings.keys.iter().any(|line| !line.revoked && line.sign_from == *at);
    (at..).find(|at| !taken(at)).unwrap_or(at)
}

fn revoke(config: &Path, kid: &str, now: i64) -> anyhow::Result<()> {
    let settings = {
        let _editing = lock(config)?;
        let text = read(config)?;
        let edited = revoke_key(&text, kid).with_context(|| config.display().to_string())?;
        put_in_force(config, &text, &edited, now).context(
            "nothing was changed (first `countersign keys rotate --sign-in 0s --force` makes another key)",
        )?
    };
    say(format_args!("{kid} is revoked in {}", config.display()));
    let listen = settings.server.listen;
    match published::wait_until_gone(kid, listen, PATIENCE) {
        Ok(()) => say(format_args!("the issuer at {listen} publishes it no longer")),
        Err(NotGone::Unasked(reason)) => warn(format_args!(
            "whether a running issuer has taken it up could not be asked at {listen}: {reason}; \
             see its log, or its JWKS, for {kid}"
        )),
        Err(still @ NotGone::StillThere) => bail!("the issuer at {listen} {still}: see its log"),
    }
    say("verifiers go on accepting its tokens until they fetch the keys again \
         (Countersign's filter: keys.remote.refresh; others: jwks.max_age)");
    Ok(())
}

fn prune(config: &Path, yes: bool, now: i64) -> anyhow::Result<()> {
    let _editing = lock(config)?;
    let settings = settings(config)?;
    let schedule = Schedule::of(&settings.keys, settings.overlap())?;
    let retired = schedule.states(now).filter(|(_, state)| *state == State::Retired);
    let retired: Vec<&str> = retired.map(|(slot, _)| slot.kid.as_str()).collect();
    let (gone, kept): (Vec<&KeyLine>, Vec<&KeyLine>) =
        settings.keys.iter().partition(|line| retired.contains(&line.kid.as_str()));
    if gone.is_empty() {
        say("no key is retired");
        return Ok(());
    }
    if !yes {
        for line in gone {
            say(format_args!("would remove {} and {}", line.kid, line.file.display()));
        }
        say("nothing was changed; --yes removes them");
        return Ok(());
    }
    let text = read(config)?;
    put_in_force(config, &text, &remove_keys(&text, &retired)?, now)?;
    for line in gone {
        let shared = kept.iter().any(|other| other.file == line.file);
        match if shared { Ok(()) } else { std::fs::remove_file(&line.file) } {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                warn(format_args!("{}: cannot be removed: {error}", line.file.display()));
            }
            _ => {}
        }
        say(format_args!("removed {} and {}", line.kid, line.file.display()));
    }
    Ok(())
}

/// Replaces the configuration, unless that would make something wrong that was right. What was wrong before stays a
/// warning: one command may have to mend what another cannot.
fn put_in_force(config: &Path, text: &str, edited: &str, now: i64) -> anyhow::Result<Settings> {
    let (_, before) = judged(config, text, now);
    let (settings, after) = judged(config, edited, now);
    let (old, new): (Vec<Finding>, Vec<Finding>) =
        after.into_iter().partition(|finding| before.contains(finding));
    report(&new)?;
    let Some(settings) = settings else {
        report(&old)?;
        bail!("{}: cannot be used", config.display());
    };
    for finding in old {
        warn(format_args!("a running issuer refuses this until it is mended: {finding}"));
    }
    replace_file(config, edited).with_context(|| format!("{}: cannot be replaced", config.display()))?;
    Ok(settings)
}

/// The settings, and the errors in them and in their keys.
fn judged(config: &Path, text: &str, now: i64) -> (Option<Settings>, Vec<Finding>) {
    let loaded = config::parse(config, text, environment());
    let mut errors: Vec<Finding> = loaded.findings;
    if let Some(settings) = &loaded.settings {
        errors.extend(KeySet::load(settings, settings.overlap(), now).1);
    }
    errors.retain(Finding::is_error);
    (loaded.settings, errors)
}

/// On standard error; a reader that has gone away is not an error.
fn warn(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "warning: {line}");
}

/// From reading the configuration to replacing it, no other command may edit it.
fn lock(config: &Path) -> anyhow::Result<File> {
    lock_for_edit(config).with_context(|| format!("{}: cannot be read", config.display()))
}

fn read(config: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(config).with_context(|| format!("{}: cannot be read", config.display()))
}

fn folder(config: &Path) -> &Path {
    config.parent().unwrap_or(Path::new(""))
}

fn key_file(kid: &str) -> PathBuf {
    Path::new("keys").join(format!("{kid}.pem"))
}

/// Unix seconds as RFC 3339.
fn rfc3339(seconds: i64) -> String {
    UnixTime::from_seconds(seconds).to_string()
}

fn kid_or_new(kid: Option<String>, now: i64, entropy: &Entropy) -> anyhow::Result<String> {
    let kid = kid.unwrap_or_else(|| {
        let date = rfc3339(now);
        let day = date.split('T').next().unwrap_or_default();
        format!("{day}-{:04x}", u16::from_be_bytes(entropy.bytes()))
    });
    ensure!(is_kid(&kid), "--kid {kid:?}: expected 1 to 64 of A-Z, a-z, 0-9, '_', '-' and '.'");
    Ok(kid)
}

/// Writes a new private key to a file that must not exist, for whom the configuration belongs to.
fn write_key(path: &Path, config: &Path, entropy: &Entropy) -> anyhow::Result<()> {
    let key = SigningKey::from_bytes(&entropy.bytes());
    // Without the public half: version 1 of PKCS#8, which every OpenSSL reads.
    let pair = KeypairBytes { secret_key: key.to_bytes(), public_key: None };
    let Ok(pem) = pair.to_pkcs8_pem(LineEnding::LF) else { bail!("cannot encode a key") };
    let model = std::fs::metadata(config).ok();
    let belong = |file: &File| model.as_ref().map_or(Ok(()), |model| belong_as(file, model));
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
        let made = std::fs::create_dir_all(folder).and_then(|()| belong(&File::open(folder)?));
        made.with_context(|| format!("{}: cannot be created", folder.display()))?;
    }
    let mut options = File::options();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.with_context(|| format!("{}: cannot be written", path.display()))?;
    let written = file.write_all(pem.as_bytes()).and_then(|()| belong(&file)).and_then(|()| file.sync_all());
    let written = written.and_then(|()| sync_folder(path));
    written.inspect_err(|_| drop(std::fs::remove_file(path))).with_context(|| path.display().to_string())
}
