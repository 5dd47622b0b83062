//! Who calls: the bearer token verified by the same code as at the edge, and then, because the database is at hand,
//! its session and account as they are now.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use countersign_claims::{AccessClaims, Reject, Verifier};
use http::request::Parts;

use super::{Session, SessionId, store};
use crate::accounts::{User, UserId};
use crate::ambient::{Clock, UnixTime};
use crate::api_keys::{self, ApiKey, ApiKeyId};
use crate::db::Db;
use crate::tokens::LiveKeys;
use crate::web::{Problem, Reason, bearer};

/// Whom a request speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// Someone who logged in.
    User(&'a UserId),
    /// A program with a key of this user's.
    ApiKey(&'a UserId),
}

/// A caller with a good token, a session that has not ended, or an API key that is good, and an account that is active.
#[derive(Debug)]
pub struct Caller {
    pub user: User,
    pub session: Session,
    /// What the token was issued for.
    scope: String,
}

impl Caller {
    pub fn subject(&self) -> Subject<'_> {
        if is_by_key(&self.session.amr) {
            Subject::ApiKey(&self.user.id)
        } else {
            Subject::User(&self.user.id)
        }
    }

    /// Lets through whose token was issued for this permission.
    ///
    /// # Errors
    /// 403.
    pub fn with_permission(self, permission: &str) -> Result<Self, Problem> {
        if self.was_granted(permission) { Ok(self) } else { Err(Reject::Forbidden.into()) }
    }

    /// Whether the token was issued for this permission.
    pub fn was_granted(&self, permission: &str) -> bool {
        self.scope.split(' ').any(|granted| granted == permission)
    }

    /// Lets through who has this role now, whatever the token says.
    ///
    /// # Errors
    /// 403.
    pub fn with_role(self, role: &str) -> Result<Self, Problem> {
        let has = self.user.roles.iter().any(|own| own == role);
        if has { Ok(self) } else { Err(Reject::Forbidden.into()) }
    }

    /// Lets through who proved who they are at most so many seconds ago, not only a token that is good.
    ///
    /// # Errors
    /// 403.
    pub fn recently(self, now: UnixTime, seconds: i64) -> Result<Self, Problem> {
        let recent = now.since(self.session.created_at) <= seconds;
        if recent { Ok(self) } else { Err(Problem::new(Reason::AuthenticationTooOld)) }
    }

    /// Lets through who logged in, and no program with a key.
    ///
    /// # Errors
    /// 403.
    pub fn in_person(self) -> Result<Self, Problem> {
        match self.subject() {
            Subject::User(_) => Ok(self),
            Subject::ApiKey(_) => Err(Problem::new(Reason::NotByApiKey)),
        }
    }
}

/// Finds out who calls; cheap to clone.
#[derive(Debug, Clone)]
pub struct Callers {
    pub db: Db,
    pub keys: Arc<LiveKeys>,
    pub verifier: Arc<Verifier>,
    pub clock: Clock,
}

impl Callers {
    /// What a token says, if we signed it and its time is not over.
    ///
    /// # Errors
    /// What is wrong with the token.
    pub fn verify(&self, token: &[u8]) -> Result<AccessClaims, Reject> {
        let now = self.clock.now().seconds();
        self.verifier.verify(token, &self.keys.at(now).keyring, now)
    }

    /// Who calls with this token, and what the token says.
    ///
    /// # Errors
    /// What is wrong with the token, its session or its account; 403 for the token of a service, which is nobody's; those of
    /// the database.
    pub async fn identify(&self, token: &[u8]) -> Result<(Caller, AccessClaims), Problem> {
        let claims = self.verify(token)?;
        if claims.service().is_some() {
            return Err(Problem::new(Reason::NotByService));
        }
        let now = self.clock.now();
        let session_id = claims.session_id.as_deref().ok_or(Reject::InvalidClaims)?;
        let found = if is_by_key(&claims.amr) {
            let id = ApiKeyId::parse(session_id).ok_or(Reject::InvalidClaims)?;
            let found = api_keys::store::find_with_user(self.db.reads(), &id).await?;
            found.map(|(key, user)| (of_key(key), user))
        } else {
            let id = SessionId::parse(session_id).ok_or(Reject::InvalidClaims)?;
            store::find_with_user(self.db.reads(), &id).await?
        };
        match found {
            Some((session, user))
                if user.id.as_str() == claims.sub && user.is_active && session.is_live(now) =>
            {
                let scope = claims.scope.clone().unwrap_or_default();
                Ok((Caller { user, session, scope }, claims))
            }
            _ => Err(Reject::Revoked.into()),
        }
    }
}

