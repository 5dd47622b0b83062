//! What an operator does while people work: rotate the key, change the plugin config, lose the issuer.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::forgery::Forger;
use super::quotes::Quotes;
use super::visitor::{Answer, Login, Visitor, read};
use crate::stack::{Stack, http_client};

const POSITIONS: &str = "/api/positions";
const PATIENCE: Duration = Duration::from_secs(10);

/// Rotates by the operator's command and follows both keys, with requests all the time, until the old one is gone.
pub(super) async fn key_rotation(
    ada: &Visitor,
    email: &str,
    stack: &Stack,
    forger: &Forger<'_>,
) -> Result<String> {
    let first = ada.login(email).await?;
    let (old_kid, _) = read(&first.access_token)?;
    // Outlives the old key, so that it is the key's retirement that ends it.
    let long_lived = forger.forge(&first.access_token, |claims| claims.exp += 3600)?;
    stack.operate(&["keys", "rotate", "--sign-in", "3s", "--force"])?;

    let (mut served, mut new_kid) = (0, None);
    // One session all the time: an account has only so many, and the edge refuses the tokens of those that had to go.
    let mut refresh_token = first.refresh_token;
    let deadline = Instant::now() + Duration::from_secs(60);
    while published(ada, &old_kid).await? {
        ensure!(Instant::now() < deadline, "the old key was never unpublished");
        let refreshed = ada.refresh(&refresh_token).await?.expect(200, "a refresh")?;
        refresh_token = refreshed.text("/refresh_token")?;
        let token = refreshed.text("/access_token")?;
        let (kid, _) = read(&token)?;
        if kid != old_kid {
            new_kid = Some(kid);
        }
        for token in [&token, &long_lived].into_iter().cycle().take(10) {
            let answer = ada.get_as(token, POSITIONS).await?;
            if answer.status != 200 && token == &long_lived && !published(ada, &old_kid).await? {
                break;
            }
            ensure!(answer.status == 200, "refused after {served} requests: {}", answer.summary());
            served += 1;
        }
        sleep(Duration::from_millis(20)).await;
    }
    let new_kid = new_kid.context("no new token carried a new kid")?;
    until(
        "the retired key is refused",
        || ada.get_as(&long_lived, POSITIONS),
        |answer| answer.refused(401, "unknown_key").is_ok(),
    )
    .await?;
    let still = ada.get_as(&ada.login(email).await?.access_token, POSITIONS).await?;
    ensure!(still.status == 200, "after the rotation: {}", still.summary());
    Ok(format!("{served} requests, none refused; {old_kid} retired, {new_kid} signs"))
}

async fn published(ada: &Visitor, kid: &str) -> Result<bool> {
    let set = ada.get("/.well-known/jwks.json").await?;
    let keys = set.body["keys"].as_array().context("no JWK Set")?;
    Ok(keys.iter().any(|key| key["kid"] == kid))
}

/// Takes the backend away from everybody and gives it back, under an open WebSocket.
pub(super) async fn plugin_edited(ada: &Visitor, login: &Login, stack: &Stack) -> Result<String> {
    let mut quotes = Quotes::open_by_header(ada, login).await?;
    quotes.next("quote").await?;
    let plugin = std::fs::read_to_string(stack.state.plugin())?;
    let rule =
        |allow| format!(r#"{{"prefix": "/api/"}}, "credentials": ["bearer", "api_key"], "allow": {allow}"#);
    let stricter = plugin.replace(&rule(r#""authenticated""#), &rule(r#"{"role": "nobody"}"#));
    ensure!(stricter != plugin, "the plugin config has no such rule for the backend");
    let get = || ada.get_as(&login.access_token, POSITIONS);

    stack.state.install_plugin(&stricter)?;
    let taken =
        until("the new rule refuses", get, |answer| answer.refused(403, "permission_denied").is_ok()).await;
    stack.state.install_plugin(&plugin)?;
    taken?;
    until("the old rule is back", get, |answer| answer.status == 200).await?;
    quotes.next("quote").await.context("the open WebSocket")?;
    Ok("taken within moments, and back; the open WebSocket went on".into())
}

pub(super) async fn broken_plugin(ada: &Visitor, login: &Login, stack: &Stack) -> Result<String> {
    let before = refused_configs(stack).await?;
    let plugin = std::fs::read_to_string(stack.state.plugin())?;
    stack.state.install_plugin(&plugin.replacen("\"issuer\"", "\"isuer\"", 1))?;
    let refused = async {
        let deadline = Instant::now() + PATIENCE;
        while refused_configs(stack).await? == before {
            ensure!(Instant::now() < deadline, "Envoy took a config with an unknown field");
            sleep(Duration::from_millis(50)).await;
        }
        let answer = ada.get_as(&login.access_token, POSITIONS).await?;
        ensure!(answer.status == 200, "the old config does not serve: {}", answer.summary());
        ada.get(POSITIONS).await?.refused(401, "missing_credential")
    }
    .await;
    stack.state.install_plugin(&plugin)?;
    refused?;
    Ok("refused by the filter; the old one let me through and nobody else".into())
}

/// How often Envoy has refused an update of the plugin config.
async fn refused_configs(stack: &Stack) -> Result<u64> {
    let url = stack.admin_url("/stats?format=json&filter=extension_config_discovery.*config_fail");
    let stats: Value = serde_json::from_str(&http_client().get(url).send().await?.text().await?)?;
    let stats = stats["stats"].as_array().context("no statistics")?;
    ensure!(!stats.is_empty(), "Envoy counts no refused configs");
    Ok(stats.iter().filter_map(|stat| stat["value"].as_u64()).sum())
}

pub(super) async fn issuer_stopped(ada: &Visitor, email: &str, stack: &mut Stack) -> Result<String> {
    let login = ada.login(email).await?;
    stack.stop_service("issuer").await?;
    let away = ada.post("/v1/auth/login", &serde_json::json!({})).await?;
    ensure!(away.status == 503, "the issuer still answers: {}", away.summary());
    let answer = ada.get_as(&login.access_token, POSITIONS).await?;
    ensure!(answer.status == 200, "{}", answer.summary());
    ada.get(POSITIONS).await?.refused(401, "missing_credential")?;
    Ok("positions 200 with a token, 401 without".into())
}

/// Asks again until the answer is as wanted.
async fn until<F: Future<Output = Result<Answer>>>(
    what: &str,
    ask: impl Fn() -> F,
    wanted: impl Fn(&Answer) -> bool,
) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ask().await?;
        if wanted(&answer) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("waited {} s until {what}: {}", PATIENCE.as_secs(), answer.summary());
        }
        sleep(Duration::from_millis(50)).await;
    }
}
