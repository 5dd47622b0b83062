//! Who calls: the bearer token (RFC 6750 §2.1) verified by the same code as at the edge, and then, because the
//! database is at hand, its session and account as they are now.

use axum::extract::FromRequestParts;
use countersign_claims::{AccessClaims, Reject};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;

use super::ApiError;
use crate::accounts::User;
use crate::app::App;
use crate::sessions::{self, Session};

/// A caller with a good token, a session that has not ended, and an account that is active.
#[derive(Debug)]
pub struct Caller {
    pub user: User,
    pub session: Session,
}

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let now = app.clock.now();
        let token = bearer(&parts.headers)?;
        let claims = app.verifier.verify(token, &app.keys.at(now).keyring, now)?;
        let AccessClaims { sub, session_id: Some(session_id), .. } = claims else {
            return Err(Reject::InvalidClaims.into());
        };
        match sessions::store::find_with_user(&app.db, &session_id).await? {
            Some((session, user)) if user.id == sub && user.is_active && session.is_live(now) => {
                Ok(Self { user, session })
            }
            _ => Err(Reject::Revoked.into()),
        }
    }
}

/// The one bearer token of a request: what follows the scheme and one or more spaces (RFC 9110 §11.4), as at the edge.
/// A tab is no separator: it stays, as a character that no token has.
fn bearer(headers: &HeaderMap) -> Result<&[u8], Reject> {
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
