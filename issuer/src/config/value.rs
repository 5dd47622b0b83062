//! The kinds of value a configuration key can have, and how each is read: from TOML, or from the text of an
//! environment variable.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use toml::Value;
use url::{Host, Url};

/// A value of a configuration key.
pub(super) trait Setting: Sized {
    /// Follows "expected ".
    const EXPECTED: &'static str;

    fn from_text(text: &str) -> Option<Self>;

    /// Most kinds are written as a TOML string.
    fn from_toml(value: &Value) -> Option<Self> {
        Self::from_text(value.as_str()?)
    }
}

impl Setting for String {
    const EXPECTED: &'static str = "a string, neither empty nor with control characters";

    fn from_text(text: &str) -> Option<Self> {
        let usable = !text.trim().is_empty() && !text.chars().any(char::is_control);
        usable.then(|| text.to_owned())
    }
}

impl Setting for PathBuf {
    const EXPECTED: &'static str = "the path of a file, as a string";

    fn from_text(text: &str) -> Option<Self> {
        (!text.is_empty() && !text.contains('\0')).then(|| text.into())
    }
}

impl Setting for bool {
    const EXPECTED: &'static str = "true or false";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_bool()
    }
}

impl Setting for u32 {
    const EXPECTED: &'static str = "a whole number from 0 to 4294967295";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_integer()?.try_into().ok()
    }
}

impl Setting for SocketAddr {
    const EXPECTED: &'static str = r#"an address and a port, such as "127.0.0.1:8001""#;

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// A list in TOML, comma-separated in an environment variable.
impl<T: Item> Setting for Vec<T> {
    const EXPECTED: &'static str = T::LIST;

    fn from_text(text: &str) -> Option<Self> {
        text.split(',').map(|item| T::from_text(item.trim())).collect()
    }

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_array()?.iter().map(T::from_toml).collect()
    }
}

/// A [`Setting`] that comes in lists.
pub(super) trait Item: Setting {
    const LIST: &'static str;
}

impl Item for String {
    const LIST: &'static str = "a list of strings";
}

impl Item for PathBuf {
    const LIST: &'static str = "a list of paths";
}

impl Item for Origin {
    const LIST: &'static str =
        r#"a list of origins without path, such as ["https://app.example.com", "http://localhost:3000"]"#;
}

impl Item for Network {
    const LIST: &'static str = r#"a list of addresses or blocks, such as ["127.0.0.1", "10.0.0.0/8"]"#;
}

/// The base of an API, without a slash at its end: https, or http for a stand-in on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiUrl(String);

impl ApiUrl {
    pub(super) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for ApiUrl {
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

/// A span of whole seconds, written `"30s"`, `"15m"`, `"12h"` or `"7d"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seconds(pub(crate) i64);

/// Longer spans than ten years are slips of the pen, and sums of shorter ones cannot overflow.
const LONGEST: i64 = 10 * 365 * 86_400;

impl Setting for Seconds {
    const EXPECTED: &'static str = r#"a duration, such as "30s", "15m", "12h" or "7d""#;

    fn from_text(text: &str) -> Option<Self> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match text.get(digits.len()..)? {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return None,
        };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let seconds = digits.parse::<i64>().ok()?.checked_mul(unit)?;
        (seconds <= LONGEST).then_some(Self(seconds))
    }
}

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::from_text(text).ok_or_else(|| format!("expected {}", Self::EXPECTED))
    }
}

/// A point in time in unix seconds, written as a TOML date-time with an offset (RFC 3339).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instant(pub(super) i64);

impl Setting for Instant {
    const EXPECTED: &'static str = "a date and time with an offset, such as 2026-11-20T00:00:00Z";

    fn from_text(text: &str) -> Option<Self> {
        OffsetDateTime::parse(text, &Rfc3339).ok().map(|at| Self(at.unix_timestamp()))
    }

    fn from_toml(value: &Value) -> Option<Self> {
        match value {
            Value::Datetime(at) => Self::from_text(&at.to_string()),
            other => Self::from_text(other.as_str()?),
        }
    }
}

/// The base under which clients reach the issuer: scheme, host and optional port, no trailing slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    url: String,
    origin: String,
}

