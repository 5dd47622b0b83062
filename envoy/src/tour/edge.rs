//! What the edge lets through, and what it refuses.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::forgery::Forger;
use super::visitor::{Answer, Login, PASSWORD, Visitor};
use crate::stack::{Stack, http_client};

const POSITIONS: &str = "/api/positions";
const PATIENCE: Duration = Duration::from_secs(10);
const IDENTITY: [&str; 6] =
    ["x-user-id", "x-user-email", "x-user-roles", "x-session-id", "x-service-name", "x-auth-method"];

pub(super) async fn wrong_password(ada: &Visitor, email: &str) -> Result<String> {
    let wrong = json!({"email": email, "password": format!("not {PASSWORD}")});
    let answer = ada.post("/v1/auth/login", &wrong).await?;
    let unknown = json!({"email": "nobody@example.com", "password": PASSWORD});
    let stranger = ada.post("/v1/auth/login", &unknown).await?;
    ensure!(answer.status == 401, "{}", answer.summary());
    ensure!(stranger.status == 401 && stranger.body == answer.body, "an unknown address is told apart");
    Ok(format!("401 {}; the same for an unknown address", answer.text("/detail")?))
}

pub(super) async fn positions(ada: &Visitor, login: &Login) -> Result<String> {
    let answer = ada.get_as(&login.access_token, POSITIONS).await?;
    ensure!(answer.status == 200, "{}", answer.summary());
    ensure!(answer.body["user_id"] == login.user_id.as_str(), "seen as {}", answer.body["user_id"]);
    ensure!(answer.body["identity"]["auth_method"] == "jwt", "identity {}", answer.body["identity"]);
    Ok(format!("200 as {}", login.user_id))
}

pub(super) async fn without_token(ada: &Visitor) -> Result<String> {
    ada.get(POSITIONS).await?.refused(401, "missing_credential")
}

pub(super) async fn tampered_token(ada: &Visitor, login: &Login) -> Result<String> {
    // Another payload under the same signature: what an attacker would try first.
    let (kid_and_claims, signature) = login.access_token.rsplit_once('.').unwrap_or_default();
    let mut claims = kid_and_claims.to_owned();
    let last = claims.pop();
    claims.push(if last == Some('Q') { 'g' } else { 'Q' });
    ada.get_as(&format!("{claims}.{signature}"), POSITIONS).await?.refused(401, "bad_signature")
}

pub(super) async fn expired_token(ada: &Visitor, login: &Login, forger: &Forger<'_>) -> Result<String> {
    let expired = forger.forge(&login.access_token, |claims| {
        claims.iat = claims.iat.map(|at| at - 7200);
        claims.exp -= 7200;
    })?;
    ada.get_as(&expired, POSITIONS).await?.refused(401, "token_expired")
}

pub(super) async fn wrong_audience(ada: &Visitor, login: &Login, forger: &Forger<'_>) -> Result<String> {
    let elsewhere = forger.forge(&login.access_token, |claims| {
        claims.aud = countersign_claims::Audience::One("elsewhere".into())
    })?;
    ada.get_as(&elsewhere, POSITIONS).await?.refused(401, "wrong_audience")
}

/// Sends every identity header in three spellings and looks at what arrived.
async fn spoofed(ada: &Visitor, path: &str, token: Option<&str>) -> Result<Value> {
    let mut request = ada.request(Method::GET, path);
    for name in IDENTITY {
        for spelling in [name.to_owned(), name.to_uppercase(), name.replace('-', "_")] {
            request = request
                .header(HeaderName::from_bytes(spelling.as_bytes())?, HeaderValue::from_static("mallory"));
        }
    }
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = Answer::to(request).await?;
    ensure!(answer.status == 200, "{path}: {}", answer.summary());
    ensure!(
        !answer.body.to_string().contains("mallory"),
        "{path}: a spoofed header arrived: {}",
        answer.body
    );
    Ok(answer.body)
}

pub(super) async fn spoofed_identity(ada: &Visitor, login: &Login) -> Result<String> {
    let seen = spoofed(ada, POSITIONS, Some(&login.access_token)).await?;
    ensure!(seen["user_id"] == login.user_id.as_str(), "seen as {}", seen["user_id"]);
    Ok(format!("{} headers, three spellings each: the backend saw the real ones", IDENTITY.len()))
}

