//! How a request is refused: `application/problem+json` (RFC 9457), always with `detail` and `reason`. What went
//! wrong inside is logged, never sent.

use std::borrow::Cow;
use std::fmt;

use axum::Json;
use axum::response::{IntoResponse, Response};
use countersign_claims::{PROBLEM_JSON, REALM, Reject};
use http::header::{CONTENT_TYPE, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::Reason;
use crate::db;

/// A refusal, ready to be sent.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    reason: &'static str,
    detail: Cow<'static, str>,
    /// RFC 6749 §5.2, for clients that know no other form.
    error: Option<&'static str>,
    /// Whether the whole of it is for such a client.
    oauth: bool,
    errors: Vec<FieldError>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// What is wrong with one field of a body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Dotted path of the field; empty if the whole body is meant.
    #[schema(value_type = String)]
    field: Cow<'static, str>,
    message: String,
}

impl Problem {
    pub fn new(reason: Reason) -> Self {
        Self::because(reason, reason.detail())
    }

    /// With a `detail` that says more than the reason's own.
    pub fn because(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        let (errors, headers) = (Vec::new(), Vec::new());
        let problem = Self {
            status: reason.status(),
            reason: reason.as_str(),
            detail: detail.into(),
            error: None,
            oauth: false,
            errors,
            headers,
        };
        match problem.status {
            StatusCode::UNAUTHORIZED => problem.with_challenge(format!("Bearer realm=\"{REALM}\"")),
            StatusCode::SERVICE_UNAVAILABLE => {
                problem.with_header(RETRY_AFTER, HeaderValue::from_static("1"))
            }
            _ => problem,
        }
    }

    /// 422 for one field.
    pub fn invalid_field(field: impl Into<Cow<'static, str>>, message: impl fmt::Display) -> Self {
        let errors = vec![FieldError { field: field.into(), message: message.to_string() }];
        Self { errors, ..Self::new(Reason::InvalidFields) }
    }

