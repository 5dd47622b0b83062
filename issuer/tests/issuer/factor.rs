//! Someone with an authenticator app, which is made here anew from the RFCs, and the steps of a login with it.

use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::StatusCode;
use serde_json::{Value, json};
use sha1::Sha1;

use crate::stage::{Answer, Call, PASSWORD, Person, TestApp};

pub(crate) const SET_UP: &str = "/v1/auth/mfa/totp/setup";
pub(crate) const ENABLE: &str = "/v1/auth/mfa/totp/enable";
pub(crate) const DISABLE: &str = "/v1/auth/mfa/totp/disable";
pub(crate) const BACKUP_CODES: &str = "/v1/auth/mfa/backup-codes";
pub(crate) const VERIFY: &str = "/v1/auth/mfa/verify";

/// What the owner of a second factor has.
pub(crate) struct Factor {
    pub(crate) secret: Vec<u8>,
    pub(crate) backup_codes: Vec<String>,
}

impl Factor {
    /// Set up and put into force; afterwards no code has been used that is still to come.
    pub(crate) async fn of(app: &TestApp, person: &Person) -> Self {
        let mut factor = Self::set_up(app, person).await;
        let answer = app.post(ENABLE, json!({"code": factor.code(app)})).by(person).await;
        factor.backup_codes = backup_codes(&answer.expect(StatusCode::OK));
        app.pass(30);
        factor
    }

    pub(crate) async fn set_up(app: &TestApp, person: &Person) -> Self {
        let body = app.post(SET_UP, json!({})).by(person).await.expect(StatusCode::OK).json();
        let secret = BASE32_NOPAD.decode(body["secret"].as_str().unwrap().as_bytes()).unwrap();
        Self { secret, backup_codes: Vec::new() }
    }

    /// What the app shows now.
    pub(crate) fn code(&self, app: &TestApp) -> String {
        self.code_at(app.clock.now().seconds())
    }

    /// RFC 6238 §4.2.
    pub(crate) fn code_at(&self, at: i64) -> String {
        let mut mac = Hmac::<Sha1>::new_from_slice(&self.secret).unwrap();
        mac.update(&(at / 30).to_be_bytes());
        let hash = mac.finalize().into_bytes();
        let offset = usize::from(hash[19] & 15);
        let word = u32::from_be_bytes(hash[offset..offset + 4].try_into().unwrap()) & 0x7fff_ffff;
        format!("{:06}", word % 1_000_000)
    }

    /// Six digits that are no code of these minutes.
    pub(crate) fn wrong(&self, app: &TestApp) -> String {
        let now = app.clock.now().seconds();
        let good: Vec<String> = (-5..=5).map(|steps| self.code_at(now + 30 * steps)).collect();
        (0..).map(|n| format!("{n:06}")).find(|code| !good.contains(code)).unwrap()
    }
}

pub(crate) fn backup_codes(answer: &Answer) -> Vec<String> {
    let codes = answer.json()["backup_codes"].as_array().unwrap().clone();
    codes.iter().map(|code| code.as_str().unwrap().to_owned()).collect()
}

/// The first step of a login: the token of the second.
pub(crate) async fn waiting(app: &TestApp, email: &str) -> String {
    let body = json!({"email": email, "password": PASSWORD});
    token(&app.post("/v1/auth/login", body).await.expect(StatusCode::OK))
}

pub(crate) fn token(answer: &Answer) -> String {
    let body = answer.json();
    assert_eq!(body["status"], "mfa_required", "{body}");
    body["session_token"].as_str().unwrap().to_owned()
}

/// The second step.
pub(crate) fn verify(app: &TestApp, token: &str, code: &str) -> Call {
    app.post(VERIFY, json!({"session_token": token, "code": code}))
}

/// The events of a type, in the order in which they were written: outcome, actor and subject.
pub(crate) async fn events(app: &TestApp, kind: &str) -> Vec<(String, Option<String>, Option<String>)> {
    let events = "SELECT outcome, actor, subject FROM audit_events WHERE type = $1 ORDER BY id";
    sqlx::query_as(events).bind(kind.to_owned()).fetch_all(app.app.db.reads()).await.unwrap()
}

pub(crate) async fn me(app: &TestApp, person: &Person) -> Value {
    app.get("/v1/users/me").by(person).await.expect(StatusCode::OK).json()
}
