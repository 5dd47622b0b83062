//! Finding the one credential of a request, and taking credentials out of what is logged and forwarded.
//!
//! Never decides whether a credential is good, and never picks one of two.

use std::borrow::Cow;

use countersign_claims::Reject;

use crate::exchange::{ApiKey, KeyDigest};
use crate::request::{Field, RequestView};

pub mod query;
pub mod subprotocol;

/// The kinds of credential that a rule takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepted {
    /// `Authorization: Bearer …` (RFC 6750 §2.1).
    pub bearer: bool,
    /// Query parameters by name (RFC 6750 §2.3).
    pub query: Vec<Box<str>>,
    /// `Sec-WebSocket-Protocol: bearer, …`, for browsers, which can set no other header on a WebSocket.
    pub subprotocol: bool,
    /// `X-API-Key`, where no token was sent.
    pub api_key: bool,
}

/// The one credential of a request.
#[derive(Debug)]
pub enum Credential<'r> {
    Token {
        token: Cow<'r, [u8]>,
        /// It is the `Authorization` header.
        is_authorization: bool,
    },
    ApiKey {
        digest: KeyDigest,
        /// As long as the issuer has not been asked about it for this request.
        key: Option<ApiKey>,
    },
}

/// The credential of a request that waits: it is in no header any more.
#[derive(Debug)]
pub enum Held {
    Token { token: Vec<u8>, is_authorization: bool },
    ApiKey(KeyDigest),
}

impl Held {
    pub fn credential(&self) -> Credential<'_> {
        match self {
            Self::Token { token, is_authorization } => {
                Credential::Token { token: token.into(), is_authorization: *is_authorization }
            }
            Self::ApiKey(digest) => Credential::ApiKey { digest: *digest, key: None },
        }
    }
}

impl Credential<'_> {
    pub fn hold(&self) -> Held {
        match self {
            Self::Token { token, is_authorization } => {
                Held::Token { token: token.to_vec(), is_authorization: *is_authorization }
            }
            Self::ApiKey { digest, .. } => Held::ApiKey(*digest),
        }
    }

    /// Whether it is the `Authorization` header.
    pub fn is_authorization(&self) -> bool {
        matches!(self, Self::Token { is_authorization: true, .. })
    }
}

/// What a request carries, wherever it carries it.
#[derive(Debug)]
pub struct Presented<'r> {
    authorization: Authorization<'r>,
    query: query::Scrubbed<'r>,
    offer: subprotocol::Offer<'r>,
    api_key: Field<'r>,
}

/// An `Authorization` header (RFC 9110 §11.6.2).
#[derive(Debug, PartialEq, Eq)]
enum Authorization<'r> {
    /// Absent, empty, or of a scheme that is not ours.
    None,
    /// A token, or several headers in one that begin with a token: see [`Presented::explain`].
    Bearer(&'r [u8]),
    Several,
}

impl<'r> Presented<'r> {
    /// Reads everything that could be a credential. `names` are all the query parameters that any rule takes.
    pub fn read(view: &RequestView<'r>, target: &'r [u8], names: &[Box<str>]) -> Self {
        Self {
            authorization: Authorization::read(view.authorization),
            query: query::scrub(target, names),
            offer: subprotocol::Offer::read(&view.protocols),
            api_key: view.api_key,
        }
    }

