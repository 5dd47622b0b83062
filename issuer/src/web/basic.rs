//! A client's name and secret in `Authorization` (RFC 7617), as OAuth puts them there (RFC 6749 §2.3.1).

use std::fmt;

use base64ct::{Base64, Encoding as _};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use url::form_urlencoded;
use zeroize::Zeroizing;

/// The challenge for them.
pub const BASIC_CHALLENGE: &str = "Basic realm=\"countersign\", charset=\"UTF-8\"";

/// What `Authorization` says.
#[derive(PartialEq, Eq)]
pub enum Basic {
    Absent,
    /// Name and secret.
    Shown(String, Zeroizing<String>),
    /// Another scheme, several values, or what cannot be read.
    Unreadable,
}

impl fmt::Debug for Basic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Basic(…)")
    }
}

impl Basic {
    pub fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Self::Absent };
        let shown = values.next().is_none().then(|| read(value.as_bytes().trim_ascii())).flatten();
        shown.map_or(Self::Unreadable, |(name, secret)| Self::Shown(name, secret))
    }
}

fn read(value: &[u8]) -> Option<(String, Zeroizing<String>)> {
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let bytes = Zeroizing::new(Base64::decode_vec(std::str::from_utf8(encoded.trim_ascii()).ok()?).ok()?);
    let (name, secret) = std::str::from_utf8(&bytes).ok()?.split_once(':')?;
    Some((decoded(name), Zeroizing::new(decoded(secret))))
}

/// Name and secret are form-encoded each, before they are put together.
fn decoded(text: &str) -> String {
    // A name without a value; what the two signs mean in a form must not end it.
    let text = text.replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(text.as_bytes()).next().map(|(name, _)| name.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn shown(values: &[&[u8]]) -> Option<(String, String)> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        match Basic::of(&headers) {
            Basic::Shown(name, secret) => Some((name, secret.as_str().to_owned())),
            _ => None,
        }
    }

    #[test]
    fn a_name_and_a_secret_are_read_as_oauth_writes_them() {
        let pair = |name: &str, secret: &str| Some((name.to_owned(), secret.to_owned()));
        assert_eq!(shown(&[b"Basic dGlja2VyOmFiYw=="]), pair("ticker", "abc"));
        assert_eq!(shown(&[b"basic  dGlja2VyOmFiYw== "]), pair("ticker", "abc"));
        // a%3Ab:c+d%26%25&=
        assert_eq!(shown(&[b"Basic YSUzQWI6YytkJTI2JTI1Jj0="]), pair("a:b", "c d&%&="));
        assert_eq!(shown(&[b"Basic Og=="]), pair("", ""));
        for unreadable in [
            &b"Basic"[..],
            b"Basic ",
            b"Basic dGlja2Vy",
            b"Basic !",
            b"Bearer dGlja2VyOmFiYw==",
            b"\xff",
            b"Basic /w==",
        ] {
            assert_eq!(shown(&[unreadable]), None, "{}", unreadable.escape_ascii());
        }
        assert_eq!(shown(&[b"Basic dGlja2VyOmFiYw==", b"Basic dGlja2VyOmFiYw=="]), None);
    }
}
