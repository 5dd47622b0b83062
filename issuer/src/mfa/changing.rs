//! Setting the second factor up, putting it into force, and taking it away, each in one transaction with all that
//! follows from it.

use super::{BackupCode, Code, Digits, Mfa, Refusal, Secret, place, store};
use crate::accounts::{self, UserId};
use crate::audit::{self, Event, Kind, Origin};
use crate::db::{Error, Tx};
use crate::limits::Counted;
use crate::secrets::Unsealed;
use crate::sessions::{Rules, SessionId, ending};

impl Mfa {
    /// A secret for this user, and as it is stored.
    ///
    /// # Errors
    /// [`Unsealed`] for a ring without secrets.
    pub(super) fn draw_secret(&self, owner: &UserId) -> Result<(Secret, Vec<u8>), Unsealed> {
        let secret = Secret::new(self.entropy.bytes());
        let sealed = self.ring.seal(place(owner.as_str()), secret.bytes(), &self.entropy)?;
        Ok((secret, sealed))
    }

    /// Puts what was set up into force, if the app shows the codes that it should.
    ///
    /// # Errors
    /// Those of the database; within, the refusal.
    pub(super) async fn enable(
        &self,
        tx: &mut Tx<'_>,
        owner: &UserId,
        digits: Digits,
        backup_codes: &[BackupCode],
        counted: &Counted,
        origin: &Origin,
    ) -> Result<Result<(), Refusal>, Error> {
        let stored = match store::hold(tx, owner).await? {
            None => return Ok(Err(Refusal::NotSetUp)),
            Some(stored) if stored.enabled_at.is_some() => return Ok(Err(Refusal::AlreadyEnabled)),
            Some(stored) => stored,
        };
        if let Err(refusal) = self.judge(tx, owner, &stored, &Code::Totp(digits), counted, origin).await? {
            return Ok(Err(refusal));
        }
        store::enable(tx, owner).await?;
        store::replace_backup_codes(tx, owner, backup_codes).await?;
        // A login under way, whose password was checked when that was enough, must not succeed any more.
        accounts::store::set_mfa_enabled(tx, owner, true).await?;
        tell(tx, Kind::MfaEnabled, owner, origin).await?;
        Ok(Ok(()))
    }

    /// Takes the second factor away from its owner, who has shown a code in this transaction, and ends every session
    /// but the one in which that was.
    ///
    /// # Errors
    /// Those of the database.
    pub(super) async fn disable(
        tx: &mut Tx<'_>,
        owner: &UserId,
        session: &SessionId,
        origin: &Origin,
        rules: Rules,
    ) -> Result<(), Error> {
        take_away(tx, owner, origin).await?;
        ending::end_others(tx, owner, session, Kind::SessionEnded, origin, rules).await
    }
}

/// Takes the second factor away from someone who has lost it, and ends all sessions; false if none was in force. For
/// whoever may decide that.
///
/// # Errors
/// Those of the database.
pub async fn reset(tx: &mut Tx<'_>, owner: &UserId, origin: &Origin, rules: Rules) -> Result<bool, Error> {
    let was = take_away(tx, owner, origin).await?;
    if was {
        ending::end_all(tx, owner, Kind::SessionEnded, origin, rules).await?;
    }
    Ok(was)
}

async fn take_away(tx: &mut Tx<'_>, owner: &UserId, origin: &Origin) -> Result<bool, Error> {
    let was = store::remove(tx, owner).await?;
    if was {
        accounts::store::set_mfa_enabled(tx, owner, false).await?;
        tell(tx, Kind::MfaDisabled, owner, origin).await?;
    }
    Ok(was)
}

async fn tell(tx: &mut Tx<'_>, kind: Kind, owner: &UserId, origin: &Origin) -> Result<(), Error> {
    audit::store::record(tx, Event { kind, subject: Some(owner), session_id: None, origin }).await
}
