//! Asking the broker about the credentials of an account, and replacing them. Nothing is held while a broker is asked; if
//! another call was faster, its credentials stay.

use super::brokers::{Proved, Question, Refused};
use super::linking::event;
use super::metrics::Answered;
use super::{AccountId, Broker, Credentials, Proof, Refusal, Status, TradingAccount, TradingAccounts, store};
use crate::accounts::UserId;
use crate::audit::{self, Kind, Origin};
use crate::envelope::Sealed;

impl TradingAccounts {
    /// Asks the broker whether the credentials are right; the account shows what it says. Where it takes a request token
    /// and none is given, nobody is asked and nothing changes.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn verify(
        &self,
        owner: &UserId,
        id: &AccountId,
        request_token: Option<&str>,
        origin: Origin,
    ) -> Result<TradingAccount, Refusal> {
        let (mut account, sealed) = self.find(owner, id).await?;
        let broker = Broker::named(&account.broker).map_err(|_| Refusal::Unknown)?;
        if broker.proof == Proof::RequestToken && request_token.is_none() {
            return Ok(account);
        }
        self.attempt(owner)?;
        let mut credentials = Credentials::open(&account, &sealed, &self.envelope).await?;
        let answer = self.ask(broker, &account, &credentials, request_token).await?;
        account.updated_at = self.ids.clock.now();
        match answer {
            Ok(Proved { access_token }) => {
                account.status = Status::Active;
                account.verified_at = Some(account.updated_at);
                let kind = Kind::TradingAccountVerified;
                match access_token {
                    None => self.judge(account, kind, origin).await,
                    Some(token) => {
                        account.access_token_expires_at = Some(token.expires_at);
                        credentials.access_token = Some(token);
                        self.replace(account, &credentials, &[kind], origin).await
                    }
                }
            }
            // It says nothing about the credentials.
            Err(Refused::RequestToken) => Err(Refusal::Refused(Refused::RequestToken)),
            Err(Refused::Credentials | Refused::AnotherAccount) => {
                account.status = Status::Invalid;
                self.judge(account, Kind::TradingAccountRefused, origin).await
            }
        }
    }

    /// Replaces the credentials of an account. Those before stay in force until the broker has said that the new ones are
    /// right, if it can.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn rotate(
        &self,
        owner: &UserId,
        id: &AccountId,
        mut new: Credentials,
        request_token: Option<&str>,
        origin: Origin,
    ) -> Result<TradingAccount, Refusal> {
        let (mut account, _) = self.find(owner, id).await?;
        self.attempt(owner)?;
        let broker = Broker::named(&account.broker).map_err(|_| Refusal::Unknown)?;
        let provable = broker.proof == Proof::KeyAndSecret || request_token.is_some();
        let mut kinds = vec![Kind::CredentialsRotated];
        if provable {
            let Proved { access_token } =
                self.ask(broker, &account, &new, request_token).await?.map_err(Refusal::Refused)?;
            new.access_token = access_token;
            kinds.push(Kind::TradingAccountVerified);
        }
        account.updated_at = self.ids.clock.now();
        account.status = Status::Active;
        account.verified_at = provable.then_some(account.updated_at);
        account.access_token_expires_at = new.access_token_expires_at();
        account.rotate_after = account.updated_at.plus(self.rotate_after);
        self.replace(account, &new, &kinds, origin).await
    }

    /// At which broker an account of this user is.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn broker(&self, owner: &UserId, id: &AccountId) -> Result<&'static Broker, Refusal> {
        let (account, _) = self.find(owner, id).await?;
        Broker::named(&account.broker).map_err(|_| Refusal::Unknown)
    }

    async fn find(&self, owner: &UserId, id: &AccountId) -> Result<(TradingAccount, Sealed), Refusal> {
        let found = store::find(self.db.reads(), id).await?;
        found.filter(|(account, _)| account.user_id == *owner).ok_or(Refusal::Unknown)
    }

    async fn ask(
        &self,
        broker: &Broker,
        account: &TradingAccount,
        credentials: &Credentials,
        request_token: Option<&str>,
    ) -> Result<Result<Proved, Refused>, Refusal> {
        let question = Question {
            user: &account.user_id,
            user_id_broker: &account.user_id_broker,
            credentials,
            request_token,
            now: self.ids.clock.now(),
        };
        let answer = self.brokers.ask(broker, question).await;
        let outcome = match &answer {
            Ok(Ok(_)) => Answered::proved,
            Ok(Err(_)) => Answered::refused,
            Err(_) => Answered::unavailable,
        };
        self.metrics.count(broker, outcome);
        answer.map_err(Refusal::Broker)
    }

    /// Notes what the broker said.
    async fn judge(
        &self,
        account: TradingAccount,
        kind: Kind,
        origin: Origin,
    ) -> Result<TradingAccount, Refusal> {
        let noted = self.db.write(async move |tx| {
            if !store::judge(tx, &account).await? {
                return Ok(None);
            }
            audit::store::record(tx, event(kind, &account, &origin)).await?;
            Ok(Some(account.clone()))
        });
        noted.await?.ok_or(Refusal::Changed)
    }

    async fn replace(
        &self,
        account: TradingAccount,
        credentials: &Credentials,
        kinds: &[Kind],
        origin: Origin,
    ) -> Result<TradingAccount, Refusal> {
        let sealed = credentials.seal(&account, &self.envelope).await?;
        let kinds = kinds.to_vec();
        let replaced = self.db.write(async move |tx| {
            if !store::replace(tx, &account, &sealed).await? {
                return Ok(None);
            }
            for kind in &kinds {
                audit::store::record(tx, event(*kind, &account, &origin)).await?;
            }
            Ok(Some(account.clone()))
        });
        replaced.await?.ok_or(Refusal::Changed)
    }
}
