//! Refreshing: where the refresh token of a request is found, and what comes of presenting it, whichever route it came
//! by.

use countersign_claims::Reject;
use http::HeaderMap;

use super::grant::Delivery;
use super::{Forged, Outcome, RefreshToken, Refusal, Session, Sessions, ending, judge, store};
use crate::accounts::{self, User};
use crate::audit::{self, Origin};
use crate::db::Error;
use crate::tokens::Signer;
use crate::web::{Client, Problem, Reason};

/// Where a refresh token was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    Body,
    Cookie,
}

impl Carrier {
    /// The next token goes as the last one came; `asked` is whether the body asks for it there.
    pub fn delivery(self, headers: &HeaderMap, asked: bool) -> Delivery {
        match self {
            Self::Body => Delivery::of(headers, asked),
            Self::Cookie if asked => Delivery::BodyAndCookie,
            Self::Cookie => Delivery::Cookie,
        }
    }
}

/// A session that was moved on, and the key that signs for it.
#[derive(Debug)]
pub struct Refreshed<'s> {
    pub signer: Signer<'s>,
    pub user: User,
    pub session: Session,
}

impl Sessions {
    /// The refresh token that a request brings, with `body` for what its body says, to be refreshed with.
    ///
    /// # Errors
    /// The refusal, counted as a refresh that was refused: 400, or 403 for another site's page.
    pub fn presented(
        &self,
        headers: &HeaderMap,
        body: Option<String>,
    ) -> Result<(RefreshToken, Carrier), Problem> {
        self.brought(headers, body).map_err(|problem| self.metrics.refused(problem))
    }

    /// The refresh token of the body or of the cookie, not two different ones; a cookie only from pages that may use
    /// it. Whatever is wrong with the token, presenting it again does not help.
    ///
    /// # Errors
    /// The refusal: 400, or 403 for another site's page.
    pub(super) fn brought(
        &self,
        headers: &HeaderMap,
        body: Option<String>,
    ) -> Result<(RefreshToken, Carrier), Problem> {
        let grants = &self.grants;
        let (text, carrier) = match (
            body,
            grants.cookie.get(headers).map_err(|reject| Problem::from(reject).as_invalid_grant())?,
        ) {
            (Some(body), Some(cookie)) if body != cookie => {
                return Err(Problem::from(Reject::AmbiguousCredentials).as_invalid_grant());
            }
            (Some(token), _) => (token, Carrier::Body),
            (None, Some(token)) => {
                grants.origins.check(headers)?;
                (token.to_owned(), Carrier::Cookie)
            }
            (None, None) => return Err(Problem::from(Reject::Missing).as_invalid_grant()),
        };
        match RefreshToken::verify(&text, &grants.cookie.ring) {
            Ok(token) => Ok((token, carrier)),
            Err(Forged) => Err(self.refused(&Refusal::Unknown)),
        }
    }

    /// The session that a refresh token is good for, and its owner; nothing moves on, and nothing ends.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn current(&self, token: &RefreshToken) -> Result<Option<(Session, User)>, Error> {
        let found = store::find_with_user(self.db.reads(), &token.session_id).await?;
        Ok(found.and_then(|(session, user)| {
            let (rotated_at, now) = (session.rotated_at, self.grants.ids.clock.now());
            let grace = self.grants.rules.grace;
            match judge(session, rotated_at, user.is_active, token.counter, now, grace) {
                Outcome::Rotated(session) | Outcome::Repeated(session) => Some((session, user)),
                Outcome::Refused(_) => None,
            }
        }))
    }

    /// Exchanges a refresh token for the next one.
    ///
    /// # Errors
    /// 400 if the token is not good any more; 503 if no key signs; those of the database.
    pub async fn refresh(&self, token: RefreshToken, client: &Client) -> Result<Refreshed<'_>, Problem> {
        // Before the counter moves: without a key, nothing changes.
        let signer = self.grants.signer()?;
        let (client, rules) = (client.clone(), self.grants.rules);
        let refreshed = self.db.write(async move |tx| {
            let outcome = store::rotate_refresh(tx, &token, rules).await?;
            let user = match &outcome {
                // As the account is now, however long this has waited for its turn: the token says its roles.
                Outcome::Rotated(session) | Outcome::Repeated(session) => {
                    accounts::store::find(tx.connection(), &session.user_id).await?
                }
                Outcome::Refused(Refusal::Reused(session)) => {
                    let origin = Origin::request(audit::Actor::User(session.user_id.clone()), &client);
                    ending::end_reused(tx, session, &origin, rules).await?;
                    None
                }
                Outcome::Refused(_) => None,
            };
            Ok((outcome, user))
        });
        let (outcome, user) = refreshed.await?;
        self.metrics.count(&outcome);
        match (outcome, user) {
            (Outcome::Rotated(session) | Outcome::Repeated(session), Some(user)) => {
                Ok(Refreshed { signer, user, session })
            }
            (Outcome::Refused(refusal), _) => Err(self.refused(&refusal)),
            (_, None) => Err(self.refused(&Refusal::Unknown)),
        }
    }

    /// The refusal, and the cookie that led to it is taken back.
    fn refused(&self, refusal: &Refusal) -> Problem {
        let problem = match refusal {
            Refusal::Unknown => Problem::new(Reason::RefreshInvalid),
            Refusal::Expired => Problem::new(Reason::SessionExpired),
            Refusal::Revoked => Problem::new(Reason::SessionRevoked),
            Refusal::AccountInactive => Problem::new(Reason::AccountInactive),
            Refusal::Reused(_) => Problem::new(Reason::RefreshReused),
        };
        problem.as_invalid_grant().with_cookie(self.grants.cookie.clear())
    }
}
