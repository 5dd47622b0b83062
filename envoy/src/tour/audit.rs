//! What happened is written down, for the owner of an account, for administrators, and so that changing it shows.

use anyhow::{Context, Result, ensure};

use super::admin;
use super::visitor::{Answer, Visitor};
use crate::stack::Stack;

fn types(page: &Answer) -> Vec<&str> {
    let items = page.body["items"].as_array().into_iter().flatten();
    items.filter_map(|event| event["type"].as_str()).collect()
}

/// Of an account that an administrator has closed and opened, given a role, and unlocked.
pub(super) async fn of_an_account(ada: &Visitor, email: &str, stack: &Stack) -> Result<String> {
    let (admin, user) = (admin::log_in(ada, stack).await?, ada.login(email).await?);
    let own = ada.get_as(&user.access_token, "/v1/audit").await?.expect(200, "one's own events")?;
    let own = types(&own);
    for kind in ["login", "login_failed", "account_locked", "account_unlocked", "role_changed"] {
        ensure!(own.contains(&kind), "there is no {kind} among one's own events: {own:?}");
    }
    let path = format!("/v1/admin/audit?type=user_deactivated&subject={}", user.user_id);
    let closed = ada.get_as(&admin.access_token, &path).await?.expect(200, "the administrators' view")?;
    let actor = closed.body["items"][0]["actor"].as_str().context("nobody has closed the account")?;
    ensure!(actor == admin.user_id, "the account was closed by {actor}");
    Ok(format!("{} events of one's own; who closed the account stands there", own.len()))
}

/// The operator's command, on the database of the running issuer.
pub(super) fn verify(stack: &Stack) -> Result<String> {
    let said = stack.operate(&["audit", "verify"])?;
    let told = |what: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(": "));
        line.with_context(|| format!("audit verify does not tell {what:?}: {said}"))
    };
    let sealed: u64 = told("sealed events, all as they were written")?.parse()?;
    ensure!(sealed > 0, "nothing is sealed: {said}");
    // As whoever has kept the head elsewhere proves it later.
    stack.operate(&["audit", "verify", "--head", told("head")?]).context("with the head of just now")?;
    Ok(format!("{sealed} events sealed, none changed, removed, inserted or moved"))
}
