//! Where everything listens: the ports that clients know, or free ones.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

#[derive(Debug, Clone, Copy)]
pub struct Ports {
    pub edge: u16,
    pub issuer: u16,
    pub backend: u16,
    pub ticker: u16,
    pub alerts: u16,
    pub admin: u16,
}

impl Ports {
    /// The ports of the local stack, as existing clients use them and as `envoy.yaml` has them.
    pub const LOCAL: Self =
        Self { edge: 8080, issuer: 8001, backend: 8081, ticker: 8082, alerts: 8083, admin: 9901 };

    /// Ports that nobody listens on now.
    pub fn free() -> Result<Self> {
        Ok(Self {
            edge: free_port()?,
            issuer: free_port()?,
            backend: free_port()?,
            ticker: free_port()?,
            alerts: free_port()?,
            admin: free_port()?,
        })
    }

    /// Each port with the name of what listens there.
    pub fn named(self) -> [(&'static str, u16); 6] {
        [
            ("edge", self.edge),
            ("issuer", self.issuer),
            ("backend", self.backend),
            ("ticker", self.ticker),
            ("alerts", self.alerts),
            ("Envoy admin", self.admin),
        ]
    }

    pub(crate) fn check_free(self) -> Result<()> {
        for (name, port) in self.named() {
            TcpListener::bind(loopback(port)).with_context(|| {
                format!("cannot listen on 127.0.0.1:{port} ({name}); stop what listens there and try again")
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
