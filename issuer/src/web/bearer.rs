//! The bearer token of a request (RFC 6750 §2.1), found as the edge finds it.

use countersign_claims::Reject;
use http::HeaderMap;
use http::header::AUTHORIZATION;

/// The one bearer token of a request: what follows the scheme and one or more spaces (RFC 9110 §11.4), as at the edge.
/// A tab is no separator: it stays, as a character that no token has.
///
/// # Errors
/// [`Reject::Missing`] if there is none, [`Reject::AmbiguousCredentials`] if there are several.
pub fn bearer(headers: &HeaderMap) -> Result<&[u8], Reject> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Reject::Missing)?.as_bytes().trim_ascii();
    if values.next().is_some() {
        return Err(Reject::AmbiguousCredentials);
    }
    let (scheme, rest) = value.split_at_checked(6).ok_or(Reject::Missing)?;
    if !scheme.eq_ignore_ascii_case(b"bearer") || rest.first().is_some_and(|byte| !byte.is_ascii_whitespace())
    {
        return Err(Reject::Missing);
    }
    let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
    match rest.get(spaces..).unwrap_or_default() {
        b"" => Err(Reject::Missing),
        token if token.contains(&b',') => Err(Reject::AmbiguousCredentials),
        token => Ok(token),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn finds_one_token_and_no_other() {
        type Values = &'static [&'static [u8]];
        let cases: [(Values, Result<&[u8], Reject>); 12] = [
            (&[], Err(Reject::Missing)),
            (&[b"Bearer abc"], Ok(b"abc")),
            (&[b"bearer  abc "], Ok(b"abc")),
            (&[b"Bearer"], Err(Reject::Missing)),
            (&[b"Bearer  "], Err(Reject::Missing)),
            (&[b"Basic YTpi"], Err(Reject::Missing)),
            (&[b"Bearer a", b"Bearer b"], Err(Reject::AmbiguousCredentials)),
            (&[b"Bearer a, Bearer b"], Err(Reject::AmbiguousCredentials)),
            (&[b"Bearerabc"], Err(Reject::Missing)),
            (&[b"Bearer\tabc"], Ok(b"\tabc")),
            (&[b"Bearer \t abc"], Ok(b"\t abc")),
            (&[b"Bearer \xff"], Ok(b"\xff")),
        ];
        for (values, expected) in cases {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
            }
            assert_eq!(bearer(&headers), expected, "{values:?}");
        }
    }
}
