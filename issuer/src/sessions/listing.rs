//! Where someone is logged in, as they see it, and ending it from there.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Caller, Session, SessionId, Sessions, ending, store};
use crate::audit::{self, Kind, Origin};
use crate::web::{Client, Problem, Reason};

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Session)]
struct SessionBody {
    id: String,
    /// What the client calls itself.
    device: String,
    ip: Option<String>,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339.
    last_used_at: String,
    /// RFC 3339; a refresh moves it on.
    expires_at: String,
    /// Whether it is the caller's own.
    current: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Sessions)]
pub struct SessionsBody {
    sessions: Vec<SessionBody>,
}

impl SessionBody {
    fn new(session: Session, current: &SessionId) -> Self {
        Self {
            current: session.id == *current,
            expires_at: session.refreshable_until().to_string(),
            created_at: session.created_at.to_string(),
            last_used_at: session.last_used_at.to_string(),
            id: session.id.to_string(),
            device: session.device,
            ip: session.ip,
        }
    }
}

impl Sessions {
    /// The live sessions of a caller, newest first.
    ///
    /// # Errors
    /// 403 for a program with a key; those of the database.
    pub async fn of(&self, caller: Caller) -> Result<SessionsBody, Problem> {
        let Caller { user, session, .. } = caller.in_person()?;
        let now = self.grants.ids.clock.now();
        let live = store::list_live(self.db.reads(), &user.id, now).await?;
        let sessions = live.into_iter().map(|one| SessionBody::new(one, &session.id)).collect();
        Ok(SessionsBody { sessions })
    }

    /// Ends one of a caller's own sessions.
    ///
    /// # Errors
    /// 404 if it is none of them, or has ended; 403 for a program with a key; those of the database.
    pub async fn end_own(
        &self,
        caller: Caller,
        id: Option<SessionId>,
        client: &Client,
    ) -> Result<(), Problem> {
        let user_id = caller.in_person()?.user.id;
        let none = || Problem::new(Reason::NotFound);
        let id = id.ok_or_else(none)?;
        let origin = Origin::request(audit::Actor::User(user_id.clone()), client);
        let rules = self.grants.rules;
        let ended = self.db.write(async move |tx| {
            ending::end_one(tx, &user_id, &id, Kind::SessionEnded, &origin, rules).await
        });
        if ended.await? { Ok(()) } else { Err(none()) }
    }
}
