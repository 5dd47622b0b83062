//! What comes by mail: a link to confirm an address, and one to choose a new password.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::visitor::{PASSWORD, Visitor};
use crate::stack::Stack;

/// How long a message may be on its way.
const PATIENCE: Duration = Duration::from_secs(10);

const NEW_PASSWORD: &str = "a quiet violet staircase";

/// What a message is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mail {
    Confirm,
    Reset,
}

impl Mail {
    /// The page that its link opens, to which the same path posts.
    fn page(self) -> &'static str {
        match self {
            Self::Confirm => "/v1/auth/email/verify",
            Self::Reset => "/v1/auth/password/reset",
        }
    }
}

pub(super) async fn reset(ada: &Visitor, email: &str, stack: &Stack) -> Result<String> {
    let before = ada.register(email).await?;
    ada.post("/v1/auth/password/forgot", &json!({"email": email})).await?.expect(202, "forgot")?;
    let token = token(stack, email, Mail::Reset).await?;
    ada.remember(&token);
    open(ada, Mail::Reset, &token).await?;
    let reset = json!({"token": token, "password": NEW_PASSWORD});
    ada.post(Mail::Reset.page(), &reset).await?.expect(204, "reset")?;
    let again = ada.post(Mail::Reset.page(), &reset).await?.refused(400, "email_token_invalid")?;

    ada.refresh(&before.refresh_token).await?.expect(400, "refreshing the session from before")?;
    ada.get_as(&before.access_token, "/v1/users/me").await?.refused(401, "revoked")?;
    ada.try_login(email, PASSWORD).await?.expect(401, "login with the old password")?;
    ada.login_with(email, NEW_PASSWORD).await?;
    Ok(format!("new password; the old one and the old session are refused; the link again: {again}"))
}

/// The local stack lets people in who have not confirmed their address; the link works all the same.
pub(super) async fn confirm(ada: &Visitor, email: &str, stack: &Stack) -> Result<String> {
    let login = ada.login(email).await?;
    let confirmed = async || {
        let me = ada.get_as(&login.access_token, "/v1/users/me").await?.expect(200, "me")?;
        me.body["email_verified"].as_bool().context("an account without email_verified")
    };
    ensure!(!confirmed().await?, "the address counts as confirmed already");
    ada.post("/v1/auth/email/resend", &json!({"email": email})).await?.expect(202, "resend")?;
    let token = token(stack, email, Mail::Confirm).await?;
    ada.remember(&token);
    open(ada, Mail::Confirm, &token).await?;
    ensure!(!confirmed().await?, "opening the link has confirmed the address");
    let verify = json!({"token": token});
    ada.post(Mail::Confirm.page(), &verify).await?.expect(204, "verify")?;
    ensure!(confirmed().await?, "the address is not confirmed");
    let again = ada.post(Mail::Confirm.page(), &verify).await?.refused(400, "email_token_invalid")?;
    Ok(format!("by its form, not by opening the link; the link again: {again}"))
}

/// Opens the link, as mail programs do by themselves.
async fn open(ada: &Visitor, mail: Mail, token: &str) -> Result<()> {
    let page = ada.get(&format!("{}?token={token}", mail.page())).await?;
    page.expect(200, "the page behind the link").map(drop)
}

/// What the link in the message to this address carries, once the message is there.
pub(super) async fn token(stack: &Stack, email: &str, mail: Mail) -> Result<String> {
    let (folder, begin) = (stack.state.mail(), format!("{}?token=", mail.page()));
    let deadline = Instant::now() + PATIENCE;
    loop {
        for message in messages(&folder)? {
            let text = fs::read_to_string(message)?;
            let link = text.split_once(&begin).filter(|_| text.contains(&format!("To: {email}")));
            if let Some((_, rest)) = link {
                let token = rest.split_whitespace().next().context("a link without a token")?;
                return Ok(token.to_owned());
            }
        }
        ensure!(Instant::now() < deadline, "no message in {} after {PATIENCE:?}", folder.display());
        sleep(Duration::from_millis(20)).await;
    }
}

/// The folder is made with the first message.
fn messages(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "eml")).collect())
}
