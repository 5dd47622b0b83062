//! Bodies that come as JSON from programs, or from the form of one of our pages. Who sent a form gets a page for an
//! answer.

use axum::extract::{FromRequest, Request};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;

use super::json::read;
use super::{JsonBody, Problem};

/// A body, and what kind of answer its sender understands.
#[derive(Debug)]
pub struct Submission<T> {
    pub body: T,
    /// From a page of ours.
    pub is_form: bool,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Submission<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_form(request.headers()) {
            let JsonBody(body) = JsonBody::from_request(request, state).await?;
            return Ok(Self { body, is_form: false });
        }
        let bytes = read(request, state).await?;
        // What it says quotes values, and these may be passwords.
        let wrong = |_| Problem::invalid_field("", "the form must have each field once");
        Ok(Self { body: serde_urlencoded::from_bytes(&bytes).map_err(wrong)?, is_form: true })
    }
}

/// Whether a body comes as browsers send the fields of a form.
pub(super) fn is_form(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}
