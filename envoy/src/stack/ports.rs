//! Where everything listens: the ports that clients know, or free ones.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result};
use tokio::net::TcpSocket;

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
            bind(port).with_context(|| {
                format!(
                    "cannot listen on 127.0.0.1:{port} ({name}); stop what listens there, or \
                     choose others by --port-base"
                )
            })?;
        }
        Ok(())
    }
}

/// How many ports a process takes its own from.
const BLOCK: u16 = 1_000;

/// The ports of one process. Whoever listens on the first of them has the others.
struct Block {
    first: TcpListener,
    next: AtomicU16,
}

/// A port that nobody listens on now, and that no process beside us gets: of this one, 998 more calls get another.
///
/// Not one that the kernel picks: it may pick it again for a connection before it is listened on.
pub fn free_port() -> Result<u16> {
    static OURS: LazyLock<Option<Block>> = LazyLock::new(|| {
        let mut claims =
            (20_000..30_000).step_by(BLOCK.into()).map(|first| TcpListener::bind(loopback(first)));
        Some(Block { first: claims.find_map(Result::ok)?, next: AtomicU16::new(0) })
    });
    let ours =
        OURS.as_ref().context("no block of ports is left: 20000, 21000 and so on to 29000 are taken")?;
    let first = ours.first.local_addr()?.port();
    std::iter::repeat_with(|| first + 1 + ours.next.fetch_add(1, Ordering::Relaxed) % (BLOCK - 1))
        .take(usize::from(BLOCK) - 1)
        .find(|port| bind(*port).is_ok())
        .with_context(|| format!("every port from {} to {} is taken", first + 1, first + BLOCK - 1))
}

/// Fails if somebody listens there.
///
/// It does not listen itself: a process that another thread starts meanwhile inherits the socket until it has become the
/// other program, and nobody else could listen until then.
fn bind(port: u16) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(loopback(port))?;
    Ok(socket)
}

pub(super) fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_asked_for_is_in_nobodys_way() {
        let port = free_port().unwrap();
        let asked = bind(port).unwrap();
        let listener = TcpListener::bind(loopback(port)).unwrap();
        drop(asked);
        assert_eq!(bind(port).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        bind(port).unwrap();
    }
}