    /// The one credential of a kind in `accepted`. Credentials of other kinds count as not sent.
    ///
    /// # Errors
    /// [`Reject::Missing`] or [`Reject::MissingCredential`] for none, [`Reject::AmbiguousCredentials`] for more than one. An
    /// API key beside a token is none: the token decides alone.
    pub fn credential(&self, accepted: &Accepted) -> Result<Credential<'r>, Reject> {
        let mut found = Err(Reject::Missing);
        let mut take = |token: Cow<'r, [u8]>, is_authorization| {
            found = match found {
                Err(Reject::Missing) => Ok(Credential::Token { token, is_authorization }),
                _ => Err(Reject::AmbiguousCredentials),
            };
        };
        if accepted.bearer {
            match self.authorization {
                Authorization::None => {}
                Authorization::Bearer(token) => take(Cow::Borrowed(token), true),
                Authorization::Several => return Err(Reject::AmbiguousCredentials),
            }
        }
        for (name, value) in &self.query.taken {
            if accepted.query.iter().any(|accepted| accepted.as_bytes() == *name) && !value.is_empty() {
                take(value.clone(), false);
            }
        }
        if accepted.subprotocol {
            self.offer.tokens().for_each(|token| take(Cow::Borrowed(token), false));
        }
        match found {
            Err(Reject::Missing) if accepted.api_key => self.api_key(),
            found => found,
        }
    }

    fn api_key(&self) -> Result<Credential<'r>, Reject> {
        match self.api_key {
            Field::Absent | Field::One(b"") => Err(Reject::MissingCredential),
            Field::Several => Err(Reject::AmbiguousCredentials),
            Field::One(value) => {
                let key = ApiKey::read(value).ok_or(Reject::ApiKeyRefused)?;
                Ok(Credential::ApiKey { digest: key.digest(), key: Some(key) })
            }
        }
    }

    /// Why a credential of these was refused, given what was found wrong with it alone.
    pub fn explain(&self, accepted: &Accepted, reject: Reject) -> Reject {
        match self.authorization {
            // Envoy joins repeated headers with a comma, and no token has one. Not looked for before: tokens are long,
            // and most are good.
            Authorization::Bearer(token) if accepted.bearer && token.contains(&b',') => {
                Reject::AmbiguousCredentials
            }
            _ => reject,
        }
    }

    /// The target without credentials, or `None` if there was none in it. Fit to be a header value.
    pub fn scrubbed_target(&mut self) -> Option<Vec<u8>> {
        self.query.target.take()
    }

    /// The subprotocols that the upstream may see, or `None` if no credential was among them.
    pub fn remaining_protocols(&self) -> Option<Vec<u8>> {
        self.offer.remaining()
    }
}

impl<'r> Authorization<'r> {
    fn read(field: Field<'r>) -> Self {
        let value = match field {
            Field::Absent => return Self::None,
            Field::Several => return Self::Several,
            Field::One(value) => value,
        };
        match bearer(value.trim_ascii()) {
            Some(b"") => Self::None,
            Some(token) => Self::Bearer(token),
            None if value.split(|b| *b == b',').any(|part| bearer(part.trim_ascii()).is_some()) => {
                Self::Several
            }
            None => Self::None,
        }
    }
}

/// Without the bytes that no header value may have (RFC 9110 §5.5), should a host let them through to here.
fn header_value(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.retain(|b| !matches!(b, 0 | b'\r' | b'\n'));
    bytes
}

