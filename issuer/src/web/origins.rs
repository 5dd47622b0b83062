//! Which pages may call: those under the public URL, and those of the origins that `cors.origins` lists. The same
//! list answers browsers (CORS) and guards cookies: `SameSite=Strict` says so to the browser; the check here holds
//! where a browser or a sibling subdomain does not.

use std::sync::Arc;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method};
use tower_http::cors::CorsLayer;

use super::{Problem, REQUEST_ID, Reason};
use crate::config::{Cors, PublicUrl};

const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// The origins whose pages may use the refresh cookie and read our answers; cheap to clone.
#[derive(Debug, Clone)]
pub struct Origins {
    /// The origin of the public URL.
    own: Arc<str>,
    others: Arc<[String]>,
}

impl Origins {
    pub fn new(public_url: &PublicUrl, cors: &Cors) -> Self {
        Self { own: public_url.origin().into(), others: cors.origins.as_slice().into() }
    }

    fn hold(&self, origin: &[u8]) -> bool {
        origin == self.own.as_bytes() || self.others.iter().any(|other| other.as_bytes() == origin)
    }

    /// Lets through requests of known pages, same-origin requests, and clients that are no browsers (these send
    /// neither `Origin` nor `Sec-Fetch-Site`, and nobody can make them carry someone else's cookie).
    ///
    /// # Errors
    /// 403 for a request that another site's page made.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let site = headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
        let origin = headers.get(ORIGIN).map(HeaderValue::as_bytes);
        let known = match (site, origin) {
            (Some(b"same-origin"), _) => true,
            (_, Some(origin)) => self.hold(origin),
            (Some(site), None) => site == b"none",
            (None, None) => true,
        };
        if known { Ok(()) } else { Err(Problem::new(Reason::CrossSite)) }
    }

    /// Answers browsers for the listed origins, on refusals too: a page could not see a 401 otherwise.
    pub(crate) fn cors(&self) -> CorsLayer {
        let origins: Vec<HeaderValue> =
            self.others.iter().filter_map(|origin| HeaderValue::try_from(origin).ok()).collect();
        CorsLayer::new()
            .allow_origin(origins)
            .allow_credentials(true)
            .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
            .allow_headers([AUTHORIZATION, CONTENT_TYPE, HeaderName::from_static("x-api-key"), REQUEST_ID])
            .expose_headers([REQUEST_ID, RETRY_AFTER, WWW_AUTHENTICATE])
    }
}

/// Whether a page in a browser made the request, which keeps its refresh token in the cookie.
pub fn is_browser(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN) || headers.contains_key(SEC_FETCH_SITE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn only_known_pages_may_use_the_cookie() {
        let text = "[server]\npublic_url = \"https://trade.example\"\n[cors]\norigins = [\"https://app.example\"]\n\
                    [secrets]\ncurrent = \"0123456789 0123456789 0123456789\"";
        let settings = config::parse("x.toml".as_ref(), text, []).settings.unwrap();
        let origins = Origins::new(&settings.server.public_url, &settings.cors);
        let cases = [
            (None, None, true),
            (None, Some("https://trade.example"), true),
            (Some("same-site"), Some("https://trade.example"), true),
            (Some("cross-site"), Some("https://app.example"), true),
            (Some("same-origin"), Some("http://127.0.0.1:8001"), true),
            (Some("same-origin"), None, true),
            (Some("none"), None, true),
            (None, Some("https://evil.example"), false),
            (None, Some("https://trade.example.evil.example"), false),
            (None, Some("http://trade.example"), false),
            (None, Some("http://app.example"), false),
            (None, Some("null"), false),
            (Some("cross-site"), None, false),
            (Some("same-site"), None, false),
            (Some("none"), Some("https://evil.example"), false),
            (Some("cross-site"), Some("https://evil.example"), false),
        ];
        for (site, origin, allowed) in cases {
            let mut headers = HeaderMap::new();
            if let Some(site) = site {
                headers.insert(SEC_FETCH_SITE, site.parse().unwrap());
            }
            if let Some(origin) = origin {
                headers.insert(ORIGIN, origin.parse().unwrap());
            }
            assert_eq!(origins.check(&headers).is_ok(), allowed, "{site:?} {origin:?}");
        }
    }
}
