//! `countersign keys`: the schedule of signing keys, as lines of the configuration and files beside it. A private
//! key is written once, readable by its owner only, and never printed.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::Subcommand;
use countersign_claims::SigningKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{EncodePrivateKey as _, KeypairBytes};

use super::{environment, report, say, settings};
use crate::ambient::{Clock, Entropy, UnixTime};
use crate::config::{
    self, Finding, Seconds, Settings, append_key, is_kid, key_lines, lock_for_edit, replace_file, revoke_key,
};
use crate::tokens::KeySet;
use crate::tokens::schedule::State;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show every key: kid, when it begins to sign, and what it is doing now.
    List,
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
    /// Print the published keys (RFC 7517).
    Jwks,
}

pub(super) fn run(config: &Path, command: Command) -> anyhow::Result<()> {
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let now = clock.now().seconds();
    match command {
        Command::List => list(&settings(config)?, now),
        Command::Generate { kid, out } => generate(config, kid, out, now, &entropy),
        Command::Rotate { kid, sign_in, force } => rotate(config, kid, sign_in, force, now, &entropy),
        Command::Revoke { kid } => revoke(config, &kid, now),
        Command::Jwks => jwks(&settings(config)?, now),
    }
}

fn load(settings: &Settings, now: i64) -> anyhow::Result<KeySet> {
    let (set, findings) = KeySet::load(settings, settings.tokens.overlap(), now);
    report(&findings)?;
    set.context("the keys cannot be used")
}

fn list(settings: &Settings, now: i64) -> anyhow::Result<()> {
    let set = load(settings, now)?;
    say(format_args!("{:<24} {:<22} STATE", "KID", "SIGN FROM"));
    for (slot, state) in set.schedule().states(now) {
        let state = match state {
            State::Scheduled => "scheduled".to_owned(),
            State::Signing => "signing".to_owned(),
            State::Retiring { until } => format!("retiring until {}", rfc3339(until)),
            State::Retired => "retired".to_owned(),
            State::Revoked => "revoked".to_owned(),
        };
        say(format_args!("{:<24} {:<22} {state}", slot.kid, rfc3339(slot.sign_from)));
    }
    Ok(())
}

fn jwks(settings: &Settings, now: i64) -> anyhow::Result<()> {
    say(serde_json::to_string_pretty(&load(settings, now)?.jwks(now))?);
    Ok(())
}

fn generate(
    config: &Path,
    kid: Option<String>,
    out: Option<PathBuf>,
    now: i64,
    entropy: &Entropy,
) -> anyhow::Result<()> {
    let kid = kid_or_new(kid, now, entropy)?;
    let file = out.unwrap_or_else(|| folder(config).join(key_file(&kid)));
    // The file of the configuration, not its folder: that is an empty path for a bare name.
    let (absolute, config) = (std::path::absolute(&file)?, std::path::absolute(config)?);
    write_key(&file, entropy)?;
    let listed = absolute.strip_prefix(folder(&config)).unwrap_or(&absolute);
    say(key_lines(&kid, &listed.to_string_lossy(), &rfc3339(now)).trim_end());
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
    let safe = if settings.keys.is_empty() { 0 } else { settings.jwks.max_age.saturating_mul(2) };
    let delay = sign_in.map_or(safe, |Seconds(delay)| delay);
    ensure!(
        delay >= safe || force,
        "--sign-in {delay}s is less than twice jwks.max_age ({safe}s): verifiers may not know the key yet; \
         --force accepts that"
    );
    let kid = kid_or_new(kid, now, entropy)?;
    let taken = settings.keys.iter().any(|line| line.kid == kid);
    ensure!(!taken, "{}: a key {kid:?} exists already", config.display());
    let (listed, sign_from) = (key_file(&kid), now.saturating_add(delay));
    let text = read(config)?;
    let edited = append_key(&text, &kid, &listed.to_string_lossy(), &rfc3339(sign_from))?;
    let file = folder(config).join(&listed);
    write_key(&file, entropy)?;
    if let Err(error) = put_in_force(config, &edited, now) {
        let _ = std::fs::remove_file(&file);
        return Err(error);
    }
    say(format_args!("wrote {} and scheduled {kid} in {}", file.display(), config.display()));
    let until_then = if delay > 0 { "; until then it is only published" } else { "" };
    say(format_args!("{}  it signs{until_then}", rfc3339(sign_from)));
    if !settings.keys.is_empty() {
        let retired = rfc3339(sign_from.saturating_add(settings.tokens.overlap()));
        say(format_args!("{retired}  the key before it is no longer published; its lines can go"));
    }
    Ok(())
}

fn revoke(config: &Path, kid: &str, now: i64) -> anyhow::Result<()> {
    let _editing = lock(config)?;
    let edited = revoke_key(&read(config)?, kid).with_context(|| config.display().to_string())?;
    put_in_force(config, &edited, now).context(
        "nothing was changed (first `countersign keys rotate --sign-in 0s --force` makes another key)",
    )?;
    say(format_args!("{kid} is revoked in {}: a running issuer unpublishes it at once", config.display()));
    say("verifiers go on accepting its tokens until they fetch the keys again \
         (Countersign's filter: keys.remote.refresh; others: jwks.max_age)");
    Ok(())
}

/// Replaces the configuration, if a running issuer would take it up.
fn put_in_force(config: &Path, edited: &str, now: i64) -> anyhow::Result<()> {
    let loaded = config::parse(config, edited, environment());
    let mut errors: Vec<Finding> = loaded.findings;
    if let Some(settings) = &loaded.settings {
        errors.extend(KeySet::load(settings, settings.tokens.overlap(), now).1);
    }
    errors.retain(Finding::is_error);
    report(&errors)?;
    replace_file(config, edited).with_context(|| format!("{}: cannot be replaced", config.display()))
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

/// Writes a new private key to a file that must not exist.
fn write_key(path: &Path, entropy: &Entropy) -> anyhow::Result<()> {
    let key = SigningKey::from_bytes(&entropy.bytes());
    // Without the public half: version 1 of PKCS#8, which every OpenSSL reads.
    let pair = KeypairBytes { secret_key: key.to_bytes(), public_key: None };
    let Ok(pem) = pair.to_pkcs8_pem(LineEnding::LF) else { bail!("cannot encode a key") };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("{}: cannot be created", folder.display()))?;
    }
    let mut options = File::options();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.with_context(|| format!("{}: cannot be written", path.display()))?;
    let written = file.write_all(pem.as_bytes()).and_then(|()| file.sync_all());
    written.inspect_err(|_| drop(std::fs::remove_file(path))).with_context(|| path.display().to_string())
}
