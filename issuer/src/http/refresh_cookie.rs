//! The cookie that carries the refresh token: out of the reach of scripts, sent to `/v1/auth` only and never on
//! behalf of another site.

use axum_extra::extract::cookie::{Cookie, SameSite};
use countersign_claims::Reject;
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use time::Duration;

const NAME: &str = "refresh_token";

/// The refresh token of the cookie, if there is one and it is not empty.
///
/// # Errors
/// [`Reject::AmbiguousCredentials`] for several: whoever planted the other one must not choose.
pub(crate) fn get(headers: &HeaderMap) -> Result<Option<String>, Reject> {
    let values = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let cookies = values.flat_map(|value| Cookie::split_parse(value.to_owned())).filter_map(Result::ok);
    let mut tokens = cookies.filter(|cookie| cookie.name() == NAME && !cookie.value().is_empty());
    match (tokens.next(), tokens.next()) {
        (Some(_), Some(_)) => Err(Reject::AmbiguousCredentials),
        (token, _) => Ok(token.map(|cookie| cookie.value().to_owned())),
    }
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
