//! Where everything listens: the ports that clients know, or free ones.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

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
        // All held until all are known, so that no two are the same.
        let held: Vec<_> = (0..6)
            .map(|_| TcpListener::bind(loopback(0)))
            .collect::<Result<_, _>>()
            .context("cannot find a free port")?;
        let port = |i: usize| held[i].local_addr().map(|address| address.port());
        Ok(Self {
            edge: port(0)?,
            issuer: port(1)?,
            backend: port(2)?,
            ticker: port(3)?,
            alerts: port(4)?,
            admin: port(5)?,
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

pub(super) fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
