//! What a caller who proved who they are is given: a session, an access token for it, and the refresh token in
//! body and cookie. The one place that tokens come from.

use std::sync::Arc;

use axum::Json;
use axum::response::{AppendHeaders, IntoResponse, Response};
use countersign_claims::Reject;
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::store::NewSession;
use super::{RefreshCookie, RefreshToken, Rules, Session, SessionId, devices, ending, store};
use crate::accounts::{User, UserBody, UserId};
use crate::ambient::Ids;
use crate::audit::{self, Event, Kind, Origin};
use crate::config::Roles;
use crate::db::{Error, Tx};
use crate::mail::{self, Letter, Outbox};
use crate::tokens::{Bearer, Minted, Minter, Signer};
use crate::web::{Client, Origins, is_browser};

/// The answer to register, login and refresh (RFC 6749 §5.1, and the user).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tokens)]
pub struct TokenBody {
    access_token: String,
    /// `bearer`.
    token_type: &'static str,
    /// Seconds.
    expires_in: i64,
    /// Not for pages in a browser, unless they ask for it: they have it in the cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    /// Not for a refresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<UserBody>,
}

/// How the refresh token reaches the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    BodyAndCookie,
    /// The client keeps it in the cookie, out of the reach of scripts; the body must not hand it to them.
    Cookie,
}

impl Delivery {
    /// For an answer to a request with these headers; `asked` is what its body says about it.
    pub fn of(headers: &HeaderMap, asked: bool) -> Self {
        if asked || !is_browser(headers) { Self::BodyAndCookie } else { Self::Cookie }
    }
}

/// A session about to begin, once its user is certain.
#[derive(Debug, Clone)]
pub struct Opening {
    session: NewSession,
    origin: Origin,
    /// What stays the same while the user logs in with the same program in the same place.
    fingerprint: String,
    /// The session that this browser had so far: logging in again ends it.
    replaced: Option<RefreshToken>,
    /// For the user, should the device be a new one.
    notice: Option<Letter>,
    rules: Rules,
}

/// What a session has at a moment: an access token, and what the next one is had for.
#[derive(Debug)]
pub struct Issued {
    pub access: Minted,
    pub refresh_token: String,
    /// With the refresh token in it.
    pub cookie: HeaderValue,
}

/// Begins sessions and answers with their tokens; cheap to clone. Groups of routes differ in the cookie and in how long
/// tokens and sessions last.
#[derive(Debug, Clone)]
pub struct Grants {
    pub rules: Rules,
    pub minter: Minter,
    /// Of access tokens, in seconds.
    pub access_lifetime: i64,
    pub cookie: RefreshCookie,
    pub origins: Origins,
    pub roles: Arc<Roles>,
    pub outbox: Outbox,
    pub ids: Ids,
}

impl Grants {
    /// For clients that get an access token and nothing to refresh it with: the session ends with the token.
    #[must_use]
    pub fn without_refresh(&self, access_lifetime: i64) -> Self {
        let rules = Rules { idle: access_lifetime, total: access_lifetime, ..self.rules };
        Self { rules, access_lifetime, ..self.clone() }
    }

