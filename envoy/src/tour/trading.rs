//! Trading accounts: linked by whom they belong to, seen by nobody else, traded with for as long as they are there.

use std::fs;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use super::quotes::{self, Quotes};
use super::visitor::{Answer, Login, Visitor};
use crate::stack::{Stack, random_hex, write_secret};

const ACCOUNTS: &str = "/v1/trading-accounts";

/// Registers someone who links an account; it is listed, and its secret is not.
pub(super) async fn linked(ada: &Visitor, email: &str) -> Result<String> {
    let login = ada.register(email).await?;
    quotes::link(ada, &login).await?;
    let (id, list) = only_account(ada, &login).await?;
    let shown = list.to_string();
    ensure!(!shown.contains(quotes::SECRET) && !shown.contains("api_key"), "the list shows credentials");
    Ok(format!("{id}: {} at {}", list[0]["status"], list[0]["broker"]))
}

/// Nobody else sees it, changes it or takes it away.
pub(super) async fn of_another(ada: &Visitor, email: &str, stranger: &str) -> Result<String> {
    let (id, _) = only_account(ada, &ada.login(email).await?).await?;
    let stranger = ada.login(stranger).await?;
    let theirs = ada.get_as(&stranger.access_token, ACCOUNTS).await?.expect(200, "the stranger's list")?;
    ensure!(!theirs.body.to_string().contains(&id), "the stranger's list has it");
    let new = json!({"api_key": "ofastranger", "api_secret": "ofastranger"});
    for (verb, body) in [("verify", json!({})), ("rotate", new)] {
        let path = format!("{ACCOUNTS}/{id}/{verb}");
        ada.post_as(&stranger.access_token, &path, &body).await?.refused(404, "not_found")?;
    }
    let refused = unlink(ada, &stranger, &id).await?.refused(404, "not_found")?;
    only_account(ada, &ada.login(email).await?).await?;
    Ok(format!("verify, rotate, unlink: {refused}"))
}

/// Streams quotes with it; they stop when it is unlinked, and the stream stays open.
pub(super) async fn unlinked(ada: &Visitor, email: &str) -> Result<String> {
    let login = ada.login(email).await?;
    let mut stream = Quotes::open_by_header(ada, &login).await?;
    streaming(&mut stream).await?;
    let (id, _) = only_account(ada, &login).await?;
    unlink(ada, &login, &id).await?.expect(204, "unlinking")?;
    let told = stream.next("error").await?;
    let detail = told["detail"].as_str().unwrap_or_default().to_owned();
    ensure!(detail.starts_with("No active trading accounts linked."), "the ticker says {told}");
    quotes::link(ada, &login).await?;
    streaming(&mut stream).await.context("linked again, on the same stream")?;
    Ok(detail)
}

/// An operator replaces the key that protects credentials: the new one beside the old, every data key wrapped anew, and the
/// old one gone.
pub(super) async fn key_replaced(ada: &Visitor, email: &str, stack: &mut Stack) -> Result<String> {
    let config = stack.state.issuer_config();
    write_secret(&config.with_file_name("next.key"), &random_hex::<32>()?)?;
    let text = fs::read_to_string(&config)?;
    let (old, next) = ("current_file = \"credentials.key\"", "current_file = \"next.key\"");
    ensure!(text.contains(old), "the configuration has no {old}");
    fs::write(&config, text.replace(old, &format!("{next}\nprevious_files = [\"credentials.key\"]")))?;
    restart_issuer(stack).await?;
    let said = stack.operate(&["keys", "rewrap"])?;
    fs::write(&config, text.replace(old, next))?;
    restart_issuer(stack).await?;
    let mut stream = Quotes::open_by_header(ada, &ada.login(email).await?).await?;
    streaming(&mut stream).await.context("without the old key")?;
    Ok(said.trim().to_owned())
}

async fn restart_issuer(stack: &mut Stack) -> Result<()> {
    stack.stop_service("issuer").await?;
    stack.start_issuer().await
}

async fn streaming(stream: &mut Quotes) -> Result<()> {
    stream.subscribe().await?;
    stream.next("subscribed").await?;
    stream.next("quote").await.map(drop)
}

async fn unlink(ada: &Visitor, login: &Login, id: &str) -> Result<Answer> {
    let path = format!("{ACCOUNTS}/{id}");
    Answer::to(ada.request(Method::DELETE, &path).bearer_auth(&login.access_token)).await
}

/// The id of the one account that there is, and the whole list.
async fn only_account(ada: &Visitor, login: &Login) -> Result<(String, Value)> {
    let list = ada.get_as(&login.access_token, ACCOUNTS).await?.expect(200, "the list")?;
    ensure!(list.body.as_array().is_some_and(|accounts| accounts.len() == 1), "the list is {}", list.body);
    Ok((list.text("/0/account_id")?, list.body))
}
