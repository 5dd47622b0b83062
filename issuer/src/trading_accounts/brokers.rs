//! How brokers are asked whether credentials are right. What they answer is not trusted: it is bounded in size and time,
//! read for what it should say, and never passed on.

mod alpaca;
mod client;
mod kite;
mod waits;

use tokio::sync::Semaphore;

use super::{AccessToken, Broker, Credentials};
use crate::accounts::UserId;
use crate::ambient::UnixTime;
use crate::config::{self, ApiUrl};

use client::{Answer, Client};
use waits::Waits;

/// Questions at the same time; more are told to come again.
const AT_ONCE: usize = 32;

/// Asks brokers.
#[derive(Debug)]
pub struct Brokers {
    client: Client,
    slots: Semaphore,
    waits: Waits,
    kite: ApiUrl,
    alpaca: ApiUrl,
}

/// What is asked: whether these are the credentials of this account.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    /// For whom.
    pub(super) user: &'a UserId,
    pub(super) user_id_broker: &'a str,
    pub(super) credentials: &'a Credentials,
    /// Of the user's own login, for brokers that need it.
    pub(super) request_token: Option<&'a str>,
    pub(super) now: UnixTime,
}

/// A broker that says yes.
#[derive(Debug)]
pub(super) struct Proved {
    /// What it gave, if it gives such.
    pub(super) access_token: Option<AccessToken>,
}

/// A broker that says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Key or secret are wrong.
    Credentials,
    /// The request token is wrong, used or too old, which says nothing about the credentials.
    RequestToken,
    /// They are good, for another account.
    AnotherAccount,
}

/// A broker that says neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// Too many questions are under way here.
    Busy,
    /// Too many were asked of the broker, which takes more after so many seconds.
    Limited(i64),
    /// It cannot be reached, takes too long, fails, or answers what cannot be understood.
    Away,
}

impl Brokers {
    pub(super) fn new(settings: &config::TradingAccounts) -> Self {
        Self {
            client: Client::new(settings.broker_timeout),
            slots: Semaphore::new(AT_ONCE),
            waits: Waits::default(),
            kite: settings.kite_url.clone(),
            alpaca: settings.alpaca_url.clone(),
        }
    }

    /// # Errors
    /// [`Unavailable`]: nothing is known then.
    pub(super) async fn ask(
        &self,
        broker: &Broker,
        question: Question<'_>,
    ) -> Result<Result<Proved, Refused>, Unavailable> {
        let Question { user, now, .. } = question;
        if let Some(seconds) = self.waits.left(broker, user, now) {
            return Err(Unavailable::Limited(seconds));
        }
        let _slot = self.slots.try_acquire().map_err(|_| Unavailable::Busy)?;
        let answer = match broker.name {
            "kite" => kite::ask(&self.client, &self.kite, question).await,
            "alpaca" => alpaca::ask(&self.client, &self.alpaca, question).await,
            _ => Err(Unavailable::Away),
        };
        if let Err(Unavailable::Limited(seconds)) = answer {
            self.waits.begin(broker, user, now, seconds);
        }
        answer
    }
}

/// Answers that mean the same whichever broker gives them.
fn readable(answer: Answer) -> Result<Answer, Unavailable> {
    match answer.status.as_u16() {
        429 => Err(Unavailable::Limited(answer.retry_after)),
        200 | 400..=499 => Ok(answer),
        _ => Err(Unavailable::Away),
    }
}
