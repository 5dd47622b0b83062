//! Choosing another password while one is logged in.

use anyhow::Result;
use serde_json::json;

use super::visitor::{PASSWORD, Visitor};

const NEW_PASSWORD: &str = "a patient silver compass";

pub(super) async fn change(ada: &Visitor, email: &str) -> Result<String> {
    let (here, elsewhere) = (ada.register(email).await?, ada.login(email).await?);
    let change = async |current: &str| {
        let body = json!({"current_password": current, "password": NEW_PASSWORD});
        ada.post_as(&here.access_token, "/v1/auth/password/change", &body).await
    };
    ada.remember(NEW_PASSWORD);
    change("not the password").await?.refused(403, "wrong_password")?;
    change(PASSWORD).await?.expect(204, "change")?;

    ada.refresh(&here.refresh_token).await?.expect(200, "refreshing this session")?;
    ada.refresh(&elsewhere.refresh_token).await?.expect(400, "refreshing the other session")?;
    let other = ada.get_as(&elsewhere.access_token, "/v1/users/me").await?.refused(401, "revoked")?;
    ada.try_login(email, PASSWORD).await?.expect(401, "login with the old password")?;
    ada.login_with(email, NEW_PASSWORD).await?;
    Ok(format!("this session goes on; the other one: {other}"))
}
