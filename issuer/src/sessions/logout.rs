//! Logging out: which session a request may end, whichever token names it.

use http::HeaderMap;

use super::{Caller, Outcome, RefreshToken, Refusal, Rules, SessionId, Sessions, ending, store};
use crate::accounts::UserId;
use crate::audit::{self, Kind, Origin};
use crate::db::{Error, Tx};
use crate::web::{Client, Problem};

impl Sessions {
    /// Ends the session that a request names, or with `everywhere` all of its owner's: by the access token or, if that
    /// is missing or no longer good, by the refresh token. Without any, there is nothing to end.
    ///
    /// # Errors
    /// 403 for another site's page that carries the cookie along, and for a program with a key; those of the database.
    pub async fn log_out(
        &self,
        caller: Result<Caller, Problem>,
        refresh_token: Option<String>,
        everywhere: bool,
        client: &Client,
        headers: &HeaderMap,
    ) -> Result<(), Problem> {
        match caller {
            Ok(caller) => Ok(self.end(caller.in_person()?, everywhere, client).await?),
            Err(problem) if problem.is_unavailable() => Err(problem),
            Err(_) => {
                if refresh_token.is_none() && self.grants.cookie.get(headers) != Ok(None) {
                    // A page that may not use the cookie may not log its owner out either.
                    self.grants.origins.check(headers)?;
                }
                match self.brought(headers, refresh_token) {
                    Ok((token, _)) => Ok(self.end_by(token, everywhere, client).await?),
                    Err(_) => Ok(()),
                }
            }
        }
    }

    /// Ends the session of a caller, or all of theirs.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn end(&self, caller: Caller, everywhere: bool, client: &Client) -> Result<(), Error> {
        let Caller { user, session, .. } = caller;
        let origin = Origin::request(audit::Actor::User(user.id.clone()), client);
        let rules = self.grants.rules;
        let ended =
            self.db.write(async move |tx| end(tx, &user.id, &session.id, everywhere, &origin, rules).await);
        ended.await
    }

    /// Ends what a refresh token may end. One that was rotated away ends its session, as any use of it does, but speaks
    /// for nothing else.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn end_by(&self, token: RefreshToken, everywhere: bool, client: &Client) -> Result<(), Error> {
        let (client, rules) = (client.clone(), self.grants.rules);
        let ended = self.db.write(async move |tx| end_by(tx, &token, everywhere, &client, rules).await);
        ended.await
    }
}

/// Ends this session, or every session of its owner.
async fn end(
    tx: &mut Tx<'_>,
    owner: &UserId,
    session: &SessionId,
    everywhere: bool,
    origin: &Origin,
    rules: Rules,
) -> Result<(), Error> {
    if everywhere {
        ending::end_all(tx, owner, Kind::Logout, origin, rules).await
    } else {
        ending::end_one(tx, owner, session, Kind::Logout, origin, rules).await.map(drop)
    }
}

async fn end_by(
    tx: &mut Tx<'_>,
    token: &RefreshToken,
    everywhere: bool,
    client: &Client,
    rules: Rules,
) -> Result<(), Error> {
    match store::judge_refresh(tx, token, rules).await? {
        Outcome::Rotated(session) | Outcome::Repeated(session) => {
            let origin = Origin::request(audit::Actor::User(session.user_id.clone()), client);
            end(tx, &session.user_id, &session.id, everywhere, &origin, rules).await
        }
        Outcome::Refused(Refusal::Reused(session)) => {
            let origin = Origin::request(audit::Actor::User(session.user_id.clone()), client);
            ending::end_reused(tx, &session, &origin, rules).await
        }
        Outcome::Refused(_) => Ok(()),
    }
}
