//! Asking about a token, and ending it.

use axum::Json;
use axum::extract::State;
use countersign_claims::AccessClaims;
use http::StatusCode;
use utoipa::ToSchema;

use super::super::introspection::{administers, may_know};
use super::super::{Introspection, OAuth};
use crate::services;
use crate::sessions::{Caller, RefreshToken, Subject};
use crate::web::{Client, OAuthForm, Problem};

#[derive(ToSchema)]
#[schema(as = TokenToLookAt)]
#[allow(dead_code, reason = "only for the documentation: forms are read parameter by parameter")]
pub(super) struct TokenForm {
    /// An access token or a refresh token.
    token: String,
    /// Not looked at: the two are told apart by their form.
    token_type_hint: Option<String>,
}

/// A token as it was sent.
enum Sent {
    Access(Box<Caller>, Box<AccessClaims>),
    /// Of a service.
    Service(Box<AccessClaims>),
    Refresh(RefreshToken),
    /// No token of ours, or not good any more.
    Nothing,
}

impl OAuth {
    async fn read(&self, text: &str) -> Result<Sent, Problem> {
        if let Ok(token) = RefreshToken::verify(text, &self.sessions.grants.cookie.ring) {
            return Ok(Sent::Refresh(token));
        }
        if let Ok(claims) = self.callers.verify(text.as_bytes())
            && claims.service().is_some()
        {
            let secret = claims.credential_id.as_deref().unwrap_or_default();
            let good = services::store::is_good(self.sessions.db.reads(), secret).await?;
            return Ok(if good { Sent::Service(claims.into()) } else { Sent::Nothing });
        }
        match self.callers.identify(text.as_bytes()).await {
            Ok((caller, claims)) => Ok(Sent::Access(caller.into(), claims.into())),
            Err(problem) if problem.is_unavailable() => Err(problem),
            Err(_) => Ok(Sent::Nothing),
        }
    }

    async fn introspection(&self, caller: &Caller, text: &str) -> Result<Introspection, Problem> {
        Ok(match self.read(text).await? {
            Sent::Access(owner, claims) if may_know(caller, &owner.user) => Introspection::access(*claims),
            Sent::Refresh(token) => match self.sessions.current(&token).await? {
                Some((session, user)) if may_know(caller, &user) => Introspection::refresh(user, &session),
                _ => Introspection::inactive(),
            },
            Sent::Service(claims) if administers(caller) => Introspection::access(*claims),
            Sent::Access(..) | Sent::Service(_) | Sent::Nothing => Introspection::inactive(),
        })
    }
}

/// Ask whether a token is good (RFC 7662).
///
/// One's own tokens; an administrator may ask about all, also those of services. Of any other, nothing is told but that it is not active.
#[utoipa::path(post, path = "/v1/auth/introspect", tag = "oauth", security(("bearer" = [])),
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, body = Introspection),
        (status = 400, body = inline(crate::web::ProblemBody<'_>), content_type = "application/json",
         description = "`invalid_request`: no token was sent"),
    ),
)]
pub(super) async fn introspect(
    State(oauth): State<OAuth>,
    caller: Caller,
    mut form: OAuthForm,
) -> Result<Json<Introspection>, Problem> {
    let token = form.required("token", TOKEN_IS_MISSING)?;
    oauth.introspection(&caller, &token).await.map(Json)
}

/// End the session of a token (RFC 7009).
///
/// Access token and refresh token end together. Whoever has the token may do that, without any other proof. A token
/// that is none, or was ended, is no error.
#[utoipa::path(post, path = "/v1/auth/revoke", tag = "oauth",
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The token is good no longer"),
        (status = 400, body = inline(crate::web::ProblemBody<'_>), content_type = "application/json",
         description = "`invalid_request`: no token was sent; `unsupported_token_type`: it is that of an API key or a service"),
    ),
)]
pub(super) async fn revoke(
    State(oauth): State<OAuth>,
    client: Client,
    mut form: OAuthForm,
) -> Result<StatusCode, Problem> {
    let token = form.required("token", TOKEN_IS_MISSING)?;
    let ended = match oauth.read(&token).await.map_err(Problem::as_oauth)? {
        Sent::Access(caller, _) if matches!(caller.subject(), Subject::ApiKey(_)) => {
            return Err(Problem::oauth("unsupported_token_type", KEY_IS_REVOKED_ELSEWHERE));
        }
        Sent::Service(_) => {
            return Err(Problem::oauth("unsupported_token_type", SECRET_IS_REVOKED_ELSEWHERE));
        }
        Sent::Access(caller, _) => oauth.sessions.end(*caller, false, &client).await,
        Sent::Refresh(token) => oauth.sessions.end_by(token, false, &client).await,
        Sent::Nothing => Ok(()),
    };
    ended.map_err(|error| Problem::from(error).as_oauth())?;
    Ok(StatusCode::OK)
}

const KEY_IS_REVOKED_ELSEWHERE: &str = "the token of an API key ends with the key, which its owner revokes";

const SECRET_IS_REVOKED_ELSEWHERE: &str =
    "the token of a service ends with the secret that it was issued for, which an operator revokes";

const TOKEN_IS_MISSING: &str = "token is required";
