//! How much strangers may ask for: an account, for which a password is hashed, which costs as much as a login; a message,
//! which goes to whomever they name, and ahead of others that wait.

use super::{Limits, Tally, store};
use crate::ambient::UnixTime;
use crate::db::Db;
use crate::web::{Client, Problem, Reason};

/// What is asked for; each is counted by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Registration,
    /// To an address, whether it has an account or not.
    Message,
}

impl Limits {
    /// Counts what is asked for from this network, before anything is done for it.
    ///
    /// # Errors
    /// 429 if there was too much of it; those of the database.
    pub async fn admit(&self, asked: Asked, db: &Db, client: &Client, now: UnixTime) -> Result<(), Problem> {
        let Some(ip) = client.ip else { return Ok(()) };
        let limited = |wait| Err(Problem::new(Reason::RateLimited).retry_after(wait));
        let counter = self.asking(asked, ip);
        // Looked up first: a flood costs a read each, and no write.
        if let Some(wait) = store::locked_for(db.reads(), &counter, now).await? {
            return limited(wait);
        }
        match db.write(async move |tx| store::count(tx, &counter).await).await? {
            Tally::Counted => Ok(()),
            Tally::Full => {
                let (event, what) = match asked {
                    Asked::Registration => ("registrations_limited", "registrations"),
                    Asked::Message => ("messages_limited", "messages asked for"),
                };
                tracing::warn!(event, %ip, "too many {what} from one network");
                Ok(())
            }
            Tally::Locked(wait) => limited(wait),
        }
    }
}
