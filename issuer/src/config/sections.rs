//! The sections of the configuration: shape, defaults and limits of each. A limit that is crossed is a finding;
//! nothing is clamped in silence.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use countersign_claims::Alg;

use super::mail::{Mail, MailTransport};
use super::reader::{Reader, Section};
use super::secret::{Secret, secret_files};
use super::value::{Instant, Network, Origin, PublicUrl, Seconds, Setting as _};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub listen: SocketAddr,
    pub public_url: PublicUrl,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
}

pub(super) fn server(reader: &mut Reader) -> Server {
    let mut section = reader.section("server");
    let listen = section.or("listen", SocketAddr::from((Ipv4Addr::LOCALHOST, 8001)));
    let public_url = section.or("public_url", PublicUrl::local());
    let trusted_proxies = section.or("trusted_proxies", Vec::new());
    section.finish();
    Server { listen, public_url, trusted_proxies }
}

/// Whose pages may call us from a browser, beside those of `server.public_url`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// `scheme://host[:port]`, written as browsers send it.
    pub origins: Vec<String>,
}

pub(super) fn cors(reader: &mut Reader) -> Cors {
    let mut section = reader.section("cors");
    let origins: Vec<Origin> = section.or("origins", Vec::new());
    section.finish();
    Cors { origins: origins.into_iter().map(|Origin(origin)| origin).collect() }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    pub issuer: String,
    pub audience: String,
    /// What tokens and keys call their algorithm.
    pub alg: Alg,
    pub access_lifetime: i64,
    pub clock_skew: i64,
}

