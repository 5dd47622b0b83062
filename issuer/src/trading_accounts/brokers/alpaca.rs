//! Alpaca's Trading API: key and secret are enough to ask whose they are.

use axum::body::Body;
use http::{HeaderValue, Request, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};

use super::client::Client;
use super::{Proved, Question, Refused, Unavailable, readable};
use crate::config::ApiUrl;

pub(super) async fn ask(
    client: &Client,
    base: &ApiUrl,
    question: Question<'_>,
) -> Result<Result<Proved, Refused>, Unavailable> {
    let Question { user_id_broker, credentials, .. } = question;
    let request = Request::get(format!("{}/v2/account", base.as_str()))
        .header("apca-api-key-id", secret(&credentials.api_key)?)
        .header("apca-api-secret-key", secret(&credentials.api_secret)?)
        .body(Body::empty())
        .map_err(|_| Unavailable::Away)?;
    let answer = readable(client.send(request).await?)?;
    match answer.status {
        // Alpaca says so in JSON. What stands between us and it, a proxy for instance, refuses otherwise, and knows nothing
        // about credentials.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if !answer.text("/message").is_empty() => {
            Ok(Err(Refused::Credentials))
        }
        StatusCode::OK => match answer.text("/account_number") {
            "" => Err(Unavailable::Away),
            number if number.eq_ignore_ascii_case(user_id_broker) => Ok(Ok(Proved { access_token: None })),
            _ => Ok(Err(Refused::AnotherAccount)),
        },
        _ => Err(Unavailable::Away),
    }
}

/// As a header that nothing prints.
fn secret(value: &SecretString) -> Result<HeaderValue, Unavailable> {
    let mut value = HeaderValue::from_str(value.expose_secret()).map_err(|_| Unavailable::Away)?;
    value.set_sensitive(true);
    Ok(value)
}
