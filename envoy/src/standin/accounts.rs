//! What the ticker asks the issuer about: with which of a user's trading accounts it may trade. It has no token of the user,
//! only one of its own.

use std::fmt;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use reqwest::{Client, Method, StatusCode, Url};
use serde::Deserialize;

use super::UserId;
use crate::stack::http_client;

/// The issuer's internal listener.
#[derive(Clone)]
pub(super) struct Accounts {
    client: Client,
    issuer: String,
    token: String,
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Account {
    account_id: String,
}

/// What there is to trade with. A real ticker would log in to the broker with it; this one forgets it.
#[derive(Deserialize)]
struct Credentials {
    api_key: String,
    api_secret: String,
}

impl Accounts {
    /// # Errors
    /// Without a token in the environment.
    pub(super) fn new(issuer: SocketAddr) -> Result<Self> {
        let token = std::env::var("COUNTERSIGN_SERVICE_TOKEN").context("no COUNTERSIGN_SERVICE_TOKEN")?;
        Ok(Self::with(issuer, token.trim().to_owned()))
    }

    pub(super) fn with(issuer: SocketAddr, token: String) -> Self {
        Self { client: http_client(), issuer: format!("http://{issuer}/v1/internal/trading-accounts"), token }
    }

    async fn ask(&self, method: Method, url: Url) -> Result<reqwest::Response> {
        let request = self.client.request(method, url).header("x-service-token", &self.token);
        request.send().await.context("the issuer does not answer")
    }

    /// The first active account of this user.
    pub(super) async fn active(&self, user: &UserId) -> Result<Option<String>> {
        let url = Url::parse_with_params(&self.issuer, [("user_id", user.0.as_str()), ("status", "active")])?;
        let answer = self.ask(Method::GET, url).await?.error_for_status()?;
        let accounts: Vec<Account> = answer.json().await?;
        Ok(accounts.into_iter().next().map(|account| account.account_id))
    }

    /// Whether this account can be traded with now.
    pub(super) async fn open(&self, account: &str) -> Result<bool> {
        let url = Url::parse(&format!("{}/{account}/credentials", self.issuer))?;
        let answer = self.ask(Method::POST, url).await?;
        if [StatusCode::NOT_FOUND, StatusCode::CONFLICT].contains(&answer.status()) {
            return Ok(false);
        }
        let Credentials { api_key, api_secret } = answer.error_for_status()?.json().await?;
        ensure!(!api_key.is_empty() && !api_secret.is_empty(), "the issuer gives credentials that are none");
        Ok(true)
    }
}
