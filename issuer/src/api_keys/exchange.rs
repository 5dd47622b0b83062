//! Exchanging a key for a token that says what it is worth now. The edge asks, once a minute and key.

use std::sync::Arc;

use countersign_claims::Reject;

use super::metrics::{Metrics, Word};
use super::{AMR, ApiKey, ApiKeyId, KeyHash, LIFETIME, PREFIX, store};
use crate::accounts::User;
use crate::ambient::{Clock, Entropy, UnixTime};
use crate::config::Roles;
use crate::db::{Db, Error};
use crate::limits::Throttle;
use crate::secrets::MachineSecret;
use crate::sessions::Rules;
use crate::tokens::{Bearer, Minted, Minter};

/// Why a key is not exchanged.
#[derive(Debug)]
pub enum Refusal {
    /// No key of ours, or not any more.
    Invalid,
    Expired,
    /// The account is closed, or its address not verified where it has to be.
    OwnerInactive,
    /// Not looked up for so many seconds.
    Limited(i64),
    /// Nothing can be signed now.
    Unsigned(Reject),
    Database(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

/// Makes keys and exchanges them; cheap to clone.
#[derive(Debug, Clone)]
pub struct ApiKeys {
    pub db: Db,
    pub clock: Clock,
    pub entropy: Entropy,
    pub roles: Arc<Roles>,
    pub minter: Minter,
    /// Of access tokens, in seconds.
    pub access_lifetime: i64,
    pub rules: Rules,
    pub throttle: Throttle,
    pub metrics: Metrics,
}

impl ApiKeys {
    /// A token for who shows this key.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn exchange(&self, shown: &str) -> Result<Minted, Refusal> {
        let exchanged = self.look_up(shown).await;
        match &exchanged {
            Ok(_) => self.metrics.count(Word::exchanged),
            Err(Refusal::Invalid) => self.metrics.count(Word::invalid),
            Err(Refusal::Expired) => self.metrics.count(Word::expired),
            Err(Refusal::OwnerInactive) => self.metrics.count(Word::owner_inactive),
            Err(Refusal::Limited(_)) => self.metrics.count(Word::limited),
            Err(Refusal::Unsigned(_) | Refusal::Database(_)) => {}
        }
        exchanged
    }

    async fn look_up(&self, shown: &str) -> Result<Minted, Refusal> {
        let secret = MachineSecret::read(PREFIX, shown.as_bytes()).map_err(|_| Refusal::Invalid)?;
        let (fingerprint, now) = (secret.sha256(), self.clock.now());
        if let Some(seconds) = self.throttle.wait(&fingerprint, now) {
            return Err(Refusal::Limited(seconds));
        }
        let hashes = [KeyHash::sha256(&secret), KeyHash::sha512(&secret)];
        let found = store::find_by_hash(self.db.reads(), hashes).await?;
        let (key, owner) = match found.ok_or(Refusal::Invalid).and_then(|found| self.judge(found, now)) {
            Ok(found) => found,
            Err(refusal) => {
                self.throttle.bad(&fingerprint, now);
                return Err(refusal);
            }
        };
        self.throttle.good(&fingerprint);
        let minted = self.mint(&key, &owner, now).map_err(Refusal::Unsigned)?;
        if key.is_use_news(now) {
            self.note_use(key.id);
        }
        Ok(minted)
    }

    fn judge(&self, (key, owner): (ApiKey, User), now: UnixTime) -> Result<(ApiKey, User), Refusal> {
        if key.has_expired(now) {
            Err(Refusal::Expired)
        } else if !owner.is_active || (self.rules.verified_only && !owner.email_verified) {
            Err(Refusal::OwnerInactive)
        } else {
            Ok((key, owner))
        }
    }

    fn mint(&self, key: &ApiKey, owner: &User, now: UnixTime) -> Result<Minted, Reject> {
        let lifetime = LIFETIME.min(self.access_lifetime);
        self.minter.signer()?.sign(Bearer {
            user: owner,
            session_id: key.id.as_str(),
            amr: &[AMR.to_owned()],
            authenticated_at: key.created_at,
            lifetime,
            ends_at: key.expires_at.unwrap_or(now.plus(lifetime)),
            scopes: key.scopes.as_deref(),
        })
    }

    fn note_use(&self, id: ApiKeyId) {
        let message = "the use of an API key was not noted";
        self.db.write_beside("use_not_noted", message, async move |tx| store::note_use(tx, &id).await);
    }
}
