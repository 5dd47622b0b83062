//! Clients that were written before us, by the routes that they know. Each request is one that can be pasted.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::curl::Shell;
use super::mailbox::{self, Mail};
use super::visitor::{Answer, PASSWORD, Visitor};
use crate::stack::Stack;

const NEW_PASSWORD: &str = "a loud copper waterfall";

/// That the answer is a login whose token is good at the edge, and `$TOKEN` from now on.
async fn log_in(shell: &mut Shell<'_>, ada: &Visitor, answer: &Answer) -> Result<()> {
    ensure!(answer.status == 200, "login: {}", answer.summary());
    let token = answer.text("/access_token")?;
    shell.set("TOKEN", &token);
    ada.get_as(&token, "/api/positions").await?.expect(200, "positions with its token")?;
    Ok(())
}

fn credentials(email: &str, password: &str) -> String {
    format!(r#"'{{"email":"{email}","password":"{password}"}}'"#)
}

pub(super) async fn token(ada: &Visitor, email: &str) -> Result<String> {
    let mut shell = Shell::new(ada);
    let form = format!("/token -d username={email} --data-urlencode 'password={PASSWORD}'");
    let answer = shell.curl(&form).await?;
    let members = answer.body.as_object().map(serde_json::Map::len);
    ensure!(members == Some(2), "these clients know two members, and got {members:?}");
    log_in(&mut shell, ada, &answer).await?;
    shell.set("REFRESH", &ada.login(email).await?.refresh_token);
    let form = r#"/token -d grant_type=refresh_token -d "refresh_token=$REFRESH""#;
    let answer = shell.curl(form).await?;
    log_in(&mut shell, ada, &answer).await?;
    ada.remember(&answer.text("/refresh_token")?);
    let wrong = shell.curl(&format!("/token -d username={email} -d password=wrong")).await?;
    wrong.expect(401, "a wrong password")?;
    Ok(shell.seen("a form with a password, and one with a refresh token"))
}

pub(super) async fn auth(ada: &Visitor, email: &str) -> Result<String> {
    let mut shell = Shell::new(ada);
    let answer = shell.post("/auth/login", &credentials(email, PASSWORD)).await?;
    log_in(&mut shell, ada, &answer).await?;
    let health = shell.curl("/health").await?.expect(200, "health")?;
    ensure!(health.body == json!({"status": "ok"}), "health: {}", health.body);
    Ok(shell.seen("logged in; healthy"))
}

pub(super) async fn api_auth(ada: &Visitor, email: &str) -> Result<String> {
    let mut shell = Shell::new(ada);
    let answer = shell.post("/api/auth/register", &credentials(email, PASSWORD)).await?;
    log_in(&mut shell, ada, &answer).await?;
    let body = format!(r#"'{{"email":"{email}","password":"{PASSWORD}","refresh_token_in_body":true}}'"#);
    let answer = shell.post("/api/auth/login", &body).await?;
    log_in(&mut shell, ada, &answer).await?;

    let me = shell.get("/api/auth/me").await?.expect(200, "me")?;
    ensure!(me.body["email"] == email, "me: {}", me.body);
    let verified = shell.get("/api/auth/verify").await?.expect(200, "verify")?;
    ensure!(verified.body["user"] == me.body, "verify: {}", verified.body);
    let sessions = shell.get("/api/auth/sessions").await?.expect(200, "sessions")?;
    let others = sessions.body["sessions"].as_array().context("no sessions")?;
    let other = others.iter().find(|session| session["current"] == false).context("one session only")?;
    let other = other["id"].as_str().context("a session without an id")?;
    let end = format!(r#"/api/auth/sessions/{other} -X DELETE -H "authorization: Bearer $TOKEN""#);
    shell.curl(&end).await?.expect(204, "ending the session of the registration")?;
    shell.curl("/api/auth/test/public").await?.expect(200, "test/public")?;
    shell.get("/api/auth/test/protected").await?.expect(200, "test/protected")?;
    shell.curl("/api/auth/openapi.json").await?.expect(200, "openapi.json")?;
    shell.get("/api/auth/admin/users").await?.refused(403, "permission_denied")?;

    shell.set("REFRESH", &answer.text("/refresh_token")?);
    let refresh = r#"/api/auth/refresh -X POST -H "authorization: Bearer $REFRESH""#;
    let answer = shell.curl(refresh).await?;
    log_in(&mut shell, ada, &answer).await?;
    ada.remember(&answer.text("/refresh_token")?);
    for way in ["logout", "logout-all"] {
        let post = format!(r#"/api/auth/{way} -X POST -H "authorization: Bearer $TOKEN""#);
        let out = shell.curl(&post).await?.expect(200, way)?;
        ensure!(out.body == json!({"message": "Logged out"}), "{way}: {}", out.body);
        shell.get("/api/auth/verify").await?.refused(401, "revoked").context(way)?;
        let answer = shell.post("/api/auth/login", &credentials(email, PASSWORD)).await?;
        log_in(&mut shell, ada, &answer).await?;
    }
    Ok(shell.seen("an account, and all that its clients ask for; after a logout the token is revoked"))
}

/// What these clients do with the links that come by mail.
pub(super) async fn api_auth_by_mail(ada: &Visitor, email: &str, stack: &Stack) -> Result<String> {
    let (mut shell, address) = (Shell::new(ada), format!(r#"'{{"email":"{email}"}}'"#));
    shell.post("/v1/auth/email/resend", &address).await?.expect(202, "resend")?;
    shell.set("LINK", &mailbox::token(stack, email, Mail::Confirm).await?);
    let verify = r#"'{"token":"'$LINK'"}'"#;
    shell.post("/api/auth/email/verify", verify).await?.expect(200, "email/verify")?;

    shell.post("/api/auth/password/reset/request", &address).await?.expect(202, "reset/request")?;
    shell.set("LINK", &mailbox::token(stack, email, Mail::Reset).await?);
    ada.remember(NEW_PASSWORD);
    let confirm = format!(r#"'{{"token":"'$LINK'","new_password":"{NEW_PASSWORD}"}}'"#);
    shell.post("/api/auth/password/reset/confirm", &confirm).await?.expect(200, "reset/confirm")?;
    let old = shell.post("/api/auth/login", &credentials(email, PASSWORD)).await?;
    old.expect(401, "the old password")?;
    let answer = shell.post("/api/auth/login", &credentials(email, NEW_PASSWORD)).await?;
    log_in(&mut shell, ada, &answer).await?;
    Ok(shell.seen("address confirmed, new password chosen; the old one is refused"))
}