impl PublicUrl {
    /// The edge of a stack on the developer's own machine.
    pub(super) fn local() -> Self {
        let url = "http://localhost:8080".to_owned();
        Self { origin: url.clone(), url }
    }

    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// Scheme, host and port as a browser sends them in `Origin` (RFC 6454 §6.2).
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

impl Setting for PublicUrl {
    const EXPECTED: &'static str =
        r#"an http or https URL without path or query, such as "https://login.example.com""#;

    fn from_text(text: &str) -> Option<Self> {
        let url = text.strip_suffix('/').unwrap_or(text);
        let Origin(origin) = Origin::from_text(url)?;
        Some(Self { url: url.to_owned(), origin })
    }
}

/// Scheme, host and port as a browser sends them in `Origin` (RFC 6454 §6.2): lower case, in ASCII, without the
/// port that the scheme implies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin(pub(super) String);

impl Setting for Origin {
    const EXPECTED: &'static str = r#"an origin without path, such as "https://app.example.com""#;

    fn from_text(text: &str) -> Option<Self> {
        let (_, host) = text.split_once("://")?;
        // What the parser would take for more than a host, or silently mend.
        if host.contains(|c: char| matches!(c, '/' | '?' | '#' | '@' | '\\' | '*') || c <= ' ') {
            return None;
        }
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        Some(Self(url.origin().ascii_serialization()))
    }
}

/// A block of addresses, `10.0.0.0/8`, or a single one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.contains(&ip.to_canonical())
    }
}

impl Setting for Network {
    const EXPECTED: &'static str = r#"an address or a block, such as "10.0.0.0/8""#;

    fn from_text(text: &str) -> Option<Self> {
        let single = |text: &str| text.parse::<IpAddr>().ok().map(|ip| IpNet::from(ip.to_canonical()));
        text.parse().ok().or_else(|| single(text)).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_numbers_with_a_unit() {
        let cases = [("0s", 0), ("30s", 30), ("15m", 900), ("12h", 43_200), ("7d", 604_800)];
        for (text, seconds) in cases {
            assert_eq!(Seconds::from_text(text), Some(Seconds(seconds)), "{text}");
        }
        for text in
            ["", "15", "m", "-1s", "+1s", "1.5h", "1 h", "1w", "15M", "99999999999999999999d", "4000d"]
        {
            assert!(Seconds::from_text(text).is_none(), "{text}");
        }
    }

    #[test]
    fn an_origin_is_what_a_browser_would_send() {
        let cases = [
            ("http://localhost:8080", "http://localhost:8080"),
            ("https://Login.Example.com/", "https://login.example.com"),
            ("https://login.example.com:443", "https://login.example.com"),
            ("https://bücher.example:8443", "https://xn--bcher-kva.example:8443"),
            ("http://[::1]:3000", "http://[::1]:3000"),
        ];
        for (url, origin) in cases {
            assert_eq!(PublicUrl::from_text(url).unwrap().origin(), origin);
        }
        for url in [
            "",
            "localhost:8080",
            "ftp://a",
            "http://a?b",
            "http://user@a",
            "/path",
            "https://a/auth",
            "https://a//",
            "http://a#",
            "https:a",
            "http://",
            "http://a:99999",
            "https://*.a",
            "*",
            "null",
            "http:\\\\a",
            "http://a b",
        ] {
            assert!(PublicUrl::from_text(url).is_none(), "{url}");
            assert!(Origin::from_text(url).is_none(), "{url}");
        }
        assert!(Origin::from_text("https://a/").is_none());
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        let cases = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("127.0.0.1", "::ffff:127.0.0.1", true),
            ("0.0.0.0/0", "::1", false),
            ("fd00::/8", "fd12::1", true),
            ("192.168.128.0/17", "192.168.127.1", false),
        ];
        for (network, ip, inside) in cases {
            let network = Network::from_text(network).unwrap();
            assert_eq!(network.contains(ip.parse().unwrap()), inside, "{network:?} {ip}");
        }
        for text in ["10.0.0.0/33", "10.0.0", "host/8", "::/129"] {
            assert!(Network::from_text(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_date_needs_an_offset() {
        assert_eq!(Instant::from_text("1970-01-01T00:01:00Z"), Some(Instant(60)));
        assert_eq!(Instant::from_text("1970-01-01T01:00:00+01:00"), Some(Instant(0)));
        let local: toml::Table = toml::from_str("at = 2026-11-20T00:00:00").unwrap();
        assert!(Instant::from_toml(&local["at"]).is_none());
    }
}
