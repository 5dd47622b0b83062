//! Who has an account: one person, who logs in again and again; and tokens of many others, signed with the issuer's own
//! key, since logging in so many would take longer than what is measured.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use base64ct::{Base64UrlUnpadded, Encoding};
use countersign_claims::{AccessClaims, Alg, SigningKey, mint};
use countersign_stack::stack::State;
use countersign_tests::bench::wire::{self, Connection};
use ed25519_dalek::pkcs8::DecodePrivateKey;
use serde_json::{Value, json};

use crate::load::{Card, Kind};

const EMAIL: &str = "ada@example.com";
const PASSWORD: &str = "a calm orange lighthouse";

/// Longer than any part takes.
const LIFETIME_SECONDS: i64 = 3600;

/// The person with an account, at the issuer with this port.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Person {
    port: u16,
}

/// What a login brings.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
}

impl Person {
    pub(crate) async fn register(port: u16) -> Result<Self> {
        let body = json!({"email": EMAIL, "password": PASSWORD, "name": "Ada"});
        post(port, "/v1/auth/register", None, &body, 201).await?;
        Ok(Self { port })
    }

    /// The same person at another issuer.
    pub(crate) fn at(self, port: u16) -> Self {
        Self { port }
    }

    pub(crate) async fn log_in(self) -> Result<Login> {
        let body = json!({"email": EMAIL, "password": PASSWORD});
        Login::read(&post(self.port, "/v1/auth/login", None, &body, 200).await?)
    }

    pub(crate) async fn refresh(self, login: &Login) -> Result<Login> {
        let body = json!({"refresh_token": login.refresh_token});
        Login::read(&post(self.port, "/v1/auth/refresh", None, &body, 200).await?)
    }

    /// By either token: the key of the access token may have been revoked.
    pub(crate) async fn log_out(self, login: &Login) -> Result<()> {
        let body = json!({"refresh_token": login.refresh_token});
        post(self.port, "/v1/auth/logout", Some(&login.access_token), &body, 204).await.map(drop)
    }

    /// A new API key.
    pub(crate) async fn api_key(self, login: &Login) -> Result<String> {
        let made = post(self.port, "/v1/api-keys", Some(&login.access_token), &json!({"name": "bench"}), 201)
            .await?;
        Ok(made["api_key"].as_str().context("no key in the answer")?.to_owned())
    }

    /// Tokens of sessions that have ended.
    pub(crate) async fn ended(self, count: u64) -> Result<Vec<String>> {
        let mut tokens = Vec::new();
        for _ in 0..count {
            let login = self.log_in().await?;
            self.log_out(&login).await?;
            tokens.push(login.access_token);
        }
        Ok(tokens)
    }
}

impl Login {
    fn read(body: &Value) -> Result<Self> {
        let text = |name: &str| body[name].as_str().map(str::to_owned).with_context(|| format!("no {name}"));
        Ok(Self { access_token: text("access_token")?, refresh_token: text("refresh_token")? })
    }
}

async fn post(port: u16, path: &str, token: Option<&str>, body: &Value, status: u16) -> Result<Value> {
    let mut request = Vec::new();
    let authorization = token.map(wire::authorization).unwrap_or_default();
    wire::write(&mut request, "POST", path, &authorization, &body.to_string());
    let mut connection = Connection::open(port).await?;
    let answer = connection.exchange(&request).await.with_context(|| path.to_owned())?;
    let said = String::from_utf8_lossy(answer.body);
    ensure!(answer.status == status, "{path} was answered with {}: {said}", answer.status);
    Ok(serde_json::from_slice(answer.body).unwrap_or_default())
}

/// Signs with the key of a real token what that token says, for others.
#[derive(Debug)]
pub(crate) struct Mint {
    pub(crate) kid: String,
    key: SigningKey,
    claims: AccessClaims,
}

impl Mint {
    pub(crate) fn of(state: &State, token: &str) -> Result<Self> {
        let (kid, claims) = read(token)?;
        let file = state.issuer_config().with_file_name("keys").join(format!("{kid}.pem"));
        let pem =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let key = SigningKey::from_pkcs8_pem(&pem).context("not a PKCS#8 key")?;
        Ok(Self { kid, key, claims })
    }

    /// Of the person with this number, in a session of its own.
    pub(crate) fn token(&self, number: u64) -> Result<String> {
        let id = |what: u8| format!("01900000-000{what}-7000-8000-{number:012}");
        let issued = self.claims.iat.context("a token without iat")?;
        let claims = AccessClaims {
            sub: id(1),
            session_id: Some(id(2)),
            jti: Some(id(3)),
            email: Some(format!("{number}@bench.example")),
            exp: issued + LIFETIME_SECONDS,
            ..self.claims.clone()
        };
        mint(&self.kid, &claims, &self.key, Alg::EdDsa).context("cannot sign")
    }

    pub(crate) fn tokens(&self, count: u64) -> Result<Vec<String>> {
        (0..count).map(|number| self.token(number)).collect()
    }
}

/// Requests with these tokens.
pub(crate) fn cards(kind: Kind, tokens: &[String]) -> Vec<Arc<Card>> {
    tokens.iter().map(|token| Card::with_token(kind, token)).collect()
}

/// The key id of a token, and what it says, unverified.
pub(crate) fn read(token: &str) -> Result<(String, AccessClaims)> {
    let mut parts = token.split('.').map(|part| Base64UrlUnpadded::decode_vec(part).unwrap_or_default());
    let (header, claims) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let header: Value = serde_json::from_slice(&header)?;
    let kid = header["kid"].as_str().context("the token names no key")?.to_owned();
    Ok((kid, serde_json::from_slice(&claims)?))
}
