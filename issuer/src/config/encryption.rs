//! The sections about trading accounts: what encrypts them, and how brokers are asked.

use std::path::{Path, PathBuf};

use super::reader::{Reader, Section};
use super::secret::{Refused, Secret, Secrets, inline_or_file, secret_files, strong};
use super::sections::span;
use super::value::{ApiUrl, Item, Setting};

/// Of a service of keys, as of files.
const MAX_PREVIOUS: usize = 7;

/// Encryption at rest of what users give us to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encryption {
    /// What wraps data keys; without, nothing can be kept.
    pub current: Option<WrappingKey>,
    /// Files whose keys wrapped data keys once, and unwrap them still.
    pub previous_files: Vec<Secret>,
    /// Keys of AWS KMS that did.
    pub previous_kms_keys: Vec<KmsKey>,
    pub kms: Kms,
}

/// A key that wraps the keys of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WrappingKey {
    File(Secret),
    Kms(KmsKey),
}

/// How AWS KMS is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kms {
    /// Instead of the one of the key's region.
    pub endpoint_url: Option<ApiUrl>,
    /// Where the credentials are; without, the SDK looks where it always does.
    pub credentials_file: Option<PathBuf>,
    /// Seconds that one call may take, with all that is tried again.
    pub timeout: i64,
}

impl Encryption {
    /// With keys from files, or none at all.
    pub fn with_files(current: Option<Secret>, previous: Vec<Secret>) -> Self {
        Self {
            current: current.map(WrappingKey::File),
            previous_files: previous,
            previous_kms_keys: Vec::new(),
            kms: Kms { endpoint_url: None, credentials_file: None, timeout: 3 },
        }
    }
}

pub(super) fn encryption(reader: &mut Reader, folder: &Path, secrets: Option<&Secrets>) -> Encryption {
    let mut section = reader.section("encryption");
    let file = match inline_or_file(&mut section, "current", "current_file", folder) {
        Ok(current) => current.and_then(|(name, secret)| {
            let strong = strong(&mut section, name, secret)?;
            // One that leaks must not open what the other keeps.
            if secrets.is_some_and(|secrets| secrets.iter().any(|other| *other == strong)) {
                section.error(name, "is one of the [secrets]; it has to be another");
            }
            Some(strong)
        }),
        Err(Refused) => None,
    };
    let previous_files = secret_files(&mut section, "previous_files", folder);
    let kms_key: Option<KmsKey> = section.optional("kms_key");
    let previous_kms_keys: Vec<KmsKey> = section.or("previous_kms_keys", Vec::new());
    let kms = Kms {
        endpoint_url: section.optional("kms_endpoint_url"),
        credentials_file: section.optional("kms_credentials_file").map(|file: PathBuf| folder.join(file)),
        timeout: span(&mut section, "kms_timeout", "3s", ("1s", "8s")),
    };
    if previous_kms_keys.len() > MAX_PREVIOUS {
        section.error("previous_kms_keys", format!("expected at most {MAX_PREVIOUS} keys"));
    }
    if previous_files.iter().any(|previous| Some(previous) == file.as_ref()) {
        section.error("previous_files", "has the current key; a new one has to be random");
    }
    if previous_kms_keys.iter().any(|previous| Some(previous) == kms_key.as_ref()) {
        section.error("previous_kms_keys", "has the current key");
    }
    let current = match (file, kms_key) {
        (Some(_), Some(_)) => {
            let hint = "is set beside a key from a file; one of them wraps what is new, and the other is listed as \
                        previous";
            section.error("kms_key", hint);
            None
        }
        (Some(file), None) => Some(WrappingKey::File(file)),
        (None, Some(key)) => Some(WrappingKey::Kms(key)),
        (None, None) => {
            none_beside(&mut section, "previous_files", previous_files.is_empty());
            none_beside(&mut section, "previous_kms_keys", previous_kms_keys.is_empty());
            None
        }
    };
    section.finish();
    Encryption { current, previous_files, previous_kms_keys, kms }
}

/// Old keys alone protect nothing that is new.
fn none_beside(section: &mut Section<'_>, name: &str, none: bool) {
    if !none {
        section.error("current_file", format!("is required beside encryption.{name}, or kms_key is"));
    }
}

/// A key of AWS KMS by its ARN, which also says in which region it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KmsKey(String);

impl KmsKey {
    pub fn arn(&self) -> &str {
        &self.0
    }

    pub fn region(&self) -> &str {
        self.0.split(':').nth(3).unwrap_or_default()
    }
}

impl Setting for KmsKey {
    const EXPECTED: &'static str = r#"the ARN of a key, such as "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-…"; no alias, which may come to mean another key"#;

    fn from_text(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let ["arn", partition, "kms", region, account, key] = parts.as_slice() else { return None };
        let id = key.strip_prefix("key/")?;
        let named =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let known = partition.starts_with("aws") && account.bytes().all(|b| b.is_ascii_digit());
        let fits = known && [partition, region, account, id].into_iter().all(named);
        fits.then(|| Self(text.to_owned()))
    }
}

impl Item for KmsKey {
    const LIST: &'static str = "a list of ARNs of keys, none of them of an alias";
}

/// Accounts at brokers, and how brokers are asked about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TradingAccounts {
    /// Seconds after which credentials are due to be replaced.
    pub rotate_after: i64,
    /// Seconds that a broker may take to answer.
    pub broker_timeout: i64,
    /// How often one user may link, verify or rotate in a minute.
    pub attempts_per_minute: u32,
    pub kite_url: ApiUrl,
    pub alpaca_url: ApiUrl,
}

pub(super) fn trading_accounts(reader: &mut Reader) -> TradingAccounts {
    let mut section = reader.section("trading_accounts");
    let trading_accounts = TradingAccounts {
        rotate_after: span(&mut section, "rotate_after", "90d", ("1d", "3650d")),
        broker_timeout: span(&mut section, "broker_timeout", "5s", ("1s", "15s")),
        attempts_per_minute: section.or("attempts_per_minute", 20),
        kite_url: section.or("kite_url", ApiUrl::new("https://api.kite.trade")),
        alpaca_url: section.or("alpaca_url", ApiUrl::new("https://api.alpaca.markets")),
    };
    if !(1..=1000).contains(&trading_accounts.attempts_per_minute) {
        section.error("attempts_per_minute", "expected 1 to 1000");
    }
    section.finish();
    trading_accounts
}
