//! Showing beside something else - a session, a token that came by mail - that one knows the password of an account.

use countersign_claims::Reject;

use super::Logins;
use super::lock::lets_through;
use crate::accounts::{self, Credential, User};
use crate::audit::{Actor, Kind, Origin};
use crate::db::Tx;
use crate::limits;
use crate::passwords::{Password, StoredHash};
use crate::web::{Client, Problem, Reason};

impl Logins {
    /// Checks the password of this account for `actor`: who has stolen a session may guess no more often than who logs in.
    /// What the password was checked against; `None` if it is wrong, which is counted and written down.
    ///
    /// # Errors
    /// 429 after too many failures, unless this is a device of the owner's; 401 if the account is gone; 503 if too many
    /// passwords are being hashed; those of the database.
    pub async fn confirm(
        &self,
        user: &User,
        password: Password,
        client: &Client,
        actor: Actor,
    ) -> Result<Option<Credential>, Problem> {
        let limited = |seconds| Problem::new(Reason::RateLimited).retry_after(seconds);
        let counted = self.limits.password(&user.email, client);
        let now = self.grants.ids.clock.now();
        if let Some(wait) = limits::store::locked_for(self.db.reads(), &counted.account, now).await? {
            let (owner, counted, client) = (user.id.clone(), counted.clone(), client.clone());
            let passes = async move |tx: &mut Tx<'_>| {
                lets_through(tx.connection(), &owner, &counted, &client, now).await
            };
            if !self.db.write(passes).await? {
                return Err(limited(wait));
            }
        }
        let found = accounts::store::find_with_credential(self.db.reads(), &user.id).await?;
        let (_, credential) = found.ok_or_else(|| Problem::from(Reject::Revoked))?;
        let phc = credential.password_hash.clone();
        let stored = StoredHash { user_id: user.id.to_string(), phc };
        if self.hasher.verify(password, Some(stored)).await?.matches {
            return Ok(Some(credential));
        }
        let (id, origin) = (user.id.clone(), Origin::request(actor, client));
        let failed = self
            .db
            .write(async move |tx| limits::failed(tx, &counted, Kind::LoginFailed, Some(&id), &origin).await);
        failed.await?.map_or(Ok(None), |wait| Err(limited(wait)))
    }
}