pub(super) fn tokens(reader: &mut Reader) -> Tokens {
    let mut section = reader.section("tokens");
    let alg: String = section.or("alg", Alg::EdDsa.name().into());
    let known = [Alg::EdDsa, Alg::Ed25519].into_iter().find(|known| known.name() == alg);
    if known.is_none() {
        section.error("alg", r#"expected "EdDSA" or "Ed25519""#);
    }
    let tokens = Tokens {
        alg: known.unwrap_or_default(),
        issuer: section.or("issuer", "user_service".into()),
        audience: section.or("audience", "trading_platform".into()),
        access_lifetime: span(&mut section, "access_lifetime", "15m", ("10s", "24h")),
        clock_skew: span(&mut section, "clock_skew", "30s", ("0s", "5m")),
    };
    section.finish();
    tokens
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwks {
    /// How long verifiers may go on using a fetched key set.
    pub max_age: i64,
}

pub(super) fn jwks(reader: &mut Reader) -> Jwks {
    let mut section = reader.section("jwks");
    let jwks = Jwks { max_age: span(&mut section, "max_age", "5m", ("1s", "24h")) };
    section.finish();
    jwks
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sessions {
    /// A session not refreshed for this long ends.
    pub idle_lifetime: i64,
    /// A session ends this long after its login, however it is used.
    pub lifetime: i64,
    /// How long the last refresh may be repeated with the same result.
    pub refresh_grace: i64,
    /// Live sessions that one user may have; a further login ends the oldest.
    pub max_per_user: u32,
}

pub(super) fn sessions(reader: &mut Reader, access_lifetime: i64) -> Sessions {
    let mut section = reader.section("sessions");
    section.moved("secret", "secrets.current");
    section.moved("secret_file", "secrets.current_file");
    let idle_lifetime = span(&mut section, "idle_lifetime", "7d", ("1m", "3650d"));
    let lifetime = span(&mut section, "lifetime", "30d", ("1m", "3650d"));
    let refresh_grace = span(&mut section, "refresh_grace", "30s", ("10s", "5m"));
    let max_per_user = section.or("max_per_user", 50);
    if !(1..=1000).contains(&max_per_user) {
        section.error("max_per_user", "expected 1 to 1000");
    }
    if lifetime < idle_lifetime {
        section.error("lifetime", "is shorter than sessions.idle_lifetime");
    }
    if idle_lifetime < access_lifetime {
        section.error("idle_lifetime", "is shorter than tokens.access_lifetime");
    }
    section.finish();
    Sessions { idle_lifetime, lifetime, refresh_grace, max_per_user }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cookies {
    /// Whether the refresh cookie is for https only.
    pub secure: bool,
}

pub(super) fn cookies(reader: &mut Reader) -> Cookies {
    let mut section = reader.section("cookies");
    let cookies = Cookies { secure: section.or("secure", true) };
    section.finish();
    cookies
}

/// Who may have an account, and log in to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accounts {
    /// Whether nobody logs in before they have shown that they read what is sent to their address.
    pub verify_email: bool,
}

pub(super) fn accounts(reader: &mut Reader, mail: &Mail) -> Accounts {
    let mut section = reader.section("accounts");
    let accounts = Accounts { verify_email: section.or("verify_email", false) };
    if accounts.verify_email && mail.transport == MailTransport::Off {
        section.error("verify_email", "needs mail: set mail.transport, or nobody could ever log in");
    }
    section.finish();
    accounts
}

/// What a new password must be; one that is checked may be older than the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passwords {
    /// In characters.
    pub min_length: usize,
    /// Of zxcvbn, 0 to 4.
    pub min_score: u8,
    /// A list that `countersign passwords import-breached` makes; its passwords are refused.
    pub breached_file: Option<PathBuf>,
}

pub(super) fn passwords(reader: &mut Reader, folder: &Path) -> Passwords {
    let mut section = reader.section("passwords");
    let (min_length, min_score): (u32, u32) = (section.or("min_length", 12), section.or("min_score", 3));
    if !(8..=64).contains(&min_length) {
        section.error("min_length", "expected 8 to 64");
    }
    if min_score > 4 {
        section.error("min_score", "expected 0 to 4");
    }
    let breached_file: Option<PathBuf> = section.optional("breached_file");
    let breached_file = breached_file.map(|file| folder.join(file));
    section.finish();
    Passwords { min_length: min_length as usize, min_score: min_score.min(4) as u8, breached_file }
}

/// Argon2id with one lane (RFC 9106).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashing {
    pub memory_kib: u32,
    pub passes: u32,
    /// Passwords hashed at the same time; each thread holds `memory_kib`.
    pub threads: u32,
    /// Passwords that may wait for a thread.
    pub queue: u32,
    /// What the hashing threads may take together; the machine's available memory if absent.
    pub max_memory_kib: Option<u32>,
}

/// The most that a hash may cost, whether we make it or find it stored.
pub const MAX_HASH_MEMORY_KIB: u32 = 1024 * 1024;
pub const MAX_HASH_PASSES: u32 = 100;

/// What OWASP's Password Storage Cheat Sheet holds equivalent for Argon2id with one lane: (KiB, passes).
const OWASP_MINIMUM: [(u32, u32); 5] = [(47_104, 1), (19_456, 2), (12_288, 3), (9_216, 4), (7_168, 5)];

pub(super) fn hashing(reader: &mut Reader) -> Hashing {
    let mut section = reader.section("hashing");
    let hashing = Hashing {
        memory_kib: section.or("memory_kib", 19_456),
        passes: section.or("passes", 2),
        threads: section.or("threads", 1),
        queue: section.or("queue", 64),
        max_memory_kib: section.optional("max_memory_kib"),
    };
    let Hashing { memory_kib, passes, .. } = hashing;
    if !OWASP_MINIMUM.iter().any(|&(memory, floor)| memory_kib >= memory && passes >= floor) {
        let message = format!(
            "{memory_kib} KiB with {passes} passes is below OWASP's minimum for Argon2id (19456 KiB with 2 passes)"
        );
        section.error("memory_kib", message);
    }
    if memory_kib > MAX_HASH_MEMORY_KIB {
        section.error("memory_kib", format!("expected at most {MAX_HASH_MEMORY_KIB} (1 GiB)"));
    }
    if passes > MAX_HASH_PASSES {
        section.error("passes", format!("expected at most {MAX_HASH_PASSES}"));
    }
    if !(1..=64).contains(&hashing.threads) {
        section.error("threads", "expected 1 to 64");
    }
    if !(1..=65_536).contains(&hashing.queue) {
        section.error("queue", "expected 1 to 65536");
    }
    section.finish();
    hashing
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    pub format: LogFormat,
    /// A `tracing` filter: a level, or `target=level` pairs.
    pub level: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    Text,
    Json,
}

pub(super) fn log(reader: &mut Reader) -> Log {
    let mut section = reader.section("log");
    let format: String = section.or("format", "auto".into());
    let format = match format.as_str() {
        "auto" => LogFormat::Auto,
        "text" => LogFormat::Text,
        "json" => LogFormat::Json,
        _ => {
            section.error("format", r#"expected "auto", "text" or "json""#);
            LogFormat::Auto
        }
    };
    let level: String = section.or("level", "info".into());
    if !is_log_filter(&level) {
        let expected = "expected off, error, warn, info, debug or trace, or target=level pairs such as \"info,sqlx=warn\"";
        section.error("level", expected);
    }
    section.finish();
    Log { format, level }
}

/// An unknown word would be taken for the name of a target, and silence everything else.
fn is_log_filter(text: &str) -> bool {
    let is_level = |word: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&word);
    let is_target = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_:-.".contains(&b))
    };
    text.split(',').all(|directive| match directive.split_once('=') {
        Some((target, level)) => is_target(target) && is_level(level),
        None => is_level(directive),
    })
}

