//! Which service calls: found by the secret in `X-Service-Token`, as the database has it now.

use axum::extract::{FromRef, FromRequestParts, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use countersign_claims::Reject;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName};

use super::{PREFIX, Scope, ServiceName, ServiceToken, store};
use crate::ambient::Clock;
use crate::db::Db;
use crate::limits::Throttle;
use crate::secrets::MachineSecret;
use crate::web::{Problem, Reason};

const SERVICE_TOKEN: HeaderName = HeaderName::from_static("x-service-token");

/// A service that has shown a good secret.
#[derive(Debug)]
pub struct Service(ServiceToken);

impl Service {
    pub fn name(&self) -> &ServiceName {
        &self.0.name
    }

    /// Lets through who may ask for this.
    ///
    /// # Errors
    /// 403.
    pub fn with_scope(self, scope: Scope) -> Result<Self, Problem> {
        if self.0.may(scope) {
            return Ok(self);
        }
        let detail = format!("This service token has not the scope {}", scope.as_str());
        Err(Problem::because(Reason::ServiceScopeMissing, detail))
    }
}

/// Finds out which service calls; cheap to clone.
#[derive(Debug, Clone)]
pub struct Services {
    pub db: Db,
    pub clock: Clock,
    pub throttle: Throttle,
}

impl Services {
    /// The service whose secret is in these headers.
    ///
    /// # Errors
    /// 401 without a good one, or with a user's token beside it; 400 for two; 429 after too many that were not good; those of
    /// the database.
    async fn identify(&self, headers: &HeaderMap) -> Result<Service, Problem> {
        if headers.contains_key(AUTHORIZATION) {
            return Err(Problem::new(Reason::CredentialMisplaced));
        }
        let mut values = headers.get_all(SERVICE_TOKEN).iter();
        let shown = values.next().ok_or_else(|| Problem::new(Reason::ServiceTokenMissing))?;
        if values.next().is_some() {
            return Err(Reject::AmbiguousCredentials.into());
        }
        let invalid = || Problem::new(Reason::ServiceTokenInvalid);
        let hash = MachineSecret::read(PREFIX, shown.as_bytes()).map_err(|_| invalid())?.sha256();
        let now = self.clock.now();
        if let Some(seconds) = self.throttle.wait(&hash, now) {
            return Err(Problem::new(Reason::RateLimited).retry_after(seconds));
        }
        let Some(token) = store::find(self.db.reads(), &hash).await? else {
            self.throttle.bad(&hash, now);
            return Err(invalid());
        };
        self.throttle.good(&hash);
        if token.is_use_news(now) {
            self.note_use(token.id.clone());
        }
        Ok(Service(token))
    }

    /// Beside the request: it waits for no writer, and fails with none.
    fn note_use(&self, id: String) {
        let db = self.db.clone();
        tokio::spawn(async move {
            if let Err(error) = db.write(async move |tx| store::note_use(tx, &id).await).await {
                tracing::warn!(event = "use_not_noted", error = %error, "the use of a service token was not noted");
            }
        });
    }
}

impl<S> FromRequestParts<S> for Service
where
    S: Send + Sync,
    Services: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Services::from_ref(state).identify(&parts.headers).await
    }
}

/// For routes of users: a service that calls them with its token has lost its way, and its token may have, too.
pub async fn misplaced(request: Request, next: Next) -> Response {
    if request.headers().contains_key(SERVICE_TOKEN) {
        return Problem::new(Reason::CredentialMisplaced).into_response();
    }
    next.run(request).await
}
