//! A second factor: codes of an authenticator app and, for when it is lost, backup codes.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use super::forgery::Forger;
use super::visitor::{Answer, Login, PASSWORD, Visitor, read};
use crate::authenticator::{Authenticator, STEP};

/// What its owner has, once it is set up.
#[derive(Debug, Default)]
pub(super) struct Factor {
    app: Option<Authenticator>,
    backup_codes: Vec<String>,
    /// With the password and a code.
    login: Option<Login>,
}

impl Factor {
    pub(super) async fn set_up(&mut self, ada: &Visitor, email: &str) -> Result<String> {
        let token = ada.register(email).await?.access_token;
        let shown = ada.post_as(&token, "/v1/auth/mfa/totp/setup", &json!({})).await?.expect(200, "setup")?;
        let secret = shown.text("/secret")?;
        ada.remember(&secret);
        let picture = shown.text("/qr_code_uri")?;
        ensure!(picture.starts_with("data:image/"), "the QR code is no image: {picture:.40}");
        ada.login(email).await.context("the password is not enough, before any code was shown")?;

        let app = self.app.insert(Authenticator::new(&secret)?);
        let code = json!({"code": app.code_at(now()?)});
        let enabled = ada.post_as(&token, "/v1/auth/mfa/totp/enable", &code).await?.expect(200, "enable")?;
        let codes = enabled.body["backup_codes"].as_array().context("no backup codes")?;
        self.backup_codes = codes.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        self.backup_codes.iter().for_each(|code| ada.remember(code));
        ensure!(self.backup_codes.len() == 10, "{} backup codes", self.backup_codes.len());
        Ok("a QR code for the app, put into force by its code; ten backup codes".into())
    }

    pub(super) async fn code(&mut self, ada: &Visitor, email: &str) -> Result<String> {
        // The code of these 30 seconds was used to put it into force; the next one is good already.
        let code = self.app()?.code_at(now()? + STEP);
        let answer = verify(ada, &waiting(ada, email).await?, &code).await?.expect(200, "its code")?;
        let login = ada.logged_in(&answer)?;
        let amr = read(&login.access_token)?.1.amr;
        ensure!(amr == ["pwd", "otp"], "the token says {amr:?}");
        ada.get_as(&login.access_token, "/api/positions").await?.expect(200, "positions")?;
        self.login = Some(login);
        let again = verify(ada, &waiting(ada, email).await?, &code).await?.refused(403, "wrong_code")?;
        Ok(format!("asked for; its token says {}; the code again: {again}", amr.join(" ")))
    }

    /// A route that wants more than a password: a login with a code, and not long ago. `without` has no second factor.
    pub(super) async fn step_up(&self, ada: &Visitor, without: &str, forger: &Forger<'_>) -> Result<String> {
        let login = self.login.as_ref().context("nobody has logged in with a code")?;
        let wish = json!({"amount": "100.00"});
        let withdraw = async |token: &str| ada.post_as(token, "/api/withdrawals", &wish).await;
        let weak = withdraw(&ada.login(without).await?.access_token).await?;
        let refused = weak.refused(401, "stronger_login_required")?;
        // RFC 9470: what a login must be that would do.
        let challenge = weak.challenge();
        for part in [r#"error="insufficient_user_authentication""#, r#"acr_values="otp", max_age="900""#] {
            ensure!(challenge.contains(part), "the challenge is {challenge}");
        }
        let token =
            ada.refresh(&login.refresh_token).await?.expect(200, "a refresh")?.text("/access_token")?;
        let admitted = withdraw(&token).await?.expect(201, "with a code")?;
        ensure!(admitted.body["user_id"] == login.user_id.as_str(), "seen as {}", admitted.body["user_id"]);
        let long_ago =
            forger.forge(&token, |claims| claims.auth_time = claims.auth_time.map(|at| at - 3600))?;
        withdraw(&long_ago).await?.refused(401, "recent_login_required")?;
        Ok(format!(
            "withdrawal by password alone: {refused}; after a code: 201; an hour later: asked for again"
        ))
    }

    pub(super) async fn wrong_code(&self, ada: &Visitor, email: &str) -> Result<String> {
        let (app, now) = (self.app()?, now()?);
        let good: Vec<_> = (-2..=2).map(|steps| app.code_at(now + steps * STEP)).collect();
        let wrong = ["000000", "111111", "222222", "333333", "444444", "555555"];
        let wrong = wrong.into_iter().find(|code| good.iter().all(|good| good != code)).unwrap_or_default();
        verify(ada, &waiting(ada, email).await?, wrong).await?.refused(403, "wrong_code")
    }

    pub(super) async fn backup_code(&self, ada: &Visitor, email: &str) -> Result<String> {
        let code = self.backup_codes.first().context("it was never set up")?;
        let answer = verify(ada, &waiting(ada, email).await?, code).await?.expect(200, "a backup code")?;
        ada.logged_in(&answer)?;
        let again = verify(ada, &waiting(ada, email).await?, code).await?.refused(403, "wrong_code")?;
        Ok(format!("in without the app; the same one again: {again}"))
    }

    /// Clients that know no second step are no way around it.
    pub(super) async fn no_way_around(&self, ada: &Visitor, email: &str) -> Result<String> {
        self.app()?;
        let form = [("username", email), ("password", PASSWORD)];
        let form = Answer::to(ada.request(Method::POST, "/token").form(&form)).await?;
        let form = form.expect(403, "/token")?;
        ensure!(form.body["reason"] == "mfa_required", "/token: {}", form.summary());
        let refused = form.summary();
        let body = json!({"email": email, "password": PASSWORD});
        for path in ["/auth/login", "/api/auth/login"] {
            ada.post(path, &body).await?.refused(403, "mfa_required").context(path)?;
        }
        Ok(refused)
    }

    fn app(&self) -> Result<&Authenticator> {
        self.app.as_ref().context("it was never set up")
    }
}

/// The first step: the password is right, and there is no token yet. Answers with what the second step wants.
async fn waiting(ada: &Visitor, email: &str) -> Result<String> {
    let answer = ada.try_login(email, PASSWORD).await?.expect(200, "the password")?;
    ensure!(answer.body["status"] == "mfa_required", "no code is asked for: {}", answer.body["status"]);
    ensure!(answer.body.get("access_token").is_none(), "there is a token without a code");
    let token = answer.text("/session_token")?;
    ada.remember(&token);
    Ok(token)
}

async fn verify(ada: &Visitor, session_token: &str, code: &str) -> Result<Answer> {
    ada.post("/v1/auth/mfa/verify", &json!({"session_token": session_token, "code": code})).await
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that asks what time it is: apps show the code of now"
)]
fn now() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?)
}
