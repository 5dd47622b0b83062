//! Programs of people: what they show instead of a password.

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::json;

use super::sessions::refused_soon;
use super::visitor::{Answer, Visitor};

const KEYS: &str = "/v1/api-keys";

pub(super) async fn api_key(ada: &Visitor, email: &str) -> Result<String> {
    let login = ada.login(email).await?;
    let made =
        ada.post_as(&login.access_token, KEYS, &json!({"name": "tour"})).await?.expect(201, "a key")?;
    let key = made.text("/api_key")?;
    ada.remember(&key);
    let positions = || Answer::to(ada.request(Method::GET, "/api/positions").header("x-api-key", &key));
    let answer = positions().await?.expect(200, "positions")?;
    let identity = &answer.body["identity"];
    ensure!(answer.body["user_id"] == login.user_id.as_str(), "seen as {}", answer.body["user_id"]);
    ensure!(identity["auth_method"] == "api_key", "identity {identity}");
    let path = format!("{KEYS}/{}", made.text("/id")?);
    Answer::to(ada.request(Method::DELETE, &path).bearer_auth(&login.access_token))
        .await?
        .expect(204, "revoking it")?;
    let refused = refused_soon(positions).await?;
    ada.get_as(&login.access_token, "/api/positions").await?.expect(200, "with the token, still")?;
    Ok(format!("200 as its owner; revoked: {refused}"))
}
