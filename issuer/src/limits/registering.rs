//! How many accounts one may ask for: for each, a password is hashed, which costs as much as a login, and a message may go
//! to a stranger.

use std::net::IpAddr;

use super::{Limits, Tally, store};
use crate::ambient::UnixTime;
use crate::db::{Db, Error};

impl Limits {
    /// Counts a registration from this address, before anything is done for it. If there were too many, answers for how
    /// many seconds there may be no other.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn count_registration(&self, db: &Db, ip: IpAddr, now: UnixTime) -> Result<Option<i64>, Error> {
        let counter = self.registering(ip);
        // Looked up first: a flood costs a read each, and no write.
        if let Some(wait) = store::locked_for(db.reads(), &counter, now).await? {
            return Ok(Some(wait));
        }
        match db.write(async move |tx| store::count(tx, &counter).await).await? {
            Tally::Counted => Ok(None),
            Tally::Full => {
                tracing::warn!(event = "registrations_limited", %ip, "too many registrations from one network");
                Ok(None)
            }
            Tally::Locked(wait) => Ok(Some(wait)),
        }
    }
}
