//! What the outcome of an attempt does to its counters, with the event that tells of it, in one transaction.

use super::{Counted, Counter, Limits, Tally, store};
use crate::accounts::{User, UserId};
use crate::audit::{self, Event, Kind, Origin};
use crate::db::{Error, Tx};
use crate::services::ServiceName;

/// Counts a failed attempt and writes down what happened: `kind`, or that it was not looked at. Answers for how many
/// seconds the account is locked, if it was so before.
///
/// # Errors
/// Those of the database.
pub async fn failed(
    tx: &mut Tx<'_>,
    counted: &Counted,
    kind: Kind,
    subject: Option<&UserId>,
    origin: &Origin,
) -> Result<Option<i64>, Error> {
    // Always in this order, so that no two attempts wait for each other.
    let account = store::count(tx, &counted.account).await?;
    if let (Tally::Locked(_), Some(device)) = (account, &counted.device) {
        // No answer shows what this comes to; a right password from there does not pass the lock any more.
        store::count(tx, device).await?;
    }
    let network = match &counted.network {
        Some(network) => Some(store::count(tx, network).await?),
        None => None,
    };
    let kind = match (account, kind) {
        (Tally::Locked(_), Kind::LoginFailed) => Kind::LoginBlocked,
        _ => kind,
    };
    let mut tell = async |kind, subject| {
        audit::store::record(tx, Event { kind, subject, session_id: None, origin }).await
    };
    tell(kind, subject).await?;
    if account == Tally::Full {
        tell(Kind::AccountLocked, subject).await?;
    }
    if network == Some(Tally::Full) {
        // Once: what comes from there is from now on refused without a trace.
        tell(Kind::LoginBlocked, None).await?;
    }
    Ok(match account {
        Tally::Locked(wait) => Some(wait),
        Tally::Counted | Tally::Full => None,
    })
}

/// Counts a secret that was none of the service's under whose name it came, and writes that down. Answers for how many
/// seconds none but the right one is looked at; then nothing is written.
///
/// # Errors
/// Those of the database.
pub async fn failed_as_a_service(
    tx: &mut Tx<'_>,
    counted: &Counted,
    name: Option<&ServiceName>,
    origin: &Origin,
) -> Result<Option<i64>, Error> {
    let mut locked = None;
    for counter in counted.counters() {
        if let Tally::Locked(wait) = store::count(tx, counter).await? {
            locked = locked.max(Some(wait));
        }
    }
    if locked.is_none() {
        audit::store::record_of_service(tx, Kind::ServiceTokenRefused, name, None, origin).await?;
    }
    Ok(locked)
}

impl Limits {
    /// Forgets what failed for an account; false if it was not locked. For whoever may decide that.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn unlock(&self, tx: &mut Tx<'_>, user: &User, origin: &Origin) -> Result<bool, Error> {
        let counters = self.of_passwords(user).chain([self.of_code(&user.id)]);
        forgive(tx, counters, &user.id, origin).await
    }

    /// Forgets what failed for an account, because its owner has come in.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn succeeded(&self, tx: &mut Tx<'_>, user: &User, origin: &Origin) -> Result<(), Error> {
        let code = user.mfa_enabled.then(|| self.of_code(&user.id));
        let counters = self.of_passwords(user).chain(code);
        forgive(tx, counters, &user.id, &origin.by_issuer()).await.map(drop)
    }

    /// Forgets which passwords failed for an account, because it has another one now. Codes stay counted: who reads
    /// someone's mail has not got their second factor.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn password_replaced(
        &self,
        tx: &mut Tx<'_>,
        user: &User,
        origin: &Origin,
    ) -> Result<(), Error> {
        forgive(tx, self.of_passwords(user), &user.id, &origin.by_issuer()).await.map(drop)
    }
}

async fn forgive(
    tx: &mut Tx<'_>,
    counters: impl Iterator<Item = Counter>,
    owner: &UserId,
    origin: &Origin,
) -> Result<bool, Error> {
    let mut locked = false;
    for counter in counters {
        locked |= store::forgive(tx, &counter).await?;
    }
    if locked {
        let event = Event { kind: Kind::AccountUnlocked, subject: Some(owner), session_id: None, origin };
        audit::store::record(tx, event).await?;
    }
    Ok(locked)
}
