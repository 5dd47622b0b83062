//! Checking a code, with what follows from it, in one transaction: a right one is used up, a wrong one is counted.

use super::{Code, Digits, Mfa, Refusal, Secret, place, store};
use crate::accounts::UserId;
use crate::audit::{self, Event, Kind, Origin};
use crate::db::{Error, Tx};
use crate::limits::{self, Counted};

impl Mfa {
    /// Checks a code of a user whose second factor is in force. The attempt is committed with the transaction, refused
    /// or not; `counted` is what it counts for ([`crate::limits::Limits::code`]).
    ///
    /// # Errors
    /// Those of the database; within, the refusal.
    pub async fn check(
        &self,
        tx: &mut Tx<'_>,
        owner: &UserId,
        code: &Code,
        counted: &Counted,
        origin: &Origin,
    ) -> Result<Result<(), Refusal>, Error> {
        match store::hold(tx, owner).await?.filter(|stored| stored.enabled_at.is_some()) {
            Some(stored) => self.judge(tx, owner, &stored, code, counted, origin).await,
            None => Ok(Err(Refusal::NotEnabled)),
        }
    }

    pub(super) async fn judge(
        &self,
        tx: &mut Tx<'_>,
        owner: &UserId,
        stored: &store::Stored,
        code: &Code,
        counted: &Counted,
        origin: &Origin,
    ) -> Result<Result<(), Refusal>, Error> {
        let now = tx.now();
        let locked = limits::store::locked_for(tx.connection(), &counted.account, now).await?.is_some();
        if !locked && self.use_up(tx, owner, stored, code).await? {
            if matches!(code, Code::Backup(_)) {
                let (kind, origin) = (Kind::BackupCodeUsed, origin.by_user(owner));
                let event = Event { kind, subject: Some(owner), session_id: None, origin: &origin };
                audit::store::record(tx, event).await?;
            }
            return Ok(Ok(()));
        }
        let wait = limits::failed(tx, counted, Kind::MfaFailed, Some(owner), origin).await?;
        Ok(Err(wait.map_or(Refusal::Wrong, Refusal::Locked)))
    }

    /// Whether the code is right and nobody has used it yet; now it is used.
    async fn use_up(
        &self,
        tx: &mut Tx<'_>,
        owner: &UserId,
        stored: &store::Stored,
        code: &Code,
    ) -> Result<bool, Error> {
        match code {
            Code::Backup(code) => store::use_backup_code(tx, owner, code).await,
            Code::Totp(digits) => match self.step_of(tx, owner, stored, *digits) {
                Some(step) => store::use_step(tx, owner, step).await,
                None => Ok(false),
            },
        }
    }

    fn step_of(&self, tx: &Tx<'_>, owner: &UserId, stored: &store::Stored, digits: Digits) -> Option<i64> {
        match self.ring.open(place(owner.as_str()), &stored.secret) {
            Ok(secret) => Secret::from(secret).step_of(digits, tx.now(), stored.last_step),
            Err(error) => {
                let user_id = owner.as_str();
                tracing::error!(event = "totp_unusable", user_id, error = %error, "no code of this user's app is right");
                None
            }
        }
    }
}
