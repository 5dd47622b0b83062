//! How a request is refused: `application/problem+json` (RFC 9457), always with `detail` and `reason`. What went
//! wrong inside is logged, never sent.

use std::borrow::Cow;
use std::fmt;

use axum::Json;
use axum::response::{IntoResponse, Response};
use countersign_claims::{PROBLEM_JSON, Reject};
use http::header::{CONTENT_TYPE, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

use crate::db;
use crate::passwords::HashError;

const REALM: &str = "countersign";

/// A refusal, ready to be sent.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    reason: &'static str,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// What is wrong with one field of a body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct FieldError {
    field: Cow<'static, str>,
    message: String,
}

impl ApiError {
    /// `reason` is for programs and stays stable; `detail` is for people.
    pub fn new(status: StatusCode, reason: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, reason, detail: detail.into(), errors: Vec::new(), headers: Vec::new() }
    }

    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is nothing here")
    }

    /// 401 with a challenge (RFC 9110 §15.5.2).
    pub fn unauthorized(reason: &'static str, detail: &'static str) -> Self {
        let challenge = HeaderValue::from_static("Bearer realm=\"countersign\"");
        Self::new(StatusCode::UNAUTHORIZED, reason, detail).with_header(WWW_AUTHENTICATE, challenge)
    }

    /// 422 for one field.
    pub fn invalid_field(field: impl Into<Cow<'static, str>>, message: impl fmt::Display) -> Self {
        let errors = vec![FieldError { field: field.into(), message: message.to_string() }];
        Self { errors, ..Self::invalid_fields() }
    }

    fn invalid_fields() -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_fields", "Some fields are not valid")
    }

    /// 503, to be tried again in a second.
    pub fn busy(detail: &'static str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail)
            .with_header(RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// 500: `error` goes to the log, not to the client.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        let causes = std::iter::successors(Some(error), |error| error.source());
        let chain = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        tracing::error!(event = "internal_error", error = chain, "request failed");
        Self::broken()
    }

    /// 500 of which the log knows already.
    pub(super) fn broken() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The request could not be completed")
    }

    #[must_use]
    pub fn with_cookie(self, cookie: HeaderValue) -> Self {
        self.with_header(SET_COOKIE, cookie)
    }

    #[must_use]
    fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// The body of a problem.
#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Problem {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            reason: self.reason,
            errors: &self.errors,
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        response
    }
}

impl From<Reject> for ApiError {
    fn from(reject: Reject) -> Self {
        let status = StatusCode::from_u16(reject.status()).unwrap_or(StatusCode::UNAUTHORIZED);
        let error = Self::new(status, reject.reason(), reject.detail());
        let challenge = reject.www_authenticate(REALM).and_then(|text| HeaderValue::try_from(text).ok());
        match challenge {
            Some(challenge) => error.with_header(WWW_AUTHENTICATE, challenge),
            None => error,
        }
    }
}

impl From<db::Error> for ApiError {
    fn from(error: db::Error) -> Self {
        let internal = Self::internal(&error);
        if db::is_unavailable(&error) {
            Self::busy("The database is not available; try again")
        } else {
            internal
        }
    }
}

impl From<HashError> for ApiError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy => Self::busy("Too many logins at the moment; try again"),
            error => Self::internal(&error),
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

    /// 422 with every note.
    pub fn refusal(self) -> ApiError {
        ApiError { errors: self.errors, ..ApiError::invalid_fields() }
    }
}
