//! Cookies, read byte by byte: a cookie of someone else's that is not ASCII must not hide ours.

use axum_extra::extract::cookie::{Cookie, SameSite};
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use time::Duration;

/// How cookies are set.
#[derive(Debug, Clone, Copy)]
pub struct CookieRules {
    /// For https only.
    pub secure: bool,
}

/// The values of every cookie of this name, as they came (RFC 6265 §5.4); values that are not text are no values.
pub fn values<'h>(headers: &'h HeaderMap, name: &str) -> impl Iterator<Item = &'h str> {
    let lines = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let pairs = lines.flat_map(|line| line.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
    let value = move |pair: &'h [u8]| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=");
    pairs.filter_map(value).filter_map(|value| std::str::from_utf8(value).ok())
}

impl CookieRules {
    /// A cookie out of the reach of scripts, sent below `path` only and never on behalf of another site. `max_age` is
    /// in seconds; without it the cookie ends with the browser's session.
    pub fn set(
        self,
        name: &'static str,
        path: &'static str,
        value: &str,
        max_age: Option<i64>,
    ) -> HeaderValue {
        let mut cookie = Cookie::build((name, value.to_owned()))
            .path(path)
            .http_only(true)
            .same_site(SameSite::Strict)
            .secure(self.secure)
            .build();
        if let Some(seconds) = max_age {
            cookie.set_max_age(Duration::seconds(seconds.max(0)));
        }
        // What we set is visible ASCII, so the conversion holds.
        HeaderValue::try_from(cookie.to_string()).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    pub fn clear(self, name: &'static str, path: &'static str) -> HeaderValue {
        self.set(name, path, "", Some(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_among_any_others() {
        let mut headers = HeaderMap::new();
        for line in [
            &b"nick=J\xfcrgen; token=one"[..],
            "nick=Jürgen;token=two ; x".as_bytes(),
            b"token=\xff; Token=no",
        ] {
            headers.append(COOKIE, HeaderValue::from_bytes(line).unwrap());
        }
        assert_eq!(values(&headers, "token").collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(values(&headers, "tok").count(), 0);
    }
}
