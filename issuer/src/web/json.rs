//! JSON bodies: wrong type 415, too long 413, too slow 408, not JSON 400, not the expected shape 422. Unknown fields
//! are ignored; nothing a client sends becomes a 5xx.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;

use super::{Problem, Reason};

/// How long a body may take to arrive: that is the client's doing, and told apart from what we take.
const BODY_LIMIT: Duration = Duration::from_secs(10);

/// A body that must be there.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

/// A body that may be missing, or `null`, and is then empty of fields.
#[derive(Debug)]
pub struct JsonOrEmpty<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let typed = require_json(request.headers());
        let bytes = read(request, state).await?;
        typed?;
        parse(&bytes).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for JsonOrEmpty<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let typed = require_json(request.headers());
        let bytes = read(request, state).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        typed?;
        if bytes.trim_ascii() == b"null" {
            return Ok(Self(T::default()));
        }
        parse(&bytes).map(Self)
    }
}

pub(super) async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    let body = tokio::time::timeout(BODY_LIMIT, Bytes::from_request(request, state)).await;
    body.map_err(|_| Problem::new(Reason::Timeout))?.map_err(|rejection| match rejection {
        BytesRejection::FailedToBufferBody(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(Reason::BodyTooLarge)
        }
        _ => Problem::new(Reason::BodyUnreadable),
    })
}

/// `application/json` or `application/…+json`, with or without parameters (RFC 6839 §3.1).
fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = essence
        .strip_prefix("application/")
        .is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"));
    if is_json {
        return Ok(());
    }
    Err(Problem::new(Reason::UnsupportedMediaType))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // Also of fields that nobody reads (RFC 8259 §8.1).
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Problem::because(Reason::InvalidJson, "The body is not valid UTF-8"))?;
    if !text.trim_ascii_start().starts_with('{') {
        // A list would pass for an object whose fields come in order.
        serde_json::from_str::<IgnoredAny>(text).map_err(|error| refusal(&error, ""))?;
        return Err(not_an_object());
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| refusal(error.inner(), &error.path().to_string()))?;
    deserializer.end().map_err(|error| refusal(&error, ""))?;
    Ok(value)
}

fn not_an_object() -> Problem {
    Problem::invalid_field("", "the body must be a JSON object with each field once")
}

/// The message of serde_json quotes the value it found; values may be passwords, so only places are told.
fn refusal(error: &serde_json::Error, path: &str) -> Problem {
    match error.classify() {
        Category::Data if path.is_empty() || path == "." => not_an_object(),
        Category::Data => Problem::invalid_field(path.to_owned(), "has the wrong type"),
        Category::Syntax | Category::Eof | Category::Io => {
            let (line, column) = (error.line(), error.column());
            let detail = format!("The body is not valid JSON (line {line}, column {column})");
            Problem::because(Reason::InvalidJson, detail)
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::response::IntoResponse as _;
    use futures_util::stream;
    use serde_json::Value;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_arrive_is_the_clients_doing() {
        let silence = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let request = Request::builder().header(CONTENT_TYPE, "application/json").body(silence).unwrap();
        let refused = JsonBody::<Value>::from_request(request, &()).await.unwrap_err();
        assert_eq!(refused.into_response().status(), StatusCode::REQUEST_TIMEOUT);
    }
}
