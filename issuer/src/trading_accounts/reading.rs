//! What services see: which accounts a user has, and the credentials of those that are active.

use super::{
    AccountId, Broker, Credentials, Refusal, Status, TradingAccount, TradingAccounts, linking, store,
};
use crate::accounts::UserId;
use crate::audit::{self, Event, Kind, Origin};

impl TradingAccounts {
    /// The accounts of a user, oldest first: those at one broker or of one status, if asked for.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn of_user(
        &self,
        owner: &UserId,
        broker: Option<&Broker>,
        status: Option<Status>,
    ) -> Result<Vec<TradingAccount>, Refusal> {
        let mut accounts = store::list(self.db.reads(), owner).await?;
        accounts.retain(|account| {
            broker.is_none_or(|broker| broker.name == account.broker)
                && status.is_none_or(|status| status == account.status)
        });
        Ok(accounts)
    }

    /// The same, for a service. That it was told is written down before it is.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn of_user_for_service(
        &self,
        owner: UserId,
        broker: Option<&Broker>,
        status: Option<Status>,
        origin: Origin,
    ) -> Result<Vec<TradingAccount>, Refusal> {
        let accounts = self.of_user(&owner, broker, status).await?;
        let recorded = self.db.write(async move |tx| {
            let (kind, subject) = (Kind::TradingAccountsRead, Some(&owner));
            audit::store::record(tx, Event { kind, subject, session_id: None, origin: &origin }).await
        });
        recorded.await?;
        Ok(accounts)
    }

    /// The credentials of an active account. That they were read is written down before they are given out.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn credentials(
        &self,
        id: &AccountId,
        origin: Origin,
    ) -> Result<(TradingAccount, Credentials), Refusal> {
        let (account, sealed) = store::find(self.db.reads(), id).await?.ok_or(Refusal::Unknown)?;
        if account.status != Status::Active {
            return Err(Refusal::NotActive);
        }
        let mut credentials = Credentials::open(&account, &sealed, &self.envelope).await?;
        let now = self.ids.clock.now();
        credentials.access_token = credentials.access_token.filter(|token| token.expires_at > now);
        let read = account.clone();
        let recorded = self.db.write(async move |tx| {
            let active = store::is_active(tx, &read.id, read.revision).await?;
            if active {
                audit::store::record(tx, linking::event(Kind::CredentialsRead, &read, &origin)).await?;
            }
            Ok(active)
        });
        if recorded.await? { Ok((account, credentials)) } else { Err(Refusal::Changed) }
    }
}
