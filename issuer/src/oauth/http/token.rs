//! The token endpoint of existing clients (RFC 6749 §3.2): their password form, and for those that know OAuth refreshing and
//! the tokens of services.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::PRAGMA;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::OAuth;
use super::client_credentials::GRANT;
use crate::login::Entered;
use crate::passwords::Password;
use crate::sessions::Refreshed;
use crate::tokens::Minted;
use crate::web::{Client, OAuthForm, Problem, Reason};

#[derive(ToSchema)]
#[schema(as = TokenRequest)]
#[allow(dead_code, reason = "only for the documentation: forms are read parameter by parameter")]
pub(super) struct TokenForm {
    /// `password`, also if it is left out, `refresh_token` or `client_credentials`.
    grant_type: Option<String>,
    /// With `password`: the e-mail address, or the user name of an imported account.
    #[schema(example = "ada@example.com")]
    username: Option<String>,
    /// With `password`.
    #[schema(example = "a calm orange lighthouse")]
    password: Option<String>,
    /// With `refresh_token`.
    refresh_token: Option<String>,
    /// With `client_credentials`, as at `/v1/auth/token`. Otherwise every token has what its owner's roles grant.
    scope: Option<String>,
    /// With `client_credentials`, as at `/v1/auth/token`. Otherwise it is not looked at, nor is a Basic header.
    client_id: Option<String>,
    /// As `client_id`.
    client_secret: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TokenAnswer)]
pub(super) struct TokenBody {
    access_token: String,
    /// `bearer`.
    #[schema(value_type = String)]
    token_type: &'static str,
    /// Seconds; with `refresh_token` and `client_credentials`.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<i64>,
    /// The next one; with `refresh_token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    /// What was granted, if the request asked for a scope, and to a service.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
}

impl TokenBody {
    pub(super) fn of_service(minted: Minted) -> Self {
        Self {
            access_token: minted.access_token,
            token_type: "bearer",
            expires_in: Some(minted.expires_in),
            refresh_token: None,
            scope: Some(minted.scope),
        }
    }
}

/// Get tokens by a password, by a refresh token or by the credentials of a service (RFC 6749 §4.3, §6 and §4.4).
#[utoipa::path(post, path = "/token", tag = "compatible",
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, body = TokenBody),
        (status = 400, body = inline(crate::web::ProblemBody<'_>), content_type = "application/json",
         description = "RFC 6749 §5.2: `invalid_request`, `unsupported_grant_type`, `invalid_grant` for a refresh token, and for a \
                        service as at `/v1/auth/token`"),
        (status = 401, body = inline(crate::web::ProblemBody<'_>), content_type = "application/json",
         description = "`invalid_grant`: no such account, or not its password; `invalid_client`: no such service, or not its secret"),
        (status = 403, body = inline(crate::web::ProblemBody<'_>), content_type = "application/json",
         description = "`invalid_grant`: the account cannot log in here; `reason` says why"),
        (status = 429, body = inline(crate::web::ProblemBody<'_>), content_type = "application/json",
         description = "`temporarily_unavailable`: too many failures; `Retry-After` tells the seconds to wait"),
    ),
)]
pub(super) async fn token(
    State(oauth): State<OAuth>,
    client: Client,
    headers: HeaderMap,
    form: OAuthForm,
) -> Result<Response, Problem> {
    let answer = oauth.grant(form, &headers, &client).await.map_err(Problem::as_oauth)?;
    // RFC 6749 §5.1; `Cache-Control` is on every answer.
    Ok(([(PRAGMA, "no-cache")], Json(answer)).into_response())
}

impl OAuth {
    async fn grant(
        &self,
        mut form: OAuthForm,
        headers: &HeaderMap,
        client: &Client,
    ) -> Result<TokenBody, Problem> {
        match form.take("grant_type").as_deref() {
            None | Some("password") => self.by_password(form, client).await,
            Some("refresh_token") => self.by_refresh_token(form, client).await,
            Some(GRANT) => self.by_client_credentials(form, headers, client).await,
            Some(_) => {
                let detail = "grant_type is password, refresh_token or client_credentials here";
                Err(Problem::oauth("unsupported_grant_type", detail))
            }
        }
    }

    /// Existing clients know the access token and nothing else.
    async fn by_password(&self, mut form: OAuthForm, client: &Client) -> Result<TokenBody, Problem> {
        let missing = "username and password are required";
        let username = form.required("username", missing)?;
        let password = Password::new(form.required("password", missing)?);
        // They have no cookie, so none of their headers names a session.
        let headers = HeaderMap::new();
        let entered = self.logins.at_once(&username, password, client, &headers).await;
        let Entered { signer, granted } = entered.map_err(|problem| {
            if problem.is(Reason::InvalidCredentials) {
                problem.saying("Incorrect username or password").challenging("Bearer")
            } else {
                problem
            }
        })?;
        let issued = self.logins.grants.issue(&signer, &granted.user, &granted.session)?;
        Ok(TokenBody {
            access_token: issued.access.access_token,
            token_type: "bearer",
            expires_in: None,
            refresh_token: None,
            scope: None,
        })
    }

    async fn by_refresh_token(&self, mut form: OAuthForm, client: &Client) -> Result<TokenBody, Problem> {
        let token = form.required("refresh_token", "refresh_token is required")?;
        let sessions = &self.sessions;
        let (token, _) = sessions.presented(&HeaderMap::new(), Some(token))?;
        let Refreshed { signer, user, session } = sessions.refresh(token, client).await?;
        let issued = sessions.grants.issue(&signer, &user, &session)?;
        Ok(TokenBody {
            access_token: issued.access.access_token,
            token_type: "bearer",
            expires_in: Some(issued.access.expires_in),
            refresh_token: Some(issued.refresh_token),
            scope: form.take("scope").map(|_| issued.access.scope),
        })
    }
}
