//! A person with a client: goes through the edge only, and remembers every secret it handled.

use std::cell::RefCell;

use anyhow::{Context, Result, ensure};
use base64ct::{Base64UrlUnpadded, Encoding};
use countersign_claims::{AccessClaims, PROBLEM_JSON};
use reqwest::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use crate::stack::{Stack, http_client};

pub(super) const PASSWORD: &str = "a calm orange lighthouse";

#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) edge: String,
    client: Client,
    secrets: RefCell<Vec<String>>,
}

/// What a login brings.
#[derive(Debug, Clone)]
pub(super) struct Login {
    pub access_token: String,
    pub refresh_token: String,
    pub user_id: String,
}

/// A response, read whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    pub body: Value,
    content_type: String,
    challenge: Option<String>,
}

impl Visitor {
    pub(super) fn new(stack: &Stack) -> Self {
        let secrets = RefCell::new(vec![PASSWORD.to_owned()]);
        Self { edge: stack.edge_url(""), client: http_client(), secrets }
    }

    /// Every password and token that this visitor has sent or received.
    pub(super) fn secrets(&self) -> Vec<String> {
        self.secrets.borrow().clone()
    }

    pub(super) fn remember(&self, secret: &str) {
        let mut secrets = self.secrets.borrow_mut();
        if !secrets.iter().any(|known| known == secret) {
            secrets.push(secret.to_owned());
        }
    }

    pub(super) async fn register(&self, email: &str) -> Result<Login> {
        let body = json!({"email": email, "password": PASSWORD, "name": "Ada"});
        let answer = self.post("/v1/auth/register", &body).await?;
        ensure!(answer.status == 201, "register: {}", answer.summary());
        self.logged_in(&answer)
    }

    pub(super) async fn login(&self, email: &str) -> Result<Login> {
        self.login_with(email, PASSWORD).await
    }

    pub(super) async fn login_with(&self, email: &str, password: &str) -> Result<Login> {
        self.logged_in(&self.try_login(email, password).await?.expect(200, "login")?)
    }

    pub(super) async fn try_login(&self, email: &str, password: &str) -> Result<Answer> {
        self.remember(password);
        self.post("/v1/auth/login", &json!({"email": email, "password": password})).await
    }

    pub(super) fn logged_in(&self, answer: &Answer) -> Result<Login> {
        let login = Login {
            access_token: answer.text("/access_token")?,
            refresh_token: answer.text("/refresh_token")?,
            user_id: answer.text("/user/user_id")?,
        };
        self.remember(&login.access_token);
        self.remember(&login.refresh_token);
        Ok(login)
    }

    pub(super) async fn refresh(&self, refresh_token: &str) -> Result<Answer> {
        let answer = self.post("/v1/auth/refresh", &json!({"refresh_token": refresh_token})).await?;
        for field in ["/access_token", "/refresh_token"] {
            if let Ok(secret) = answer.text(field) {
                self.remember(&secret);
            }
        }
        Ok(answer)
    }

    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.edge))
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        Answer::to(self.request(Method::POST, path).json(body)).await
    }

    pub(super) async fn post_as(&self, token: &str, path: &str, body: &Value) -> Result<Answer> {
        Answer::to(self.request(Method::POST, path).bearer_auth(token).json(body)).await
    }

    pub(super) async fn patch_as(&self, token: &str, path: &str, body: &Value) -> Result<Answer> {
        Answer::to(self.request(Method::PATCH, path).bearer_auth(token).json(body)).await
    }

    pub(super) async fn get(&self, path: &str) -> Result<Answer> {
        Answer::to(self.request(Method::GET, path)).await
    }

    pub(super) async fn get_as(&self, token: &str, path: &str) -> Result<Answer> {
        Answer::to(self.request(Method::GET, path).bearer_auth(token)).await
    }

    pub(super) fn websocket_url(&self, path: &str) -> String {
        format!("{}{path}", self.edge.replacen("http", "ws", 1))
    }
}

impl Answer {
    pub(super) async fn to(request: RequestBuilder) -> Result<Self> {
        let response = request.send().await.context("no answer")?;
        let header =
            |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let content_type = header(CONTENT_TYPE).unwrap_or_default();
        let challenge = header(WWW_AUTHENTICATE);
        let status = response.status().as_u16();
        let body = serde_json::from_str(&response.text().await?).unwrap_or_default();
        Ok(Self { status, body, content_type, challenge })
    }

    /// One that came over the wire as text: HTTP/1.1, head and body.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let (head, body) = text.split_once("\r\n\r\n").context("no HTTP")?;
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status line")?;
        let header = |name: &str| {
            let named = |line: &str| {
                let (found, value) = line.split_once(": ")?;
                found.eq_ignore_ascii_case(name).then(|| value.to_owned())
            };
            lines.clone().find_map(named)
        };
        Ok(Self {
            status: status.parse().with_context(|| format!("the status {status:?}"))?,
            body: serde_json::from_str(body).unwrap_or_default(),
            content_type: header(CONTENT_TYPE.as_str()).unwrap_or_default(),
            challenge: header(WWW_AUTHENTICATE.as_str()),
        })
    }

    /// That it has this status; `what` tells what was asked for if it has another.
    pub(super) fn expect(self, status: u16, what: &str) -> Result<Self> {
        ensure!(self.status == status, "{what}: wanted {status}, got {}", self.summary());
        Ok(self)
    }

    pub(super) fn text(&self, pointer: &str) -> Result<String> {
        let value = self.body.pointer(pointer).and_then(Value::as_str);
        value.map(str::to_owned).with_context(|| format!("no {pointer} in the answer: {}", self.summary()))
    }

    /// That it is a refusal as the contract describes it, with this status and reason.
    pub(super) fn refused(&self, status: u16, reason: &str) -> Result<String> {
        ensure!(
            self.status == status && self.body["reason"] == reason,
            "wanted {status} {reason}: {}",
            self.summary()
        );
        ensure!(self.content_type == PROBLEM_JSON, "content type {}", self.content_type);
        let challenged =
            self.challenge.as_ref().is_some_and(|challenge| challenge.starts_with("Bearer realm="));
        ensure!(status != 401 || challenged, "no challenge: {:?}", self.challenge);
        Ok(format!("{status} {reason}: {}", self.text("/detail")?))
    }

    /// What it asks of a client that wants to be let in.
    pub(super) fn challenge(&self) -> &str {
        self.challenge.as_deref().unwrap_or_default()
    }

    pub(super) fn summary(&self) -> String {
        let told = self.body["detail"].as_str().unwrap_or("(no detail)");
        format!("{} {} {told}", self.status, self.body["reason"].as_str().unwrap_or_default())
    }
}

/// The key id and claims of a token, unverified: the visitor trusts what it was just given.
pub(super) fn read(token: &str) -> Result<(String, AccessClaims)> {
    let mut parts = token.split('.').map(|part| Base64UrlUnpadded::decode_vec(part).unwrap_or_default());
    let (header, claims) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let header: Value = serde_json::from_slice(&header)?;
    let kid = header["kid"].as_str().context("the token names no key")?.to_owned();
    Ok((kid, serde_json::from_slice(&claims)?))
}