/// What follows the scheme `Bearer`, which is compared without case (RFC 9110 §11.1), and the spaces after it
/// (§11.4). A tab is no separator: it stays, as a character that no token has.
fn bearer(credentials: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = credentials.split_at_checked(6)?;
    let separated = rest.first().is_none_or(u8::is_ascii_whitespace);
    let spaces = rest.iter().take_while(|b| **b == b' ').count();
    (scheme.eq_ignore_ascii_case(b"bearer") && separated).then(|| rest.get(spaces..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(kinds: &str) -> Accepted {
        Accepted {
            bearer: kinds.contains("bearer"),
            query: if kinds.contains("query") { vec!["token".into()] } else { vec![] },
            subprotocol: kinds.contains("subprotocol"),
            api_key: kinds.contains("api_key"),
        }
    }

    /// As if every token without a comma were good.
    fn find(kinds: &str, target: &str, headers: &[(&str, &str)]) -> Result<String, Reject> {
        let view = RequestView::of(headers);
        let presented = Presented::read(&view, target.as_bytes(), &["token".into()]);
        let accepted = accepted(kinds);
        let token = match presented.credential(&accepted)? {
            Credential::Token { token, .. } => String::from_utf8(token.into_owned()).unwrap(),
            Credential::ApiKey { .. } => "an API key".into(),
        };
        match token.contains(',') {
            true => Err(presented.explain(&accepted, Reject::Malformed)),
            false => Ok(token),
        }
    }

    fn authorization(value: &str) -> Result<String, Reject> {
        find("bearer", "/", &[("authorization", value)])
    }

    #[test]
    fn the_scheme_is_compared_without_case() {
        for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER   a.b.c ", "bEaReR  a.b.c"] {
            assert_eq!(authorization(value).as_deref(), Ok("a.b.c"), "{value:?}");
        }
    }

    #[test]
    fn a_tab_after_the_scheme_becomes_part_of_a_token_that_cannot_verify() {
        assert_eq!(authorization("Bearer\ta.b.c").as_deref(), Ok("\ta.b.c"));
        assert_eq!(authorization("Bearer \t a.b.c").as_deref(), Ok("\t a.b.c"));
    }

    #[test]
    fn other_schemes_are_no_credential() {
        for value in
            ["", "Bearer", "Bearer ", "Basic dTpw", "Bearera.b.c", "a.b.c", "Digest a=\"b\", c=\"d\""]
        {
            assert_eq!(authorization(value), Err(Reject::Missing), "{value:?}");
        }
    }

    #[test]
    fn two_authorization_headers_are_ambiguous_however_they_arrive() {
        let ambiguous = Err(Reject::AmbiguousCredentials);
        for value in ["Bearer a,Bearer b", "Bearer a, Basic b", "Basic b, Bearer a", "Bearer a,a", "Bearer ,"]
        {
            assert_eq!(authorization(value), ambiguous, "{value:?}");
        }
        assert_eq!(
            find("bearer", "/", &[("authorization", "Bearer a"), ("authorization", "Bearer a")]),
            ambiguous
        );
    }

    #[test]
    fn two_accepted_credentials_are_ambiguous_even_if_equal() {
        let ambiguous = Err(Reject::AmbiguousCredentials);
        let header = ("authorization", "Bearer a");
        assert_eq!(find("bearer query", "/?token=a", &[header]), ambiguous);
        assert_eq!(find("query", "/?token=a&token=a", &[]), ambiguous);
        assert_eq!(
            find("bearer subprotocol", "/", &[header, ("sec-websocket-protocol", "bearer, a")]),
            ambiguous
        );
        let twice = ("sec-websocket-protocol", "bearer, a, bearer, b");
        assert_eq!(find("subprotocol", "/", &[twice]), ambiguous);
    }

    #[test]
    fn kinds_that_the_rule_does_not_take_count_as_not_sent() {
        let header = ("authorization", "Bearer a");
        assert_eq!(find("bearer", "/?token=b", &[header]).as_deref(), Ok("a"));
        assert_eq!(find("bearer", "/?token=b", &[]), Err(Reject::Missing));
        assert_eq!(find("query", "/?token=b", &[header]).as_deref(), Ok("b"));
        assert_eq!(find("bearer", "/", &[("sec-websocket-protocol", "bearer, a")]), Err(Reject::Missing));
    }

    #[test]
    fn a_comma_in_a_header_that_the_rule_does_not_take_explains_nothing() {
        let joined = ("authorization", "Bearer a, Bearer b");
        assert_eq!(find("query", "/?token=c,d", &[joined]), Err(Reject::Malformed));
    }

    #[test]
    fn an_api_key_counts_where_it_is_taken_and_no_token_was_sent() {
        let (token, key) = (("authorization", "Bearer a"), ("x-api-key", "k"));
        assert_eq!(find("bearer api_key", "/", &[key]).as_deref(), Ok("an API key"));
        assert_eq!(find("bearer api_key", "/", &[token, key]).as_deref(), Ok("a"));
        assert_eq!(
            find("bearer api_key", "/", &[("authorization", "Bearer a,b"), key]),
            Err(Reject::AmbiguousCredentials)
        );
        assert_eq!(find("bearer query api_key", "/?token=a", &[key]).as_deref(), Ok("a"));
        assert_eq!(find("bearer api_key", "/?token=a", &[key]).as_deref(), Ok("an API key"));
        assert_eq!(find("bearer", "/", &[key]), Err(Reject::Missing));
        assert_eq!(find("bearer api_key", "/", &[]), Err(Reject::MissingCredential));
        assert_eq!(find("api_key", "/", &[("x-api-key", "")]), Err(Reject::MissingCredential));
        assert_eq!(find("api_key", "/", &[key, key]), Err(Reject::AmbiguousCredentials));
        assert_eq!(find("api_key", "/", &[("x-api-key", "a b")]), Err(Reject::ApiKeyRefused));
    }

    #[test]
    fn an_empty_parameter_is_no_credential() {
        assert_eq!(find("query", "/?token=", &[]), Err(Reject::Missing));
        assert_eq!(find("query", "/?token", &[]), Err(Reject::Missing));
    }
}
