//! People with a second factor: how they get it, and how they log in with it.

use anyhow::{Context, Result, ensure};
use countersign_stack::authenticator::{Authenticator, STEP};
use countersign_tests::bench::wire::{self, Connection};
use serde::Deserialize;
use tokio::task::JoinSet;

use super::{LOGIN, credentials, token_of, unix_now};
use crate::load::Client;
use crate::people;

const SET_UP: &str = "/v1/auth/mfa/totp/setup";
const ENABLE: &str = "/v1/auth/mfa/totp/enable";
const VERIFY: &str = "/v1/auth/mfa/verify";

/// Connections on which all of them get it.
const ENROLLING: usize = 16;

/// Somebody with an authenticator app.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    number: u64,
    app: Authenticator,
    /// The last step whose code was used.
    used: i64,
}

impl Owner {
    async fn enrol(number: u64, connection: &mut Connection) -> Result<Self> {
        #[derive(Deserialize)]
        struct Setup<'a> {
            secret: &'a str,
        }
        let authorization = wire::authorization(&token_of(number)?);
        let mut request = Vec::new();
        wire::write(&mut request, "POST", SET_UP, &authorization, "{}");
        let answer = connection.exchange(&request).await?;
        ensure!(answer.status == 200, "setup: {}", answer.status);
        let Setup { secret } = serde_json::from_slice(answer.body).context("no secret in the answer")?;
        let app = Authenticator::new(secret)?;
        let body = format!(r#"{{"code":"{}"}}"#, app.code_at(unix_now()?));
        wire::write(&mut request, "POST", ENABLE, &authorization, &body);
        let answer = connection.exchange(&request).await?;
        ensure!(answer.status == 200, "enable: {}", answer.status);
        Ok(Self { number, app, used: 0 })
    }

    /// A code that was not used yet: of these 30 seconds or, if that was, of the next.
    fn code(&mut self) -> Result<String> {
        let now = unix_now()?.div_euclid(STEP);
        let step = now.max(self.used + 1);
        ensure!(step <= now + 1, "every code is used up: more people with a second factor are needed");
        self.used = step;
        Ok(self.app.code_at(step * STEP))
    }
}

/// Gives all of them a second factor.
pub(crate) async fn enrol(port: u16) -> Result<Vec<Owner>> {
    let mut tasks = JoinSet::new();
    for place in 0..ENROLLING {
        tasks.spawn(async move {
            let mut connection = Connection::open(port).await?;
            let mut owners = Vec::new();
            for number in people::APART.skip(place).step_by(ENROLLING) {
                owners.push(Owner::enrol(number, &mut connection).await?);
            }
            anyhow::Ok(owners)
        });
    }
    let mut all = Vec::new();
    while let Some(owners) = tasks.join_next().await {
        all.extend(owners??);
    }
    Ok(all)
}

/// Logs its own people in, one after another: password, then code. No code must be used up when it begins.
#[derive(Debug)]
pub(crate) struct SecondStep {
    own: Vec<Owner>,
    at: usize,
    /// Whether the password was right, and the code is next.
    waiting: bool,
    request: Vec<u8>,
}

impl SecondStep {
    pub(crate) fn crowd(owners: &[Owner], count: usize) -> Vec<Self> {
        let one = |place| {
            let own = owners.iter().skip(place).step_by(count).cloned().collect();
            let mut client = Self { own, at: 0, waiting: false, request: Vec::new() };
            client.next();
            client
        };
        (0..count).map(one).collect()
    }

    fn next(&mut self) {
        let email = people::email(self.own[self.at % self.own.len()].number);
        wire::post(&mut self.request, LOGIN, &credentials(&email));
    }
}

impl Client for SecondStep {
    fn request(&mut self) -> &[u8] {
        &self.request
    }

    fn answered(&mut self, body: &[u8]) -> Result<bool> {
        #[derive(Deserialize)]
        struct Waiting<'a> {
            session_token: &'a str,
        }
        if self.waiting {
            super::refresh_token(body)?;
            self.waiting = false;
            self.at += 1;
            self.next();
            return Ok(true);
        }
        let Waiting { session_token } = serde_json::from_slice(body).context("no code is asked for")?;
        let place = self.at % self.own.len();
        let code = self.own[place].code()?;
        let body = format!(r#"{{"session_token":"{session_token}","code":"{code}"}}"#);
        wire::post(&mut self.request, VERIFY, &body);
        self.waiting = true;
        Ok(false)
    }
}
