//! What is measured, on which terms, and what comes of it.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::time::Instant;

use crate::credentials::Credentials;
use crate::database::{Database, Kind};
use crate::issuer::{Hashing, Home, Programs};
use crate::load::Run;
use crate::scene::Scene;

pub(crate) const CONNECTIONS: u32 = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// Logins, and the limit that argon2id sets
    Logins,
    /// Logins with a second factor: password, then code
    Mfa,
    Refreshes,
    Me,
    Jwks,
    /// A change that is written down: an administrator changes roles
    Audit,
    /// The pages of one's own events
    Events,
    /// The administrator's list of accounts
    Admin,
    /// Logins from networks that have failed too often
    Limits,
    /// Services read credentials of trading accounts
    Credentials,
    /// `keys rewrap`, with many trading accounts
    Rewrap,
    /// Of `me` and the JWKS while logins saturate
    Latency,
    /// At rest, and after every load
    Memory,
    /// How all this fares with more rows
    Rows,
}

impl Part {
    /// The loads that need nothing but accounts, in the order in which they are measured.
    pub(crate) const LOADS: [Self; 9] = [
        Self::Logins,
        Self::Mfa,
        Self::Refreshes,
        Self::Me,
        Self::Jwks,
        Self::Audit,
        Self::Events,
        Self::Admin,
        Self::Limits,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Logins => "logins",
            Self::Mfa => "logins with a code",
            Self::Refreshes => "refreshes",
            Self::Me => "me",
            Self::Jwks => "JWKS",
            Self::Audit => "audited changes",
            Self::Events => "pages of events",
            Self::Admin => "pages of accounts",
            Self::Limits => "refusals by limits",
            Self::Credentials => "credentials",
            Self::Rewrap => "rewrap",
            Self::Latency => "latency",
            Self::Memory => "memory",
            Self::Rows => "rows",
        }
    }
}

impl Serialize for Part {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Everything that the measurements of a run share.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) programs: Programs,
    /// `target/bench`.
    pub(crate) folder: PathBuf,
    pub(crate) hashing: Hashing,
    pub(crate) seconds: u64,
    pub(crate) rounds: usize,
    /// Accounts and all that comes with them: the first number for everything, the others for [`Part::Rows`].
    pub(crate) rows: Vec<u64>,
    pub(crate) only: Option<Vec<Part>>,
    /// Trading accounts, for [`Part::Credentials`] and [`Part::Rewrap`].
    pub(crate) records: u64,
    /// Keep the issuer's log.
    pub(crate) log: bool,
    pub(crate) begun: Instant,
}

/// A load and what it took.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Measured {
    #[serde(flatten)]
    pub(crate) run: Run,
    /// Processor time of the issuer for each request, in µs.
    pub(crate) issuer_cpu_us: f64,
    /// The same of the load itself, which competes with the issuer for the processors.
    pub(crate) load_cpu_us: f64,
}

/// One of [`Part::LOADS`].
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Load {
    pub(crate) name: Part,
    #[serde(flatten)]
    pub(crate) measured: Measured,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Limit {
    /// Hashes per second that the machine can do with the same parameters and threads; the middle of the rounds.
    pub(crate) per_second: f64,
    /// How much of it the logins reached.
    pub(crate) reached: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    /// The logins that saturated meanwhile.
    pub(crate) logins: Run,
    pub(crate) me: Run,
    pub(crate) jwks: Run,
}

#[derive(Debug, Serialize)]
pub(crate) struct Memory {
    pub(crate) at_rest_mb: f64,
    pub(crate) after_load_mb: f64,
}

/// The loads with so many accounts, and as many sessions, second factors, events and failures.
#[derive(Debug, Serialize)]
pub(crate) struct Size {
    pub(crate) rows: u64,
    pub(crate) at_rest_mb: f64,
    pub(crate) loads: Vec<Load>,
}

/// All that one database has to show.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Results {
    pub(crate) database: serde_json::Value,
    pub(crate) loads: Vec<Load>,
    pub(crate) limit: Option<Limit>,
    pub(crate) latency: Option<Latency>,
    pub(crate) memory: Option<Memory>,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) rows: Vec<Size>,
}

impl Bench {
    pub(crate) async fn measure(&self, kind: Kind) -> Result<Results> {
        let folder = self.folder.join(format!("issuer-{}", kind.name()));
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let database = Database::create(kind, &folder).await?;
        let log = self.log.then(|| self.folder.join(format!("issuer-{}.log", kind.name())));
        let home = Home::prepare(folder, &database.url, self.hashing, log)?;
        let results = Scene { bench: self, database: &database, home }.play().await;
        database.drop().await?;
        results
    }

    pub(crate) fn wants(&self, part: Part) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(&part))
    }

    /// Memory is of interest only after the loads.
    pub(crate) fn loads(&self, part: Part) -> bool {
        self.wants(part) || self.wants(Part::Memory)
    }
}
