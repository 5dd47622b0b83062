//! Telling that credentials are due to be replaced. No broker that we know replaces them by itself, so that their owners
//! do; until then they stay as they are.

use super::{TradingAccounts, store};
use crate::audit::{self, Event, Kind, Origin};
use crate::db::Error;

/// Rows of one transaction, so few that nobody waits for it.
const STRETCH: i64 = 200;

/// Writes down, once for each, that credentials are due to be replaced.
///
/// # Errors
/// Those of the database.
pub async fn note_due(accounts: &TradingAccounts) -> Result<(), Error> {
    loop {
        let marked = accounts.db.write(async move |tx| {
            let due = store::mark_due(tx, STRETCH).await?;
            let (kind, origin) = (Kind::CredentialsRotationDue, Origin::issuer());
            for (id, owner) in &due {
                let (subject, session_id) = (Some(owner), Some(id.as_str()));
                audit::store::record(tx, Event { kind, subject, session_id, origin: &origin }).await?;
            }
            Ok(due.len())
        });
        if marked.await? == 0 {
            break;
        }
    }
    accounts.metrics.due.set(store::count_due(accounts.db.reads()).await?);
    Ok(())
}
