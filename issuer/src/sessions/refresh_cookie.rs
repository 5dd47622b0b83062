//! The cookie that carries the refresh token: out of the reach of scripts, sent only below the path of the routes that
//! know it, and never on behalf of another site.

use std::collections::BTreeSet;

use countersign_claims::Reject;
use http::{HeaderMap, HeaderValue};

use super::RefreshToken;
use crate::secrets::Ring;
use crate::web::{CookieRules, cookie_values};

const NAME: &str = "refresh_token";

/// Reads and sets the cookie; cheap to clone.
#[derive(Debug, Clone)]
pub struct RefreshCookie {
    pub rules: CookieRules,
    pub ring: Ring,
    /// Below which the client sends it.
    pub path: &'static str,
}

impl RefreshCookie {
    /// The refresh token of the cookie. Of several, the one that is ours: another site of the domain may have planted
    /// the others. If none is, any of them, to be refused.
    ///
    /// # Errors
    /// [`Reject::AmbiguousCredentials`] if several are ours: whoever planted the other one must not choose.
    pub fn get<'h>(&self, headers: &'h HeaderMap) -> Result<Option<&'h str>, Reject> {
        let tokens: BTreeSet<&str> = cookie_values(headers, NAME).filter(|value| !value.is_empty()).collect();
        let mut ours = tokens.iter().filter(|token| RefreshToken::verify(token, &self.ring).is_ok());
        match (ours.next(), ours.next()) {
            (Some(_), Some(_)) => Err(Reject::AmbiguousCredentials),
            (Some(token), None) => Ok(Some(token)),
            (None, _) => Ok(tokens.first().copied()),
        }
    }

    /// `max_age` in seconds; without it the cookie ends with the browser session.
    pub fn set(&self, token: &str, max_age: Option<i64>) -> HeaderValue {
        self.rules.set(NAME, self.path, token, max_age)
    }

    pub fn clear(&self) -> HeaderValue {
        self.rules.clear(NAME, self.path)
    }
}
