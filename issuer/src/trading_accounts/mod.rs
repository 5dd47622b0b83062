//! Accounts of users at brokers: which there are, and the credentials that services trade with. Credentials are stored
//! sealed, read by services only, and shown to nobody, not even to whom they belong.

pub mod broker;
mod brokers;
mod credentials;
pub mod http;
mod linking;
mod metrics;
mod reading;
mod rewrap;
mod rotation;
pub mod store;
mod verifying;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::accounts::UserId;
use crate::ambient::{Ids, UnixTime};
use crate::config::Settings;
use crate::db::Db;
use crate::envelope::{Envelope, Place};
use crate::limits::{Quota, Spent};

pub use broker::{Broker, Proof};
pub use brokers::Brokers;
pub use credentials::{AccessToken, Credentials};
pub use metrics::Metrics;
pub use rewrap::{Progress, Rewrap, RewrapError, Unusable, rewrap};
pub use rotation::note_due;

/// Accounts that one user may have.
pub const MOST: i64 = 50;

/// Names an account.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub struct AccountId(String);

impl AccountId {
    pub fn new(id: Uuid) -> Self {
        Self(id.to_string())
    }

    /// `None` for what is no id of ours, as we write them.
    pub fn parse(text: &str) -> Option<Self> {
        let id = Uuid::try_parse(text).ok()?.to_string();
        (id == text).then_some(Self(id))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an account is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nobody has asked the broker yet, who could tell.
    Pending,
    /// Services may use it.
    Active,
    /// The broker has refused its credentials.
    Invalid,
    /// Its owner's account is closed: what is stored stays, and services may not use it.
    Revoked,
}

impl Status {
    const ALL: [Self; 4] = [Self::Pending, Self::Active, Self::Invalid, Self::Revoked];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Invalid => "invalid",
            Self::Revoked => "revoked",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// An account at a broker, without its credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TradingAccount {
    pub id: AccountId,
    pub user_id: UserId,
    /// As [`Broker::name`] has it; another version of this program may know more.
    pub broker: String,
    pub user_id_broker: String,
    pub status: Status,
    pub created_at: UnixTime,
    pub updated_at: UnixTime,
    /// When the broker last said that the credentials are right.
    pub verified_at: Option<UnixTime>,
    pub access_token_expires_at: Option<UnixTime>,
    pub rotate_after: UnixTime,
    /// Moves with the credentials.
    pub revision: i64,
}

impl TradingAccount {
    fn place(&self) -> Place<'_> {
        place(self.id.as_str(), self.user_id.as_str())
    }

    pub fn is_rotation_due(&self, now: UnixTime) -> bool {
        self.rotate_after <= now
    }
}

/// Where the credentials of an account are stored.
fn place<'a>(id: &'a str, user: &'a str) -> Place<'a> {
    Place { table: "trading_accounts", column: "ciphertext", row: id, user }
}

/// Why nothing comes of a call.
#[derive(Debug)]
pub enum Refusal {
    /// There is none, or it is another user's, which nobody can tell apart.
    Unknown,
    /// The same one at the broker is linked already.
    Linked,
    TooMany,
    /// Services may use active accounts only.
    NotActive,
    /// Another call changed the account meanwhile.
    Changed,
    /// The owner's account was closed or deleted meanwhile.
    NoOwner,
    /// More in a minute than one user may, who has to wait for so many seconds.
    TooOften(i64),
    /// What the broker says about new credentials, which then are not taken.
    Refused(brokers::Refused),
    Broker(brokers::Unavailable),
    Encryption(crate::envelope::Error),
    Database(crate::db::Error),
}

impl From<crate::db::Error> for Refusal {
    fn from(error: crate::db::Error) -> Self {
        Self::Database(error)
    }
}

impl From<crate::envelope::Error> for Refusal {
    fn from(error: crate::envelope::Error) -> Self {
        Self::Encryption(error)
    }
}

/// What can be done with trading accounts; cheap to clone.
#[derive(Debug, Clone)]
pub struct TradingAccounts {
    pub db: Db,
    pub envelope: Envelope,
    pub metrics: Metrics,
    brokers: Arc<Brokers>,
    /// Of each user, in a minute: what costs a question to a broker, or a call of AWS KMS.
    attempts: Quota,
    /// In seconds.
    rotate_after: i64,
    ids: Ids,
}

impl TradingAccounts {
    pub fn new(settings: &Settings, db: Db, envelope: Envelope, ids: Ids) -> Self {
        Self {
            db,
            envelope,
            metrics: Metrics::default(),
            brokers: Arc::new(Brokers::new(&settings.trading_accounts)),
            attempts: Quota::new(settings.trading_accounts.attempts_per_minute),
            rotate_after: settings.trading_accounts.rotate_after,
            ids,
        }
    }

    /// Counts an attempt of this user.
    fn attempt(&self, user: &UserId) -> Result<(), Refusal> {
        let taken = self.attempts.take(user.as_str(), self.ids.clock.now());
        taken.map_err(|Spent { seconds, .. }| Refusal::TooOften(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written_and_no_other_way() {
        let id = "01940000-0000-7000-8000-00000000000a";
        assert_eq!(AccountId::parse(id).unwrap().as_str(), id);
        let bare = id.replace('-', "");
        for other in ["", "0", &id.to_uppercase(), &bare, &format!("{{{id}}}"), &format!("{id} ")] {
            assert_eq!(AccountId::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_status_has_one_name() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()), Some(status));
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
    }
}