/// How long what happened is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// Events older than so many seconds are removed; none are if absent.
    pub retention: Option<i64>,
    /// Secrets that were replaced, and are good for nothing but proving the events of their time.
    pub old_secrets: Vec<Secret>,
}

pub(super) fn audit(reader: &mut Reader, folder: &Path) -> Audit {
    let mut section = reader.section("audit");
    let retention = section.optional("retention").map(|Seconds(seconds)| seconds);
    if retention.is_some_and(|seconds| seconds < 86_400) {
        section.error("retention", "expected 1d to 3650d");
    }
    let old_secrets = secret_files(&mut section, "old_secret_files", folder);
    section.finish();
    Audit { retention, old_secrets }
}

/// One `[[keys]]` entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyLine {
    pub kid: String,
    /// PKCS#8 PEM.
    pub file: PathBuf,
    /// Unix seconds.
    pub sign_from: i64,
    pub revoked: bool,
}

pub(super) fn keys(reader: &mut Reader, folder: &Path) -> Vec<KeyLine> {
    let mut keys = Vec::new();
    for (index, table) in reader.tables("keys").into_iter().enumerate() {
        let mut section = reader.entry(format!("keys[{index}]"), table);
        let kid: Option<String> = section.required("kid");
        let file: Option<PathBuf> = section.required("file");
        let sign_from: Option<Instant> = section.required("sign_from");
        let revoked = section.or("revoked", false);
        if kid.as_deref().is_some_and(|kid| !is_kid(kid)) {
            section.error("kid", "expected 1 to 64 of A-Z, a-z, 0-9, '_', '-' and '.'");
        }
        section.finish();
        if let (Some(kid), Some(file), Some(Instant(sign_from))) = (kid, file, sign_from) {
            keys.push(KeyLine { kid, file: folder.join(file), sign_from, revoked });
        }
    }
    keys
}

/// The longest key id, in bytes.
pub(crate) const LONGEST_KID: usize = 64;

/// What a key id may be: it names files and stands in headers and logs.
pub(crate) fn is_kid(kid: &str) -> bool {
    (1..=LONGEST_KID).contains(&kid.len())
        && kid.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

/// A duration with a default and both limits, all written as in the file.
pub(super) fn span(
    section: &mut Section<'_>,
    name: &'static str,
    default: &str,
    (least, most): (&str, &str),
) -> i64 {
    let read = |text| Seconds::from_text(text).map_or(0, |Seconds(seconds)| seconds);
    let Seconds(seconds) = section.optional(name).unwrap_or(Seconds(read(default)));
    if !(read(least)..=read(most)).contains(&seconds) {
        section.error(name, format!("expected {least} to {most}"));
    }
    seconds
}
