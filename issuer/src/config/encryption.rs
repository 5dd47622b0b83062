//! The sections about trading accounts: what encrypts them, and how brokers are asked.

use std::net::Ipv4Addr;
use std::path::Path;

use url::{Host, Url};

use super::reader::Reader;
use super::secret::{Refused, Secrets, inline_or_file, secret_files, strong};
use super::sections::span;
use super::value::Setting;

/// Encryption at rest of what users give us to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encryption {
    /// What data keys are wrapped with; without, nothing can be kept.
    pub keys: Option<Secrets>,
}

pub(super) fn encryption(reader: &mut Reader, folder: &Path, secrets: Option<&Secrets>) -> Encryption {
    let mut section = reader.section("encryption");
    let current = match inline_or_file(&mut section, "current", "current_file", folder) {
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
    let previous = secret_files(&mut section, "previous_files", folder);
    if current.is_none() && !previous.is_empty() {
        section.error("current_file", "is required beside encryption.previous_files");
    }
    if previous.iter().any(|previous| Some(previous) == current.as_ref()) {
        section.error("previous_files", "has the current key; a new one has to be random");
    }
    section.finish();
    Encryption { keys: current.map(|current| Secrets { current, previous }) }
}

/// Accounts at brokers, and how brokers are asked about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TradingAccounts {
    /// Seconds after which credentials are due to be replaced.
    pub rotate_after: i64,
    /// Seconds that a broker may take to answer.
    pub broker_timeout: i64,
    pub kite_url: BrokerUrl,
    pub alpaca_url: BrokerUrl,
}

pub(super) fn trading_accounts(reader: &mut Reader) -> TradingAccounts {
    let mut section = reader.section("trading_accounts");
    let trading_accounts = TradingAccounts {
        rotate_after: span(&mut section, "rotate_after", "90d", ("1d", "3650d")),
        broker_timeout: span(&mut section, "broker_timeout", "5s", ("1s", "15s")),
        kite_url: section.or("kite_url", BrokerUrl("https://api.kite.trade".to_owned())),
        alpaca_url: section.or("alpaca_url", BrokerUrl("https://api.alpaca.markets".to_owned())),
    };
    section.finish();
    trading_accounts
}

/// The base of a broker's API, without a slash at its end: https, or http for a stand-in on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerUrl(String);

impl BrokerUrl {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for BrokerUrl {
    const EXPECTED: &'static str =
        r#"an https URL without query, such as "https://api.kite.trade" (http for 127.0.0.1 only)"#;

    fn from_text(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let here = url.host() == Some(Host::Ipv4(Ipv4Addr::LOCALHOST));
        let bare = url.username().is_empty() && url.password().is_none();
        let bare = bare && url.query().is_none() && url.fragment().is_none() && url.has_host();
        let fits = bare && (url.scheme() == "https" || (url.scheme() == "http" && here));
        fits.then(|| Self(url.as_str().trim_end_matches('/').to_owned()))
    }
}
