//! What comes by mail: a link to choose a new password.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::visitor::Visitor;
use crate::stack::Stack;

/// How long a message may be on its way.
const PATIENCE: Duration = Duration::from_secs(10);

const NEW_PASSWORD: &str = "a quiet violet staircase";

pub(super) async fn reset_by_mail(visitor: &Visitor, email: &str, stack: &Stack) -> Result<String> {
    let before = visitor.register(email).await?;
    let asked = visitor.post("/v1/auth/password/forgot", &json!({"email": email})).await?;
    ensure!(asked.status == 202, "forgot: {}", asked.summary());
    let token = token(&stack.state.mail(), email).await?;
    visitor.remember(&token);
    visitor.remember(NEW_PASSWORD);
    let page = visitor.get(&format!("/v1/auth/password/reset?token={token}")).await?;
    ensure!(page.status == 200, "the page behind the link: {}", page.summary());
    let reset = json!({"token": token, "password": NEW_PASSWORD});
    let done = visitor.post("/v1/auth/password/reset", &reset).await?;
    ensure!(done.status == 204, "reset: {}", done.summary());
    let again = visitor.post("/v1/auth/password/reset", &reset).await?.refused(400, "email_token_invalid")?;
    let refresh = visitor.refresh(&before.refresh_token).await?;
    ensure!(refresh.status == 400, "the session from before goes on: {}", refresh.summary());
    let login = json!({"email": email, "password": NEW_PASSWORD});
    let login = visitor.post("/v1/auth/login", &login).await?;
    ensure!(login.status == 200, "with the new password: {}", login.summary());
    for secret in ["/access_token", "/refresh_token"] {
        visitor.remember(&login.text(secret)?);
    }
    Ok(format!("new password, old session over; the link again: {again}"))
}

/// The token of the link in the message to this address, once it is there.
async fn token(folder: &Path, email: &str) -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "eml") {
                let message = fs::read_to_string(&path)?;
                let link = message.split_once("/v1/auth/password/reset?token=");
                if let Some((_, rest)) = link.filter(|_| message.contains(&format!("To: {email}"))) {
                    return rest
                        .split_whitespace()
                        .next()
                        .map(str::to_owned)
                        .context("a link without a token");
                }
            }
        }
        ensure!(Instant::now() < deadline, "no message in {} after {PATIENCE:?}", folder.display());
        sleep(Duration::from_millis(50)).await;
    }
}
