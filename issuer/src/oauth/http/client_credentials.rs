//! Tokens for services (RFC 6749 §4.4). The client is called as the service is, and its secret is a service token.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use http::header::PRAGMA;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::super::OAuth;
use super::token::TokenBody;
use crate::services::{Asked, Refusal};
use crate::web::{BASIC_CHALLENGE, Basic, Client, OAuthForm, Problem, Reason, is_browser};

#[derive(ToSchema)]
#[schema(as = ServiceTokenRequest)]
#[allow(dead_code, reason = "only for the documentation: forms are read parameter by parameter")]
pub(super) struct ServiceTokenForm {
    /// `client_credentials`.
    grant_type: String,
    /// Some of the service's permissions, separated by spaces; all of them if it is left out.
    #[schema(example = "quotes:publish")]
    scope: Option<String>,
    /// What the service is called, if that is not in `Authorization: Basic`.
    #[schema(example = "ticker")]
    client_id: Option<String>,
    /// Its service token, if that is not in `Authorization: Basic`.
    client_secret: Option<String>,
}

/// Get a token for a service (RFC 6749 §4.4).
///
/// The client authenticates by `Authorization: Basic` or by `client_id` and `client_secret`, not by both.
#[utoipa::path(post, path = "/v1/auth/token", tag = "oauth",
    request_body(content = ServiceTokenForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, body = TokenBody),
        (status = 400, body = inline(crate::web::ProblemBody<'_>), content_type = "application/json",
         description = "RFC 6749 §5.2: `invalid_request`, `unsupported_grant_type`, `invalid_scope`, or `unauthorized_client` \
                        for a service whose scopes are for the internal listener only, and for pages in a browser"),
        (status = 401, body = inline(crate::web::ProblemBody<'_>), content_type = "application/json",
         description = "`invalid_client`: no such service, or not its secret"),
        (status = 429, body = inline(crate::web::ProblemBody<'_>), content_type = "application/json",
         description = "`temporarily_unavailable`: too many failures, or too many tokens; `Retry-After` tells the seconds to wait"),
    ),
)]
pub(super) async fn service_token(
    State(oauth): State<OAuth>,
    client: Client,
    headers: HeaderMap,
    mut form: OAuthForm,
) -> Result<Response, Problem> {
    let grant = form.required("grant_type", "grant_type is required").map_err(Problem::as_oauth)?;
    if grant != GRANT {
        let detail = "grant_type is client_credentials here";
        return Err(Problem::oauth("unsupported_grant_type", detail));
    }
    let answer = oauth.by_client_credentials(form, &headers, &client).await.map_err(Problem::as_oauth)?;
    Ok(([(PRAGMA, "no-cache")], Json(answer)).into_response())
}

pub(super) const GRANT: &str = "client_credentials";

impl OAuth {
    pub(super) async fn by_client_credentials(
        &self,
        mut form: OAuthForm,
        headers: &HeaderMap,
        client: &Client,
    ) -> Result<TokenBody, Problem> {
        if is_browser(headers) {
            return Err(Problem::oauth("unauthorized_client", "a page in a browser is no service"));
        }
        let (client_id, client_secret) = credentials(&mut form, headers)?;
        let asked = Asked { client_id, client_secret, scope: form.take("scope") };
        let minted = self.issuing.issue(&asked, client).await?;
        Ok(TokenBody::of_service(minted))
    }
}

/// The client's, shown in one way.
fn credentials(form: &mut OAuthForm, headers: &HeaderMap) -> Result<(String, Zeroizing<String>), Problem> {
    let in_form = (form.take("client_id"), form.take("client_secret").map(Zeroizing::new));
    match (Basic::of(headers), in_form) {
        (Basic::Absent, (Some(id), Some(secret))) => Ok((id, secret)),
        (Basic::Absent, _) => Err(unauthenticated(Reason::ServiceTokenMissing)),
        (Basic::Unreadable, _) => Err(unauthenticated(Reason::ServiceTokenInvalid)),
        // Some clients say the name twice.
        (Basic::Shown(id, secret), (named, None)) if named.as_ref().is_none_or(|named| *named == id) => {
            Ok((id, secret))
        }
        (Basic::Shown(..), _) => {
            Err(Problem::oauth("invalid_request", "The client is named twice; authenticate it in one way"))
        }
    }
}

fn unauthenticated(reason: Reason) -> Problem {
    Problem::new(reason).challenging(BASIC_CHALLENGE).meaning("invalid_client")
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::InvalidClient => unauthenticated(Reason::ServiceTokenInvalid),
            Refusal::UnauthorizedClient => {
                let detail = "the scopes of this service are for the internal listener, which takes no token";
                Self::oauth("unauthorized_client", detail)
            }
            Refusal::InvalidScope => Self::oauth("invalid_scope", "this service has not all of this scope"),
            Refusal::Limited(seconds) => Self::new(Reason::RateLimited).retry_after(seconds),
            Refusal::Unsigned(reject) => reject.into(),
            Refusal::Database(error) => error.into(),
        }
    }
}
