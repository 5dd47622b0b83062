//! Where everything listens: the ports that clients know, or free ones.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    pub edge: u16,
    pub issuer: u16,
    /// Where the issuer talks to the edge and to operators, and to nobody else.
    pub internal: u16,
    pub backend: u16,
    pub ticker: u16,
    pub alerts: u16,
    pub admin: u16,
}

impl Ports {
    /// The highest `base` that leaves room for all of them.
    pub const HIGHEST_BASE: u16 = u16::MAX - 6;

    /// The ports of the local stack, as existing clients use them and as `envoy.yaml` has them.
    pub const LOCAL: Self = Self {
        edge: 8080,
        issuer: 8001,
        internal: 8002,
        backend: 8081,
        ticker: 8082,
        alerts: 8083,
        admin: 9901,
    };

    /// One after the other from `base`, which leaves room for all of them.
    pub fn from_base(base: u16) -> Self {
        let mut ports = base..=u16::MAX;
        let mut next = || ports.next().unwrap_or(u16::MAX);
        Self {
            edge: next(),
            issuer: next(),
            internal: next(),
            backend: next(),
            ticker: next(),
            alerts: next(),
            admin: next(),
        }
    }

    /// Ports that nobody listens on now.
    pub fn free() -> Result<Self> {
        Ok(Self {
            edge: free_port()?,
            issuer: free_port()?,
            internal: free_port()?,
            backend: free_port()?,
            ticker: free_port()?,
            alerts: free_port()?,
            admin: free_port()?,
        })
    }

    /// Each port with the name of what listens there.
    pub fn named(self) -> [(&'static str, u16); 7] {
        [
            ("edge", self.edge),
            ("issuer", self.issuer),
            ("issuer's internal port", self.internal),
            ("backend", self.backend),
            ("ticker", self.ticker),
            ("alerts", self.alerts),
            ("Envoy admin", self.admin),
        ]
    }

    pub(crate) fn check_free(self) -> Result<()> {
        for (name, port) in self.named() {
            TcpListener::bind(loopback(port)).with_context(|| {
                format!(
                    "cannot listen on 127.0.0.1:{port} ({name}); stop what listens there, or \
                     choose others by --port-base"
                )
            })?;
        }
        Ok(())
    }
}

/// A port that nobody listens on now, and that no other call in this process gets.
///
/// Not one that the kernel picks: it may pick it again for a connection before it is listened on.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Processes that run side by side begin in different places.
    let begin = std::process::id() % 500 * 20;
    std::iter::repeat_with(|| begin + NEXT.fetch_add(1, Ordering::Relaxed))
        .take(10_000)
        .filter_map(|offset| u16::try_from(20_000 + offset % 10_000).ok())
        .find(|port| TcpListener::bind(loopback(*port)).is_ok())
        .context("every port from 20000 to 29999 is taken")
}

pub(super) fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
