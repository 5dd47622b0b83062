//! The listener that only services and the operator's tools reach, and what services are given there.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::Settings;
use super::reader::Reader;
use super::roles::is_scope;
use super::sections::span;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Internal {
    pub listen: SocketAddr,
    /// It is the address of `server.listen`, and one listener serves both.
    pub shared: bool,
    pub tls: Option<Tls>,
}

/// What the listener shows to who connects, and asks for. PEM files; read again when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificate, and those between it and its root.
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    /// Roots of the certificates of clients; without, clients show none.
    pub client_ca_file: Option<PathBuf>,
}

pub(super) fn internal(reader: &mut Reader, folder: &Path, public: SocketAddr) -> Internal {
    let mut section = reader.section("internal");
    let listen = section.or("listen", SocketAddr::from((Ipv4Addr::LOCALHOST, 8002)));
    // Port 0 is another one each time.
    let shared = listen == public && listen.port() != 0;
    if shared {
        let hint = "is the address of server.listen: whoever reaches that reaches /v1/internal and /metrics";
        section.warning("listen", hint);
    }
    let tls = section.table("tls");
    section.finish();
    let mut section = reader.entry("internal.tls".to_owned(), tls);
    let [cert, key, ca] =
        ["cert_file", "key_file", "client_ca_file"].map(|name| section.optional::<PathBuf>(name));
    let tls = match (cert, key) {
        (Some(cert), Some(key)) => Some(Tls {
            cert_file: folder.join(cert),
            key_file: folder.join(key),
            client_ca_file: ca.map(|ca| folder.join(ca)),
        }),
        (None, None) if ca.is_none() => None,
        (cert, _) => {
            let missing = if cert.is_none() { "cert_file" } else { "key_file" };
            section.error(missing, "is required beside the other keys of [internal.tls]");
            None
        }
    };
    if tls.is_some() && shared {
        section.error("cert_file", "needs an address of its own: server.listen is plain http");
    }
    section.finish();
    Internal { listen, shared, tls }
}

/// Services and their tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Services {
    /// Of the tokens with which services call each other through the edge, in seconds.
    pub token_lifetime: i64,
    /// What services may be given beside the permissions that roles grant.
    pub scopes: Vec<String>,
    /// Tokens that one service may get in a minute.
    pub tokens_per_minute: u32,
    /// Readings of credentials that one service may make in a minute.
    pub credential_reads_per_minute: u32,
    /// Lists of accounts that one service may read in a minute.
    pub account_lists_per_minute: u32,
    /// Calls in a minute by which one service may ask what users may do.
    pub authz_checks_per_minute: u32,
}

impl Settings {
    /// What services may be given for the edge, sorted.
    pub fn service_permissions(&self) -> Vec<&str> {
        let granted = self.roles.0.values().flatten().chain(&self.services.scopes);
        let permissions: BTreeSet<&str> = granted.map(String::as_str).collect();
        permissions.into_iter().collect()
    }
}

/// More scopes make tokens too large, and lists that nobody reads.
const MOST_SCOPES: usize = 100;

pub(super) fn services(reader: &mut Reader) -> Services {
    let mut section = reader.section("services");
    let services = Services {
        token_lifetime: span(&mut section, "token_lifetime", "5m", ("10s", "1h")),
        scopes: section.or("scopes", Vec::new()),
        tokens_per_minute: section.or("tokens_per_minute", 600),
        credential_reads_per_minute: section.or("credential_reads_per_minute", 100_000),
        account_lists_per_minute: section.or("account_lists_per_minute", 100_000),
        authz_checks_per_minute: section.or("authz_checks_per_minute", 100_000),
    };
    if services.scopes.len() > MOST_SCOPES {
        section.error("scopes", format!("expected at most {MOST_SCOPES}"));
    }
    if let Some(odd) = services.scopes.iter().find(|scope| !is_scope(scope) || scope.contains('*')) {
        let rule = "cannot be a scope: printable ASCII without spaces, quotes and '*'";
        section.error("scopes", format!("{odd:?} {rule}"));
    }
    for (name, most) in [
        ("tokens_per_minute", services.tokens_per_minute),
        ("credential_reads_per_minute", services.credential_reads_per_minute),
        ("account_lists_per_minute", services.account_lists_per_minute),
        ("authz_checks_per_minute", services.authz_checks_per_minute),
    ] {
        if !(1..=10_000_000).contains(&most) {
            section.error(name, "expected 1 to 10000000");
        }
    }
    section.finish();
    services
}