    /// 500: `error` goes to the log, not to the client.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        let causes = std::iter::successors(Some(error), |error| error.source());
        let chain = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        tracing::error!(event = "internal_error", error = chain, "request failed");
        Self::new(Reason::Internal)
    }

    /// A refused refresh token is a 400 with `error` (RFC 6749 §5.2), so that clients that refresh on every 401 do
    /// not go round in circles.
    #[must_use]
    pub fn as_invalid_grant(mut self) -> Self {
        self.status = StatusCode::BAD_REQUEST;
        self.error = Some("invalid_grant");
        self.headers.retain(|(name, _)| name != WWW_AUTHENTICATE);
        self
    }

    /// As clients of OAuth take a refusal (RFC 6749 §5.2): plain JSON, with `error_description` beside `error`. They keep
    /// no cookie, so none is touched.
    #[must_use]
    pub fn as_oauth(mut self) -> Self {
        self.oauth = true;
        self.error = self.error.or(match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Some("invalid_grant"),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                Some("temporarily_unavailable")
            }
            status if status.is_client_error() => Some("invalid_request"),
            _ => Some("server_error"),
        });
        self.headers.retain(|(name, _)| name != SET_COOKIE);
        self
    }

    /// 400 with an `error` of RFC 6749 §5.2.
    pub fn oauth(error: &'static str, detail: &'static str) -> Self {
        Self { error: Some(error), ..Self::because(Reason::InvalidRequest, detail) }.as_oauth()
    }

    /// With this `error` of RFC 6749 §5.2, for [`as_oauth`](Self::as_oauth).
    #[must_use]
    pub fn meaning(self, error: &'static str) -> Self {
        Self { error: Some(error), ..self }
    }

    pub fn is(&self, reason: Reason) -> bool {
        self.reason == reason.as_str()
    }

    /// For programs; one of a few.
    pub fn reason(&self) -> &'static str {
        self.reason
    }

    /// With another `detail`, for clients that know it in other words.
    #[must_use]
    pub fn saying(self, detail: &'static str) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// With this challenge and no other (RFC 9110 §11.6.1).
    #[must_use]
    pub fn challenging(mut self, challenge: &'static str) -> Self {
        self.headers.retain(|(name, _)| name != WWW_AUTHENTICATE);
        self.with_header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
    }

    /// Whether it says that we cannot at the moment.
    pub fn is_unavailable(&self) -> bool {
        self.status.is_server_error()
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// What is wrong, a sentence each, for people.
    pub(super) fn sentences(&self) -> Vec<String> {
        if self.errors.is_empty() {
            return vec![self.detail.to_string()];
        }
        let told = |FieldError { field, message }: &FieldError| match &**field {
            "" => message.clone(),
            field => format!("The field {:?} {message}", field.replace('_', " ")),
        };
        self.errors.iter().map(told).collect()
    }

    /// Tells the client to wait for so many seconds.
    #[must_use]
    pub fn retry_after(self, seconds: i64) -> Self {
        self.with_header(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    #[must_use]
    pub fn with_cookie(self, cookie: HeaderValue) -> Self {
        self.with_header(SET_COOKIE, cookie)
    }

    #[must_use]
    fn with_challenge(self, challenge: String) -> Self {
        match HeaderValue::try_from(challenge) {
            Ok(challenge) => self.with_header(WWW_AUTHENTICATE, challenge),
            Err(_) => self,
        }
    }

    #[must_use]
    fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// A refusal (RFC 9457). `reason` is for programs and stays stable; `detail` is for people.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Body<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    reason: &'a str,
    /// RFC 6749 §5.2, where a refresh token is refused, and from the calls of OAuth.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    /// From the calls of OAuth: the `detail`.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_description: Option<&'a str>,
    /// What is wrong with which field, for 422.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(required = false)]
    errors: &'a [FieldError],
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Body {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            reason: self.reason,
            error: self.error,
            error_description: self.oauth.then_some(&*self.detail),
            errors: &self.errors,
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        if !self.oauth {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        }
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        response
    }
}

impl From<Reject> for Problem {
    fn from(reject: Reject) -> Self {
        let status = StatusCode::from_u16(reject.status()).unwrap_or(StatusCode::UNAUTHORIZED);
        let problem = Self {
            status,
            reason: reject.reason(),
            detail: reject.detail().into(),
            error: None,
            oauth: false,
            errors: Vec::new(),
            headers: Vec::new(),
        };
        match reject.www_authenticate(REALM) {
            Some(challenge) => problem.with_challenge(challenge),
            None if reject == Reject::Unavailable => {
                problem.with_header(RETRY_AFTER, HeaderValue::from_static("1"))
            }
            None => problem,
        }
    }
}

impl From<db::Error> for Problem {
    fn from(error: db::Error) -> Self {
        if error.is_unavailable() {
            tracing::error!(event = "database_unavailable", error = %error, "request failed");
            Self::because(Reason::Busy, "The database is not available; try again")
        } else {
            Self::internal(&error)
        }
    }
}

/// Gathers what is wrong with the fields of a body, so that all of it is told at once.
#[derive(Debug, Default)]
pub struct Check {
    errors: Vec<FieldError>,
}

impl Check {
    /// The value, or a note about the field and nothing.
    pub fn field<T, E: fmt::Display>(&mut self, field: &'static str, result: Result<T, E>) -> Option<T> {
        result
            .map_err(|error| {
                self.errors.push(FieldError { field: field.into(), message: error.to_string() });
            })
            .ok()
    }

    /// A note if there is nothing in a field that has to be there.
    pub fn required(&mut self, field: &'static str, present: bool) -> Option<()> {
        self.field(field, if present { Ok(()) } else { Err("is required") })
    }

    /// 422 with every note.
    pub fn refusal(self) -> Problem {
        Problem { errors: self.errors, ..Problem::new(Reason::InvalidFields) }
    }
}
