//! Refresh tokens: each works once, and using an old one ends the session.

use anyhow::{Result, ensure};
use serde_json::json;

use super::visitor::{Visitor, read};

pub(super) async fn refresh_rotates(ada: &Visitor, email: &str) -> Result<String> {
    let login = ada.login(email).await?;
    let first = ada.refresh(&login.refresh_token).await?;
    ensure!(first.status == 200, "{}", first.summary());
    let next = first.text("/refresh_token")?;
    ensure!(next != login.refresh_token, "the refresh token did not change");
    let token = first.text("/access_token")?;
    ensure!(token != login.access_token, "the access token did not change");
    let positions = ada.get_as(&token, "/api/positions").await?;
    ensure!(positions.status == 200, "with the new token: {}", positions.summary());
    ensure!(read(&token)?.1.session_id == read(&login.access_token)?.1.session_id, "the session changed");
    let second = ada.refresh(&next).await?;
    ensure!(second.status == 200, "second: {}", second.summary());
    Ok("two rotations, one session".into())
}

pub(super) async fn reuse_revokes(ada: &Visitor, email: &str) -> Result<String> {
    let login = ada.login(email).await?;
    let first = ada.refresh(&login.refresh_token).await?;
    let second = ada.refresh(&first.text("/refresh_token")?).await?;
    // Two rotations old: no lost answer and no second tab explains it, grace or not.
    let reused = ada.refresh(&login.refresh_token).await?;
    ensure!(reused.status == 400, "the old token: {}", reused.summary());
    let after = ada.refresh(&second.text("/refresh_token")?).await?;
    ensure!(after.status == 400, "the newest token still works: {}", after.summary());
    Ok(format!("reuse: {}; then the newest one: {}", reused.summary(), after.summary()))
}

pub(super) async fn logout_everywhere(ada: &Visitor, email: &str) -> Result<String> {
    let (here, elsewhere) = (ada.login(email).await?, ada.login(email).await?);
    let everywhere = json!({"all_devices": true});
    ada.post_as(&here.access_token, "/v1/auth/logout", &everywhere).await?.expect(204, "logout")?;
    for login in [&here, &elsewhere] {
        ada.refresh(&login.refresh_token).await?.expect(400, "refreshing a session that has ended")?;
        ada.get_as(&login.access_token, "/v1/users/me").await?.refused(401, "revoked")?;
    }
    let again = ada.login(email).await?;
    let list = ada.get_as(&again.access_token, "/v1/auth/sessions").await?.expect(200, "sessions")?;
    let count = list.body["sessions"].as_array().map(Vec::len);
    ensure!(count == Some(1), "{count:?} sessions are left beside the new login");
    Ok("no session is left; the password lets one in again".into())
}
