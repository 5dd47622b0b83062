//! Where a request comes from: its address, what the client calls itself, and the id of the request. Of all of it, only
//! the address is believed, and `X-Forwarded-For` only as far as trusted proxies wrote it.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Once};

use axum::extract::{ConnectInfo, FromRef, FromRequestParts};
use http::header::{ACCEPT_LANGUAGE, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};

use super::{RequestId, device};
use crate::config::Network;

/// The proxies whose `X-Forwarded-For` is believed.
#[derive(Debug, Clone)]
pub struct TrustedProxies {
    networks: Arc<[Network]>,
    /// Whether someone was told that there should be one.
    missed: Arc<Once>,
}

impl TrustedProxies {
    pub fn new(networks: &[Network]) -> Self {
        Self { networks: networks.into(), missed: Arc::new(Once::new()) }
    }

    fn hold(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(ip))
    }

    /// Says so, once, if what a peer sends looks as if it were our own proxy, and none is configured.
    fn mind(&self, peer: IpAddr, headers: &HeaderMap) {
        if self.networks.is_empty() && headers.contains_key(FORWARDED_FOR) && is_near(peer.to_canonical()) {
            self.missed.call_once(|| {
                tracing::warn!(
                    event = "proxy_not_trusted",
                    %peer,
                    "requests come through a proxy that server.trusted_proxies does not name: all clients behind it have its \
                     address, and share one limit"
                );
            });
        }
    }
}

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Whether an address is of this machine, or of a network that the Internet does not reach (RFC 1918, RFC 4193).
fn is_near(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[derive(Debug, Clone)]
pub struct Client {
    pub ip: Option<IpAddr>,
    /// "Firefox on Linux": printable, short, possibly empty.
    pub device: String,
    /// What stays the same while someone goes on using the same program in the same place.
    pub fingerprint: String,
    /// As the log has it.
    pub request_id: String,
}

impl<S> FromRequestParts<S> for Client
where
    S: Send + Sync,
    TrustedProxies: FromRef<S>,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
        let trusted = TrustedProxies::from_ref(state);
        if let Some(peer) = peer {
            trusted.mind(peer, &parts.headers);
        }
        let ip = peer.map(|peer| client_ip(peer, &parts.headers, &trusted));
        let agent = parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let languages = parts.headers.get(ACCEPT_LANGUAGE).map(HeaderValue::as_bytes).unwrap_or_default();
        let request_id = parts.extensions.get::<RequestId>().map(|RequestId(id)| id.clone());
        Ok(Self {
            ip,
            device: device::name(agent),
            fingerprint: device::fingerprint(agent, languages, ip),
            request_id: request_id.unwrap_or_default(),
        })
    }
}

/// The first address, counted from ourselves outwards, that is not a trusted proxy.
fn client_ip(peer: IpAddr, headers: &HeaderMap, trusted: &TrustedProxies) -> IpAddr {
    let mut nearest = peer.to_canonical();
    let forwarded = headers.get_all(FORWARDED_FOR).iter().rev().map(HeaderValue::as_bytes);
    // Byte by byte: what a client says ahead of our proxy, text or not, must not hide what the proxy says.
    let hops = forwarded.flat_map(|value| value.rsplit(|byte| *byte == b','));
    for hop in hops {
        if !trusted.hold(nearest) {
            break;
        }
        let Some(ip) = address(hop) else { break };
        nearest = ip.to_canonical();
    }
    nearest
}

fn address(hop: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(hop.trim_ascii()).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let text = "[server]\ntrusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]\n[secrets]\ncurrent = \"0123456789 0123456789 0123456789\"";
        let settings = config::parse("x.toml".as_ref(), text, []).settings.unwrap();
        let trusted = TrustedProxies::new(&settings.server.trusted_proxies);
        let cases = [
            ("127.0.0.1", &["203.0.113.9"][..], "203.0.113.9"),
            ("127.0.0.1", &["6.6.6.6, 203.0.113.9"], "203.0.113.9"),
            ("127.0.0.1", &["6.6.6.6", "203.0.113.9, 10.1.1.1"], "203.0.113.9"),
            ("127.0.0.1", &["spoof, 10.1.1.1"], "10.1.1.1"),
            ("127.0.0.1", &["\u{ff}, 203.0.113.9"], "203.0.113.9"),
            ("127.0.0.1", &["\u{ff}", "203.0.113.9"], "203.0.113.9"),
            ("127.0.0.1", &["203.0.113.9, \u{ff}, 10.1.1.1"], "10.1.1.1"),
            ("127.0.0.1", &[], "127.0.0.1"),
            ("198.51.100.7", &["6.6.6.6"], "198.51.100.7"),
            ("::ffff:127.0.0.1", &["203.0.113.9"], "203.0.113.9"),
        ];
        for (peer, forwarded, expected) in cases {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append("x-forwarded-for", HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            let ip = client_ip(peer.parse().unwrap(), &headers, &trusted);
            assert_eq!(ip.to_string(), expected, "{peer} {forwarded:?}");
        }
    }
}
