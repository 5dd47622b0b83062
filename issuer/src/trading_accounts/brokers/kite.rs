//! Kite Connect 3: key and secret are proved by exchanging a request token, which the user's login at the broker gives
//! once, for an access token. That one is good until six in the morning in India, when the broker ends them all.

use axum::body::Body;
use data_encoding::HEXLOWER;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};
use url::form_urlencoded;

use super::client::Client;
use super::{AccessToken, Proved, Question, Refused, Unavailable, readable};
use crate::ambient::UnixTime;
use crate::config::ApiUrl;

pub(super) async fn ask(
    client: &Client,
    base: &ApiUrl,
    question: Question<'_>,
) -> Result<Result<Proved, Refused>, Unavailable> {
    let Question { user_id_broker, credentials, request_token, now, .. } = question;
    let Some(request_token) = request_token else { return Ok(Err(Refused::RequestToken)) };
    let api_key = credentials.api_key.expose_secret();
    let mut checksum = Sha256::new();
    for part in [api_key, request_token, credentials.api_secret.expose_secret()] {
        checksum.update(part);
    }
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("api_key", api_key)
        .append_pair("request_token", request_token)
        .append_pair("checksum", &HEXLOWER.encode(&checksum.finalize()))
        .finish();
    let request = Request::post(format!("{}/session/token", base.as_str()))
        .header("x-kite-version", "3")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(form))
        .map_err(|_| Unavailable::Away)?;
    let answer = readable(client.send(request).await?)?;
    if answer.status == StatusCode::OK && answer.text("/status") == "success" {
        let (user, token) = (answer.text("/data/user_id"), answer.text("/data/access_token"));
        let is_token = (1..=512).contains(&token.len()) && token.bytes().all(|b| b.is_ascii_graphic());
        if user.is_empty() || !is_token {
            return Err(Unavailable::Away);
        }
        if !user.eq_ignore_ascii_case(user_id_broker) {
            return Ok(Err(Refused::AnotherAccount));
        }
        let access_token = AccessToken { token: token.into(), expires_at: next_flush(now) };
        return Ok(Ok(Proved { access_token: Some(access_token) }));
    }
    let known = ["TokenException", "InputException", "PermissionException"];
    if answer.status == StatusCode::OK || !known.contains(&answer.text("/error_type")) {
        return Err(Unavailable::Away);
    }
    // The broker has one kind of error for all of it; its words tell whose fault it is.
    let message = answer.text("/message");
    let ours = ["api_key", "checksum"].iter().any(|word| message.contains(word));
    Ok(Err(if ours { Refused::Credentials } else { Refused::RequestToken }))
}

/// The next six o'clock in India, which is half past midnight UTC.
fn next_flush(now: UnixTime) -> UnixTime {
    const DAY: i64 = 86_400;
    const FLUSH: i64 = 30 * 60;
    let today = now.seconds().div_euclid(DAY).saturating_mul(DAY).saturating_add(FLUSH);
    UnixTime::from_seconds(if today > now.seconds() { today } else { today.saturating_add(DAY) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_token_ends_at_the_next_six_oclock_in_india() {
        for (now, end) in [
            (1_795_132_800, "2026-11-20T00:30:00Z"),
            (1_795_134_599, "2026-11-20T00:30:00Z"),
            (1_795_134_600, "2026-11-21T00:30:00Z"),
            (1_795_176_000, "2026-11-21T00:30:00Z"),
        ] {
            assert_eq!(next_flush(UnixTime::from_seconds(now)).to_string(), end, "{now}");
        }
    }
}