pub(super) async fn spoofed_identity_on_a_public_route(ada: &Visitor) -> Result<String> {
    let seen = spoofed(ada, "/api/health", None).await?;
    ensure!(seen["identity"]["user_id"].is_null(), "identity {}", seen["identity"]);
    Ok("the backend saw nobody".into())
}

pub(super) async fn internal_routes(ada: &Visitor, login: &Login) -> Result<String> {
    let paths = ["/v1/internal/revocations", "/v1/internal/api-keys/exchange", "/metrics"];
    for path in paths {
        ada.get(path).await?.refused(404, "no_rule")?;
        ada.get_as(&login.access_token, path).await?.refused(404, "no_rule")?;
    }
    ada.get_as(&login.access_token, "/api/..%2fv1/internal/revocations")
        .await?
        .refused(400, "ambiguous_path")?;
    Ok(format!("{} and others: 404 no_rule, with and without a token", paths[0]))
}

pub(super) async fn unknown_route(ada: &Visitor, login: &Login) -> Result<String> {
    ada.get_as(&login.access_token, "/nothing/here").await?.refused(404, "no_rule")
}

/// A rule that is tried before it is enforced: whom it would refuse is let through, as nobody, and counted.
pub(super) async fn observed(ada: &Visitor, login: &Login, stack: &Stack) -> Result<String> {
    const INSTRUMENTS: &str = "/api/instruments";
    let before = would_have_refused(stack).await?;
    let stranger = ada.get(INSTRUMENTS).await?.expect(200, "without a token")?;
    ensure!(stranger.body["identity"]["user_id"].is_null(), "identity {}", stranger.body["identity"]);
    let known = ada.get_as(&login.access_token, INSTRUMENTS).await?.expect(200, "with a token")?;
    ensure!(
        known.body["identity"]["user_id"] == login.user_id.as_str(),
        "identity {}",
        known.body["identity"]
    );
    let deadline = Instant::now() + PATIENCE;
    loop {
        // The filter tells what it has counted a moment later.
        match would_have_refused(stack).await? - before {
            0 => ensure!(Instant::now() < deadline, "nothing is counted"),
            1 => {
                return Ok("200 without a token, counted as one that it would refuse; with one, as me".into());
            }
            more => bail!("{more} are counted"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn would_have_refused(stack: &Stack) -> Result<u64> {
    const COUNTER: &str = "countersign_rule_requests.outcome.observed.rule.instruments";
    let stats = http_client().get(stack.admin_url(&format!("/stats?filter={COUNTER}$"))).send().await?;
    let stats = stats.text().await?;
    let count = stats.trim().rsplit_once(": ").with_context(|| format!("Envoy does not show {COUNTER}"))?;
    Ok(count.1.parse()?)
}

pub(super) async fn alerts_are_mine(ada: &Visitor, me: &Login, other: &Login) -> Result<String> {
    let create = |login: &Login, symbol: &str| {
        let request = ada.request(Method::POST, "/alerts").bearer_auth(&login.access_token);
        Answer::to(request.json(&json!({"symbol": symbol, "above": 200.0})))
    };
    let mine = create(me, "AAPL").await?;
    ensure!(mine.status == 201 && mine.body["user_id"] == me.user_id.as_str(), "create: {}", mine.summary());
    let theirs = create(other, "MSFT").await?;

    let listed = ada.get_as(&me.access_token, "/alerts").await?;
    ensure!(listed.body == json!([mine.body]), "my list: {}", listed.body);

    let delete = |login: &Login, alert: &Answer| {
        let path = format!("/alerts/{}", alert.body["id"]);
        Answer::to(ada.request(Method::DELETE, &path).bearer_auth(&login.access_token))
    };
    let foreign = delete(me, &theirs).await?;
    ensure!(foreign.status == 404, "deleted another's alert: {}", foreign.summary());
    let own = delete(me, &mine).await?;
    ensure!(own.status == 204, "delete: {}", own.summary());
    Ok("created, listed and deleted mine; another's is 404".into())
}