fn is_by_key(amr: &[String]) -> bool {
    amr.iter().any(|method| method == api_keys::AMR)
}

/// What a key has instead of a session: it lasts as long as the key.
fn of_key(key: ApiKey) -> Session {
    let end = key.expires_at.unwrap_or(UnixTime::from_seconds(i64::MAX));
    Session {
        id: key.id.into(),
        user_id: key.owner,
        counter: 0,
        created_at: key.created_at,
        last_used_at: key.last_used_at.unwrap_or(key.created_at),
        rotated_at: None,
        idle_expires_at: end,
        expires_at: end,
        revoked_at: None,
        persistent: true,
        amr: vec![api_keys::AMR.to_owned()],
        device: key.name,
        ip: None,
    }
}

impl<S> FromRequestParts<S> for Caller
where
    S: Send + Sync,
    Callers: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let callers = Callers::from_ref(state);
        let (caller, _) = callers.identify(bearer(&parts.headers)?).await?;
        Ok(caller)
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;
    use http::StatusCode;
    use uuid::Uuid;

    use super::*;

    const LOGIN: UnixTime = UnixTime::from_seconds(1_000);

    fn caller(amr: &str) -> Caller {
        let user_id = UserId::new(Uuid::nil());
        let user = User {
            id: user_id.clone(),
            email: "ada@example.com".into(),
            email_verified: true,
            username: None,
            name: "Ada".into(),
            phone: None,
            roles: Vec::new(),
            is_active: true,
            mfa_enabled: false,
            created_at: LOGIN,
            updated_at: LOGIN,
        };
        let session = Session {
            id: SessionId::new(Uuid::nil()),
            user_id,
            counter: 0,
            created_at: LOGIN,
            last_used_at: LOGIN,
            rotated_at: None,
            idle_expires_at: LOGIN,
            expires_at: LOGIN,
            revoked_at: None,
            persistent: false,
            amr: vec![amr.into()],
            device: String::new(),
            ip: None,
        };
        Caller { user, session, scope: "alerts:read quotes:read".into() }
    }

    fn status(result: Result<Caller, Problem>) -> StatusCode {
        result.map_or_else(|problem| problem.into_response().status(), |_| StatusCode::OK)
    }

    #[test]
    fn a_permission_is_held_whole_or_not_at_all() {
        assert_eq!(status(caller("pwd").with_permission("alerts:read")), StatusCode::OK);
        for other in ["alerts", "alerts:rea", "alerts:read quotes:read", "", "alerts:write"] {
            assert_eq!(status(caller("pwd").with_permission(other)), StatusCode::FORBIDDEN, "{other}");
        }
    }

    #[test]
    fn a_role_is_what_the_account_has_now() {
        let mut admin = caller("pwd");
        admin.user.roles = vec!["user".into(), "admin".into()];
        assert_eq!(status(admin.with_role("admin")), StatusCode::OK);
        assert_eq!(status(caller("pwd").with_role("admin")), StatusCode::FORBIDDEN);
    }

    #[test]
    fn what_needs_a_recent_login_is_refused_later() {
        assert_eq!(status(caller("pwd").recently(LOGIN.plus(300), 300)), StatusCode::OK);
        assert_eq!(status(caller("pwd").recently(LOGIN.plus(301), 300)), StatusCode::FORBIDDEN);
    }

    #[test]
    fn a_key_is_nobody_in_person() {
        assert_eq!(status(caller("pwd").in_person()), StatusCode::OK);
        assert_eq!(status(caller("api_key").in_person()), StatusCode::FORBIDDEN);
    }
}
