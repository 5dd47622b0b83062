//! Clients that were written before us, by the routes that they know.

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::json;

use super::visitor::{Answer, PASSWORD, Visitor};

/// That the answer is a login whose token is good at the edge.
async fn is_a_login(ada: &Visitor, answer: &Answer) -> Result<String> {
    ensure!(answer.status == 200, "login: {}", answer.summary());
    let token = answer.text("/access_token")?;
    ada.remember(&token);
    let positions = ada.get_as(&token, "/api/positions").await?;
    ensure!(positions.status == 200, "positions: {}", positions.summary());
    Ok(token)
}

pub(super) async fn token(ada: &Visitor, email: &str) -> Result<String> {
    let form = [("username", email), ("password", PASSWORD)];
    let answer = Answer::to(ada.request(Method::POST, "/token").form(&form)).await?;
    is_a_login(ada, &answer).await?;
    let login = ada.login(email).await?;
    let form = [("grant_type", "refresh_token"), ("refresh_token", login.refresh_token.as_str())];
    let answer = Answer::to(ada.request(Method::POST, "/token").form(&form)).await?;
    is_a_login(ada, &answer).await?;
    ada.remember(&answer.text("/refresh_token")?);
    Ok("a form with a password, and one with a refresh token".into())
}

pub(super) async fn auth(ada: &Visitor, email: &str) -> Result<String> {
    let body = json!({"email": email, "password": PASSWORD});
    is_a_login(ada, &ada.post("/auth/login", &body).await?).await?;
    let health = ada.get("/health").await?;
    ensure!(health.status == 200 && health.body == json!({"status": "ok"}), "health: {}", health.summary());
    Ok("logged in; healthy".into())
}

pub(super) async fn api_auth(ada: &Visitor, email: &str) -> Result<String> {
    let body = json!({"email": email, "password": PASSWORD});
    let token = is_a_login(ada, &ada.post("/api/auth/login", &body).await?).await?;
    let me = ada.get_as(&token, "/api/auth/me").await?;
    ensure!(me.body["email"] == email, "me: {}", me.summary());
    let out = Answer::to(ada.request(Method::POST, "/api/auth/logout").bearer_auth(&token)).await?;
    ensure!(out.body == json!({"message": "Logged out"}), "logout: {}", out.summary());
    let gone = ada.get_as(&token, "/api/auth/verify").await?;
    gone.refused(401, "revoked")
}
