//! Form bodies as OAuth has them (RFC 6749 §3.2 and appendix B): a parameter comes once, and one without a value counts
//! as not sent.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use axum::extract::{FromRequest, Request};
use http::HeaderMap;
use url::form_urlencoded;

use super::form::is_form;
use super::json::read;
use super::{Problem, Reason};

/// The parameters of a form; what they say may be secret.
pub struct OAuthForm(BTreeMap<String, String>);

impl fmt::Debug for OAuthForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl OAuthForm {
    /// The value of a parameter, if there is one.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// The value of a parameter that must be there.
    ///
    /// # Errors
    /// 400 `invalid_request`, in OAuth's form.
    pub fn required(&mut self, name: &str, missing: &'static str) -> Result<String, Problem> {
        self.take(name).ok_or_else(|| Problem::oauth("invalid_request", missing))
    }

    fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let mut parameters = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(bytes) {
            match parameters.entry(name.into_owned()) {
                Entry::Occupied(_) => {
                    return Err(Problem::oauth("invalid_request", "A parameter comes more than once"));
                }
                Entry::Vacant(place) => {
                    let _ = place.insert(value.into_owned());
                }
            }
        }
        parameters.retain(|_, value| !value.is_empty());
        Ok(Self(parameters))
    }
}

impl<S: Send + Sync> FromRequest<S> for OAuthForm {
    type Rejection = Problem;

    /// Refuses in OAuth's form.
    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let typed = require_form(request.headers());
        let bytes = read(request, state).await.map_err(Problem::as_oauth)?;
        typed?;
        Self::parse(&bytes)
    }
}

fn require_form(headers: &HeaderMap) -> Result<(), Problem> {
    if is_form(headers) {
        return Ok(());
    }
    let detail = "Send the body as application/x-www-form-urlencoded";
    Err(Problem::because(Reason::UnsupportedMediaType, detail).as_oauth())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Option<OAuthForm> {
        OAuthForm::parse(text.as_bytes()).ok()
    }

    #[test]
    fn a_parameter_comes_once_and_without_a_value_it_was_not_sent() {
        let mut read = form("username=ada%40example.com&password=a+b%26c&scope=&x").unwrap();
        assert_eq!(read.take("username").as_deref(), Some("ada@example.com"));
        assert_eq!(read.take("password").as_deref(), Some("a b&c"));
        assert_eq!((read.take("scope"), read.take("x"), read.take("none")), (None, None, None));
        for twice in ["a=1&a=1", "a=&a=1", "a=1&%61=2"] {
            assert!(form(twice).is_none(), "{twice}");
        }
    }

    #[test]
    fn debug_shows_no_value() {
        assert!(!format!("{:?}", form("password=hunter2").unwrap()).contains("hunter2"));
    }
}
