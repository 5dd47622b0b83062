//! What an administrator does to the accounts of others, and that nobody else can.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::visitor::{Login, PASSWORD, Visitor, read};
use crate::stack::{ADMIN_EMAIL, Stack};

const USERS: &str = "/v1/admin/users";

/// Failures that are allowed before an account is locked.
const FAILURES: usize = 10;

const WRONG: &str = "not the password";

pub(super) async fn log_in(ada: &Visitor, stack: &Stack) -> Result<Login> {
    let file = stack.state.admin_password();
    let password =
        std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    ada.login_with(ADMIN_EMAIL, &password).await.context("the administrator")
}

pub(super) async fn list(ada: &Visitor, email: &str, stack: &Stack) -> Result<String> {
    let admin = log_in(ada, stack).await?;
    let page = async |query: &str| {
        let page = ada.get_as(&admin.access_token, &format!("{USERS}?{query}")).await?;
        page.expect(200, "the list")
    };
    let emails = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().into_iter().flatten();
        items.filter_map(|user| user["email"].as_str()).map(str::to_owned).collect()
    };
    let (beginning, _) = email.split_at(email.len().min(3));
    let found = emails(&page(&format!("search={beginning}")).await?.body);
    ensure!(found == [email], "{beginning} finds {found:?}");
    let first = page("limit=1").await?;
    let second = page(&format!("limit=1&cursor={}", first.text("/next_cursor")?)).await?;
    let both = [emails(&first.body), emails(&second.body)].concat();
    ensure!(both.len() == 2 && both[0] < both[1], "two pages of one: {both:?}");

    let user = ada.login(email).await?;
    let refused = ada.get_as(&user.access_token, USERS).await?.refused(403, "permission_denied")?;
    Ok(format!("{beginning} finds {email}; in pages; for others {refused}"))
}

pub(super) async fn deactivate(ada: &Visitor, email: &str, stack: &Stack) -> Result<String> {
    let (admin, user) = (log_in(ada, stack).await?, ada.login(email).await?);
    let set = async |active: bool| {
        let path = format!("{USERS}/{}", user.user_id);
        let changed = ada.patch_as(&admin.access_token, &path, &json!({"is_active": active})).await?;
        let changed = changed.expect(200, "the change")?;
        ensure!(changed.body["is_active"] == active, "is_active is {}", changed.body["is_active"]);
        anyhow::Ok(())
    };
    set(false).await?;
    let refused = ada.try_login(email, PASSWORD).await?.refused(403, "account_inactive")?;
    ada.refresh(&user.refresh_token).await?.expect(400, "refreshing the session of a closed account")?;
    set(true).await?;
    ada.login(email).await.context("opened again")?;
    Ok(format!("closed: {refused}; opened: in again"))
}

pub(super) async fn roles(ada: &Visitor, email: &str, stack: &Stack) -> Result<String> {
    let (admin, user) = (log_in(ada, stack).await?, ada.login(email).await?);
    let path = format!("{USERS}/{}", user.user_id);
    let give = async |roles: &[&str]| {
        let changed = ada.patch_as(&admin.access_token, &path, &json!({"roles": roles})).await?;
        changed.expect(200, "the roles").map(drop)
    };
    give(&["user", "admin"]).await?;
    let promoted = ada.login(email).await?;
    let roles = read(&promoted.access_token)?.1.roles;
    ensure!(roles.iter().any(|role| role == "admin"), "the token says {roles:?}");
    ada.get_as(&promoted.access_token, USERS).await?.expect(200, "the list for the new administrator")?;
    give(&["user"]).await?;
    // The token says admin until it expires, and the edge believes it; the issuer asks its database.
    let refused = ada.get_as(&promoted.access_token, USERS).await?.refused(403, "permission_denied")?;
    Ok(format!("given: an administrator; taken: {refused}"))
}

pub(super) async fn unlock(ada: &Visitor, email: &str, stack: &Stack) -> Result<String> {
    let (admin, user) = (log_in(ada, stack).await?, ada.login(email).await?);
    for _ in 0..FAILURES {
        ada.try_login(email, WRONG).await?.expect(401, "a wrong password")?;
    }
    let locked = ada.try_login(email, WRONG).await?.refused(429, "rate_limited")?;
    let path = format!("{USERS}/{}/unlock", user.user_id);
    ada.post_as(&admin.access_token, &path, &json!({})).await?.expect(204, "unlock")?;
    // The right password would come in from here whatever failed: its owner has been here before.
    ada.try_login(email, WRONG).await?.expect(401, "a wrong password once it is unlocked")?;
    ada.login(email).await?;
    Ok(format!("after {FAILURES} wrong passwords {locked}; unlocked: looked at again"))
}
