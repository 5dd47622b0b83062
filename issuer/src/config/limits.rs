//! The sections about who proves who they are, and how often they may fail to.

use super::reader::Reader;
use super::sections::span;

/// How many failures are too many, how many registrations, and how many messages. Times are seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub failures_per_account: u32,
    /// For all accounts together, from one IPv4 address or IPv6 /64.
    pub failures_per_address: u32,
    /// From one IPv4 address or IPv6 /64, whatever comes of them.
    pub registrations_per_address: u32,
    /// How long after the first of them registrations are counted together.
    pub registrations_window: i64,
    /// That strangers have sent, from one IPv4 address or IPv6 /64, to whatever addresses.
    pub messages_per_address: u32,
    /// How long after the first of them messages are counted together.
    pub messages_window: i64,
    /// How long after the first of them failures are counted together.
    pub window: i64,
    /// After too many. Doubled with every further failure.
    pub first_delay: i64,
    pub longest_delay: i64,
}

pub(super) fn limits(reader: &mut Reader) -> Limits {
    let mut section = reader.section("limits");
    let limits = Limits {
        failures_per_account: section.or("failures_per_account", 10),
        failures_per_address: section.or("failures_per_address", 50),
        registrations_per_address: section.or("registrations_per_address", 20),
        registrations_window: span(&mut section, "registrations_window", "1h", ("1m", "24h")),
        messages_per_address: section.or("messages_per_address", 20),
        messages_window: span(&mut section, "messages_window", "1h", ("1m", "24h")),
        window: span(&mut section, "window", "15m", ("1m", "24h")),
        first_delay: span(&mut section, "first_delay", "30s", ("1s", "1h")),
        longest_delay: span(&mut section, "longest_delay", "15m", ("1s", "24h")),
    };
    for (name, given, least, most) in [
        ("failures_per_account", limits.failures_per_account, 3, 1000),
        ("failures_per_address", limits.failures_per_address, 3, 1_000_000),
        ("registrations_per_address", limits.registrations_per_address, 1, 1_000_000),
        ("messages_per_address", limits.messages_per_address, 1, 1_000_000),
    ] {
        if !(least..=most).contains(&given) {
            section.error(name, format!("expected {least} to {most}"));
        }
    }
    if limits.longest_delay < limits.first_delay {
        section.error("longest_delay", "is shorter than limits.first_delay");
    }
    section.finish();
    limits
}

/// The second factor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mfa {
    /// What authenticator apps show beside the user's address.
    pub issuer: String,
}

/// In characters: more does not fit on the screen of a telephone, and makes the QR code dense.
const LONGEST_ISSUER: usize = 64;

pub(super) fn mfa(reader: &mut Reader) -> Mfa {
    let mut section = reader.section("mfa");
    let issuer: String = section.or("issuer", "Countersign".into());
    // The label of the key is `issuer:account`.
    if issuer.contains(':') || issuer.chars().count() > LONGEST_ISSUER {
        section.error("issuer", format!("expected 1 to {LONGEST_ISSUER} characters without ':'"));
    }
    section.finish();
    Mfa { issuer }
}
