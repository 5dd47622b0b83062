//! Which pages may use the refresh cookie: our own. `SameSite=Strict` says so to the browser; this check holds
//! where a browser or a sibling subdomain does not.

use http::header::ORIGIN;
use http::{HeaderMap, StatusCode};

use super::ApiError;
use crate::config::PublicUrl;

/// Lets through requests of pages under the public URL, same-origin requests, and clients that are no browsers
/// (these send neither `Origin` nor `Sec-Fetch-Site`, and nobody can make them carry someone else's cookie).
///
/// # Errors
/// 403 for a request that another site's page made.
pub(crate) fn check(headers: &HeaderMap, public_url: &PublicUrl) -> Result<(), ApiError> {
    let site = headers.get("sec-fetch-site").map(|value| value.as_bytes());
    let origin = headers.get(ORIGIN).map(|value| value.as_bytes());
    let ours = match (site, origin) {
        (Some(b"same-origin"), _) => true,
        (_, Some(origin)) => origin == public_url.origin().as_bytes(),
        (Some(site), None) => site == b"none",
        (None, None) => true,
    };
    if ours {
        return Ok(());
    }
    Err(ApiError::new(StatusCode::FORBIDDEN, "cross_site", "Permission denied"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn only_our_own_pages_may_use_the_cookie() {
        let text = "[server]\npublic_url = \"https://trade.example\"\n[secrets]\ncurrent = \"0123456789 0123456789 0123456789\"";
        let public_url = config::parse("x.toml".as_ref(), text, []).settings.unwrap().server.public_url;
        let cases = [
            (None, None, true),
            (None, Some("https://trade.example"), true),
            (Some("same-site"), Some("https://trade.example"), true),
            (Some("same-origin"), Some("http://127.0.0.1:8001"), true),
            (Some("same-origin"), None, true),
            (Some("none"), None, true),
            (None, Some("https://evil.example"), false),
            (None, Some("https://trade.example.evil.example"), false),
            (None, Some("http://trade.example"), false),
            (None, Some("null"), false),
            (Some("cross-site"), None, false),
            (Some("same-site"), None, false),
            (Some("none"), Some("https://evil.example"), false),
            (Some("cross-site"), Some("https://evil.example"), false),
        ];
        for (site, origin, allowed) in cases {
            let mut headers = HeaderMap::new();
            if let Some(site) = site {
                headers.insert("sec-fetch-site", site.parse().unwrap());
            }
            if let Some(origin) = origin {
                headers.insert(ORIGIN, origin.parse().unwrap());
            }
            assert_eq!(check(&headers, &public_url).is_ok(), allowed, "{site:?} {origin:?}");
        }
    }
}