    /// The key to sign with, asked for before anything is written.
    ///
    /// # Errors
    /// [`Reject::Unavailable`] if no key signs now.
    pub fn signer(&self) -> Result<Signer<'_>, Reject> {
        self.minter.signer()
    }

    /// A session for `user_id`, as the request with these headers asks for it.
    pub fn opening(
        &self,
        user_id: UserId,
        client: &Client,
        headers: &HeaderMap,
        persistent: bool,
    ) -> Opening {
        // A cookie that another site's page carries along is not its to end.
        let own = self.origins.check(headers).is_ok();
        let cookie = self.cookie.get(headers).ok().flatten().filter(|_| own);
        let origin = Origin::request(audit::Actor::User(user_id.clone()), client);
        let session = NewSession {
            id: SessionId::new(self.ids.uuid()),
            user_id,
            persistent,
            amr: vec!["pwd".to_owned()],
            device: client.device.clone(),
            ip: client.ip.map(|ip| ip.to_string()),
        };
        let replaced = cookie.and_then(|token| RefreshToken::verify(token, &self.cookie.ring).ok());
        let fingerprint = client.fingerprint.clone();
        Opening { session, origin, fingerprint, replaced, notice: None, rules: self.rules }
    }

    /// Takes the refresh cookie back, unless another site's page asks for that. With such a request a browser sends no cookie
    /// of ours; that of the answer it would take, and so log its user out.
    pub fn cleared_cookie(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        self.origins.check(headers).is_ok().then(|| self.cookie.clear())
    }

    /// The tokens of `session`, as it is now.
    ///
    /// # Errors
    /// [`Reject::Unavailable`] if it cannot be signed.
    pub fn issue(&self, signer: &Signer<'_>, user: &User, session: &Session) -> Result<Issued, Reject> {
        let access = signer.sign(Bearer {
            user,
            session_id: session.id.as_str(),
            amr: &session.amr,
            authenticated_at: session.created_at,
            lifetime: self.access_lifetime,
            ends_at: session.refreshable_until(),
            scopes: None,
        })?;
        let token = RefreshToken { session_id: session.id.clone(), counter: session.counter };
        let refresh_token = token.sign(&self.cookie.ring);
        let left = session.refreshable_until().since(self.ids.clock.now());
        let cookie = self.cookie.set(&refresh_token, session.persistent.then_some(left));
        Ok(Issued { access, refresh_token, cookie })
    }

    /// Answers with the tokens of `session`; with `user` at its beginning.
    ///
    /// # Errors
    /// [`Reject::Unavailable`] if it cannot be signed.
    pub fn answer(
        &self,
        signer: &Signer<'_>,
        status: StatusCode,
        user: &User,
        session: &Session,
        delivery: Delivery,
        show_user: bool,
    ) -> Result<Response, Reject> {
        let Issued { access, refresh_token, cookie } = self.issue(signer, user, session)?;
        let body = TokenBody {
            access_token: access.access_token,
            token_type: "bearer",
            expires_in: access.expires_in,
            refresh_token: (delivery == Delivery::BodyAndCookie).then_some(refresh_token),
            user: show_user.then(|| UserBody::new(user.clone(), &self.roles)),
        };
        Ok((status, AppendHeaders([(SET_COOKIE, cookie)]), Json(body)).into_response())
    }
}

impl Opening {
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// A session whose user has shown a code beside the password (RFC 8176: `otp`).
    #[must_use]
    pub fn with_code(mut self) -> Self {
        self.session.amr.push("otp".to_owned());
        self
    }

    /// Has this message sent if the device is a new one.
    #[must_use]
    pub fn telling(self, notice: Option<Letter>) -> Self {
        Self { notice, ..self }
    }

    /// Begins the session, tells of it as `kind`, and ends what it replaces and what is too many.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn begin(&self, tx: &mut Tx<'_>, kind: Kind) -> Result<Session, Error> {
        if let Some(token) = &self.replaced {
            self.end_replaced(tx, token).await?;
        }
        let session = store::create(tx, &self.session, self.rules).await?;
        let (subject, session_id) = (Some(&session.user_id), Some(session.id.as_str()));
        audit::store::record(tx, Event { kind, subject, session_id, origin: &self.origin }).await?;
        if devices::is_new(tx, &session.user_id, &self.fingerprint).await? {
            let kind = Kind::SessionNewDevice;
            audit::store::record(tx, Event { kind, subject, session_id, origin: &self.origin }).await?;
            if let Some(notice) = &self.notice {
                mail::store::post(tx, notice).await?;
            }
        }
        ending::end_surplus(tx, &session.user_id, &self.origin, self.rules).await?;
        Ok(session)
    }

    /// Only a token that could still refresh speaks for its session.
    async fn end_replaced(&self, tx: &mut Tx<'_>, token: &RefreshToken) -> Result<(), Error> {
        if let super::Outcome::Repeated(old) = store::judge_refresh(tx, token, self.rules).await? {
            let origin = self.origin.by_issuer();
            ending::end_one(tx, &old.user_id, &old.id, Kind::SessionEnded, &origin, self.rules).await?;
        }
        Ok(())
    }
}
