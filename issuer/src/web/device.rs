//! What a client says of itself, made readable: "Firefox on Linux". Believed by nobody; it is for the people who look
//! through the list of their sessions.

use std::net::IpAddr;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use sha2::{Digest as _, Sha256};

/// What browsers write into `User-Agent`, and what they are called. Most pretend to be those below them.
const BROWSERS: [(&str, &str); 11] = [
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Vivaldi/", "Vivaldi"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
];

const SYSTEMS: [(&str, &str); 7] = [
    ("Windows", "Windows"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
];

/// In characters, for what is no browser.
const LONGEST: usize = 40;

fn found(agent: &str, names: &[(&str, &'static str)]) -> Option<&'static str> {
    names.iter().find(|(mark, _)| agent.contains(mark)).map(|(_, name)| *name)
}

/// The kind of program: a browser, or what others call themselves before their version.
fn family(agent: &str) -> &str {
    let own = || agent.split(['/', ' ', '\t', '(', ';']).next().unwrap_or_default();
    found(agent, &BROWSERS).unwrap_or_else(own)
}

/// A name for people; empty if the client says nothing.
pub(super) fn name(agent: &str) -> String {
    let family: String = family(agent).chars().take(LONGEST).collect();
    match found(agent, &SYSTEMS) {
        Some(system) if !family.is_empty() => format!("{family} on {system}"),
        _ => family,
    }
}

/// What stays the same while someone goes on using the same program in the same place: its family, its languages, and
/// the network (/24 of IPv4, /48 of IPv6).
pub(super) fn fingerprint(agent: &str, languages: &[u8], ip: Option<IpAddr>) -> String {
    let mut hash = Sha256::new();
    for part in [family(agent).as_bytes(), languages] {
        hash.update(Sha256::digest(part));
    }
    match ip.map(|ip| ip.to_canonical()) {
        Some(IpAddr::V4(ip)) => hash.update(ip.octets().split_at(3).0),
        Some(IpAddr::V6(ip)) => hash.update(ip.octets().split_at(6).0),
        None => {}
    }
    let [id @ .., _, _, _, _, _, _, _, _]: [u8; 32] = hash.finalize().into();
    Base64UrlUnpadded::encode_string(&id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0";

    #[test]
    fn a_device_is_called_what_people_call_it() {
        let mac = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)";
        let windows = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)";
        let phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15";
        for (agent, expected) in [
            (FIREFOX, "Firefox on Linux"),
            (&format!("{mac} Version/18.1 Safari/605.1.15"), "Safari on macOS"),
            (&format!("{mac} Chrome/131.0.0.0 Safari/537.36"), "Chrome on macOS"),
            (&format!("{windows} Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0"), "Edge on Windows"),
            (&format!("{phone} CriOS/131.0 Mobile/15E148 Safari/604.1"), "Chrome on iPhone"),
            (&format!("{phone} Version/18.1 Mobile/15E148 Safari/604.1"), "Safari on iPhone"),
            ("curl/8.5.0", "curl"),
            ("python-requests/2.32.3", "python-requests"),
            ("okhttp/4.12.0 (Linux; Android 14)", "okhttp on Android"),
            ("Firefox", "Firefox"),
            ("", ""),
            ("/;(", ""),
        ] {
            assert_eq!(name(agent), expected, "{agent}");
        }
        assert_eq!(name(&"x".repeat(5_000)).len(), LONGEST);
    }

    #[test]
    fn a_fingerprint_outlives_an_update_and_not_a_move() {
        let at = |ip: &str| Some(ip.parse().unwrap());
        let home = fingerprint(FIREFOX, b"de-CH", at("192.0.2.7"));
        assert_eq!(home, fingerprint(&FIREFOX.replace("132", "140"), b"de-CH", at("192.0.2.99")));
        assert_ne!(home, fingerprint(FIREFOX, b"de-CH", at("192.0.3.7")));
        assert_ne!(home, fingerprint(FIREFOX, b"fr-CH", at("192.0.2.7")));
        assert_ne!(home, fingerprint("curl/8.5.0", b"de-CH", at("192.0.2.7")));
        let six = |ip| fingerprint(FIREFOX, b"", at(ip));
        assert_eq!(six("2001:db8:1:2::1"), six("2001:db8:1:ffff::9"));
        assert_ne!(six("2001:db8:1::1"), six("2001:db8:2::1"));
        assert_eq!(
            fingerprint(FIREFOX, b"", at("::ffff:192.0.2.1")),
            fingerprint(FIREFOX, b"", at("192.0.2.2"))
        );
    }
}
