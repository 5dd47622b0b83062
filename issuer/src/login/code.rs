//! The second step of a login: the code that a waiting login waits for.

use http::HeaderMap;

use super::metrics::Word;
use super::waiting::{SessionToken, Waiting};
use super::{Granted, Logins, Wishes, store};
use crate::accounts::{self, User};
use crate::audit::{self, Kind, Origin};
use crate::mfa::{Code, Refusal};
use crate::sessions::Session;
use crate::web::{Client, Problem, Reason};

/// What came of showing a code.
enum Finished {
    Session(Session),
    /// The login waits no longer, or nothing may come of it any more.
    Void,
    Wrong,
    /// For so many seconds.
    Locked(i64),
}

impl Logins {
    /// Finishes a login that waits, at this issuer or another.
    ///
    /// # Errors
    /// The refusal: 401 if it waits no longer, 403 for a wrong code, 429.
    pub(super) async fn finish(
        &self,
        token: &SessionToken,
        code: Code,
        client: &Client,
        headers: &HeaderMap,
    ) -> Result<(Granted, Wishes), Problem> {
        let (hash, now) = (token.hash(), self.grants.ids.clock.now());
        let Some((user, waiting)) = store::find(self.db.reads(), hash, now).await? else {
            return Err(self.expired());
        };
        let counted = self.limits.code(&user.id, client.ip);
        self.admit(&counted).await?;
        let Waiting { epoch, wishes } = waiting;
        let opening = self.grants.opening(user.id.clone(), client, headers, wishes.persistent);
        let opening = opening.with_code().telling(self.grants.outbox.new_device(&user.email));
        let stranger = Origin::request(audit::Actor::Stranger, client);
        let (mfa, limits, owner): (_, _, User) = (self.mfa.clone(), self.limits.clone(), user.clone());
        let finished = self.db.write(async move |tx| {
            if !store::take_attempt(tx, hash).await? {
                return Ok(Finished::Void);
            }
            match mfa.check(tx, &owner.id, &code, &counted, &stranger).await? {
                Ok(()) => {}
                Err(Refusal::Wrong) => return Ok(Finished::Wrong),
                Err(Refusal::Locked(wait)) => {
                    store::give_back(tx, hash).await?;
                    return Ok(Finished::Locked(wait));
                }
                Err(_) => return Ok(Finished::Void),
            }
            store::end(tx, hash).await?;
            if !accounts::store::claim_login(tx, &owner.id, epoch).await? {
                return Ok(Finished::Void);
            }
            let session = opening.begin(tx, Kind::Login).await?;
            limits.succeeded(tx, &owner, opening.origin()).await?;
            Ok(Finished::Session(session))
        });
        match finished.await? {
            Finished::Session(session) => {
                self.metrics.count(Word::granted);
                Ok((Granted { user, session }, wishes))
            }
            Finished::Void => Err(self.expired()),
            Finished::Wrong => {
                self.metrics.count(Word::wrong_code);
                Err(Refusal::Wrong.into())
            }
            Finished::Locked(wait) => Err(self.limited(wait)),
        }
    }

    fn expired(&self) -> Problem {
        self.metrics.count(Word::expired);
        Problem::new(Reason::LoginExpired)
    }
}
