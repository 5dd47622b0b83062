//! Sealing secrets anew after the secret of the ring that had sealed them was replaced, so that the old one can go.

use super::{Mfa, place, store};
use crate::db::{Db, Error};

/// Rows that are read at once.
const STRETCH: i64 = 200;

impl Mfa {
    /// Seals with the current secret what an earlier one sealed; answers how many were. What no secret of the ring
    /// opens is left as it is, and told.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn reseal(&self, db: &Db) -> Result<u64, Error> {
        let (mut resealed, mut lost, mut after) = (0, 0_u64, String::new());
        loop {
            let stretch = store::sealed(db.reads(), &after, STRETCH).await?;
            let Some((last, _)) = stretch.last() else { break };
            after.clone_from(last);
            for (owner, old) in stretch.into_iter().filter(|(_, sealed)| self.ring.is_outdated(sealed)) {
                let opened = self.ring.open(place(&owner), &old);
                let sealed = opened.and_then(|secret| self.ring.seal(place(&owner), &secret, &self.entropy));
                let Ok(new) = sealed else {
                    lost += 1;
                    continue;
                };
                db.write(async move |tx| store::reseal(tx, &owner, &old, &new).await).await?;
                resealed += 1;
            }
        }
        if lost > 0 {
            let hint = "a secret that sealed second factors is not among secrets.previous_files";
            tracing::error!(event = "totp_unusable", count = lost, "{hint}");
        }
        Ok(resealed)
    }
}
