//! The cookie that carries the refresh token: out of the reach of scripts, sent to `/v1/auth` only and never on
//! behalf of another site.

use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};
use http::{HeaderMap, HeaderValue};
use time::Duration;

const NAME: &str = "refresh_token";

pub(crate) fn get(headers: &HeaderMap) -> Option<String> {
    let jar = CookieJar::from_headers(headers);
    jar.get(NAME).map(|cookie| cookie.value().to_owned()).filter(|value| !value.is_empty())
}

/// `max_age` in seconds; without it the cookie ends with the browser session.
pub(crate) fn set(token: &str, max_age: Option<i64>, secure: bool) -> HeaderValue {
    let mut cookie = Cookie::build((NAME, token.to_owned()))
        .path("/v1/auth")
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(secure)
        .build();
    if let Some(seconds) = max_age {
        cookie.set_max_age(Duration::seconds(seconds.max(0)));
    }
    // Tokens and attributes are visible ASCII, so the conversion holds.
    HeaderValue::try_from(cookie.to_string()).unwrap_or_else(|_| HeaderValue::from_static(""))
}

pub(crate) fn clear(secure: bool) -> HeaderValue {
    set("", Some(0), secure)
}
