//! Where a request comes from: its address and what the client calls itself. Both are shown to people and
//! believed by nobody; `X-Forwarded-For` counts only as far as trusted proxies wrote it.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use http::HeaderMap;
use http::header::USER_AGENT;
use http::request::Parts;

use crate::app::App;
use crate::config::Network;

const MAX_DEVICE_CHARS: usize = 200;

#[derive(Debug, Clone)]
pub struct Client {
    pub ip: Option<IpAddr>,
    /// Printable, at most 200 characters, possibly empty.
    pub device: String,
}

impl Client {
    /// For the log; empty if unknown.
    pub fn ip(&self) -> String {
        self.ip.map(|ip| ip.to_string()).unwrap_or_default()
    }
}

impl FromRequestParts<App> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
        let trusted = &app.settings.server.trusted_proxies;
        let ip = peer.map(|peer| client_ip(peer, &parts.headers, trusted));
        let agent = parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Ok(Self { ip, device: agent.chars().take(MAX_DEVICE_CHARS).collect() })
    }
}

/// The first address, counted from ourselves outwards, that is not a trusted proxy.
fn client_ip(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |ip: IpAddr| trusted.iter().any(|network| network.contains(ip));
    let mut nearest = peer.to_canonical();
    let forwarded = headers.get_all("x-forwarded-for").iter().rev();
    let hops = forwarded.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
    for hop in hops {
        if !is_trusted(nearest) {
            break;
        }
        let Ok(ip) = hop.trim().parse::<IpAddr>() else { break };
        nearest = ip.to_canonical();
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let text = "[server]\ntrusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]\n[secrets]\ncurrent = \"0123456789 0123456789 0123456789\"";
        let settings = config::parse("x.toml".as_ref(), text, []).settings.unwrap();
        let cases = [
            ("127.0.0.1", &["203.0.113.9"][..], "203.0.113.9"),
            ("127.0.0.1", &["6.6.6.6, 203.0.113.9"], "203.0.113.9"),
            ("127.0.0.1", &["6.6.6.6", "203.0.113.9, 10.1.1.1"], "203.0.113.9"),
            ("127.0.0.1", &["spoof, 10.1.1.1"], "10.1.1.1"),
            ("127.0.0.1", &[], "127.0.0.1"),
            ("198.51.100.7", &["6.6.6.6"], "198.51.100.7"),
            ("::ffff:127.0.0.1", &["203.0.113.9"], "203.0.113.9"),
        ];
        for (peer, forwarded, expected) in cases {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append("x-forwarded-for", value.parse().unwrap());
            }
            let ip = client_ip(peer.parse().unwrap(), &headers, &settings.server.trusted_proxies);
            assert_eq!(ip.to_string(), expected, "{peer} {forwarded:?}");
        }
    }
}
