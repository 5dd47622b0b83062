//! Linking an account, and taking it away.

use super::store::Inserted;
use super::{
    AccountId, Broker, Credentials, MOST, Proof, Refusal, Status, TradingAccount, TradingAccounts, store,
};
use crate::accounts::UserId;
use crate::audit::{self, Event, Kind, Origin};

impl TradingAccounts {
    /// Stores the credentials of an account. Where nothing but them is needed to ask the broker the account is pending
    /// until someone does.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn link(
        &self,
        owner: UserId,
        broker: &Broker,
        user_id_broker: String,
        credentials: &Credentials,
        origin: Origin,
    ) -> Result<TradingAccount, Refusal> {
        self.attempt(&owner)?;
        // Decided below, and looked at here: what comes to nothing costs no call of AWS KMS.
        let linked = store::list(self.db.reads(), &owner).await?;
        let is_this = |other: &TradingAccount| {
            (other.broker.as_str(), &other.user_id_broker) == (broker.name, &user_id_broker)
        };
        if linked.iter().any(is_this) {
            return Err(Refusal::Linked);
        }
        if i64::try_from(linked.len()).is_ok_and(|has| has >= MOST) {
            return Err(Refusal::TooMany);
        }
        let now = self.ids.clock.now();
        let account = TradingAccount {
            id: AccountId::new(self.ids.uuid()),
            user_id: owner,
            broker: broker.name.to_owned(),
            user_id_broker,
            status: match broker.proof {
                Proof::KeyAndSecret => Status::Pending,
                Proof::RequestToken => Status::Active,
            },
            created_at: now,
            updated_at: now,
            verified_at: None,
            access_token_expires_at: None,
            rotate_after: now.plus(self.rotate_after),
            revision: 0,
        };
        let sealed = credentials.seal(&account, &self.envelope).await?;
        let inserted = self.db.write(async move |tx| {
            let inserted = store::insert(tx, &account, &sealed).await?;
            if inserted == Inserted::Done {
                audit::store::record(tx, event(Kind::TradingAccountLinked, &account, &origin)).await?;
            }
            Ok((inserted, account.clone()))
        });
        match inserted.await? {
            (Inserted::Done, account) => Ok(account),
            (Inserted::Exists, _) => Err(Refusal::Linked),
            (Inserted::TooMany, _) => Err(Refusal::TooMany),
            (Inserted::NoOwner, _) => Err(Refusal::NoOwner),
        }
    }

    /// Removes an account of this user, and its credentials for good.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn unlink(&self, owner: UserId, id: AccountId, origin: Origin) -> Result<(), Refusal> {
        let removed = self.db.write(async move |tx| {
            let removed = store::remove(tx, &id, &owner).await?;
            if removed {
                let kind = Kind::TradingAccountUnlinked;
                let (subject, session_id) = (Some(&owner), Some(id.as_str()));
                audit::store::record(tx, Event { kind, subject, session_id, origin: &origin }).await?;
            }
            Ok(removed)
        });
        if removed.await? { Ok(()) } else { Err(Refusal::Unknown) }
    }
}

/// What happened to an account, for the audit; the place of the session names the account.
pub(super) fn event<'a>(kind: Kind, account: &'a TradingAccount, origin: &'a Origin) -> Event<'a> {
    Event { kind, subject: Some(&account.user_id), session_id: Some(account.id.as_str()), origin }
}
