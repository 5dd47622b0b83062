//! Which service calls: found by the secret in `X-Service-Token`, as the database has it now.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use countersign_claims::Reject;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use tokio::sync::Mutex;

use super::metrics::{Call, Metrics};
use super::{PREFIX, Scope, ServiceName, ServiceToken, store};
use crate::ambient::{Clock, UnixTime};
use crate::audit::{self, Kind, Origin};
use crate::config;
use crate::db::{Db, Error};
use crate::limits::{Quota, Spent, Throttle};
use crate::secrets::MachineSecret;
use crate::web::{Problem, Reason, is_browser};

const SERVICE_TOKEN: HeaderName = HeaderName::from_static("x-service-token");

/// A service that has shown a good secret.
#[derive(Debug)]
pub struct Service {
    token: ServiceToken,
    services: Services,
}

impl Service {
    pub fn name(&self) -> &ServiceName {
        &self.token.name
    }

    /// Lets through who may ask for this, and has not asked too often.
    ///
    /// # Errors
    /// 403, 429.
    pub fn with_scope(self, scope: Scope) -> Result<Self, Problem> {
        let Services { quotas, metrics, .. } = &self.services;
        if !self.token.may(scope) {
            let detail = format!("This service token has not the scope {}", scope.as_str());
            return Err(metrics.refused(Problem::because(Reason::ServiceScopeMissing, detail)));
        }
        metrics.count_call(self.name(), scope);
        let limited = match scope {
            Scope::CredentialsRead => Some((&quotas.credential_reads, Call::credentials)),
            Scope::TradingAccountsRead => Some((&quotas.account_lists, Call::trading_accounts)),
            Scope::AuthzCheck => Some((&quotas.authz_checks, Call::authz_check)),
            // One reads what is new, and the other is asked once for each key; both have bounds of their own.
            Scope::RevocationsRead | Scope::ApiKeysExchange => None,
        };
        if let Some((quota, call)) = limited {
            let spent = self.services.spend(quota, call, self.name());
            spent.map_err(|seconds| Problem::new(Reason::RateLimited).retry_after(seconds))?;
        }
        Ok(self)
    }
}

/// Finds out which service calls; cheap to clone.
#[derive(Debug, Clone)]
pub struct Services {
    pub db: Db,
    pub clock: Clock,
    pub throttle: Throttle,
    /// When the hashes of all that are good were read last, while others were not looked up.
    learned: Arc<Mutex<Option<UnixTime>>>,
    quotas: Quotas,
    pub metrics: Metrics,
}

/// Of each service, in a minute.
#[derive(Debug, Clone)]
struct Quotas {
    credential_reads: Quota,
    account_lists: Quota,
    authz_checks: Quota,
}

impl Services {
    pub fn new(settings: &config::Services, db: Db, clock: Clock) -> Self {
        Self {
            db,
            clock,
            throttle: Throttle::default(),
            learned: Arc::default(),
            quotas: Quotas {
                credential_reads: Quota::new(settings.credential_reads_per_minute),
                account_lists: Quota::new(settings.account_lists_per_minute),
                authz_checks: Quota::new(settings.authz_checks_per_minute),
            },
            metrics: Metrics::default(),
        }
    }

    /// The service whose secret is in these headers.
    ///
    /// # Errors
    /// 401 without a good one, or with a user's token beside it; 400 for two; 403 for a page in a browser, which has no
    /// business with one; 429 after too many that were not good; those of the database.
    async fn identify(&self, headers: &HeaderMap) -> Result<ServiceToken, Problem> {
        if headers.contains_key(AUTHORIZATION) {
            return Err(Problem::new(Reason::CredentialMisplaced));
        }
        let mut values = headers.get_all(SERVICE_TOKEN).iter();
        let shown = values.next().ok_or_else(|| Problem::new(Reason::ServiceTokenMissing))?;
        if values.next().is_some() {
            return Err(Reject::AmbiguousCredentials.into());
        }
        if is_browser(headers) {
            return Err(Problem::new(Reason::CrossSite));
        }
        let invalid = || Problem::new(Reason::ServiceTokenInvalid);
        let hash = MachineSecret::read(PREFIX, shown.as_bytes()).map_err(|_| invalid())?.sha256();
        let now = self.clock.now();
        if self.throttle.wait(&hash, now).is_some() {
            self.learn(now).await?;
        }
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
        Ok(token)
    }

    /// Has all that are good looked up: there are few, and a flood of others must not keep out those that this process has not
    /// seen yet. Once a second, for all that wait for it.
    async fn learn(&self, now: UnixTime) -> Result<(), Error> {
        let mut learned = self.learned.lock().await;
        if *learned != Some(now) {
            let good = store::hashes(self.db.reads()).await?;
            good.iter().for_each(|hash| self.throttle.good(hash));
            *learned = Some(now);
        }
        Ok(())
    }

    /// Counts a call of which each service has so many in a minute.
    ///
    /// # Errors
    /// How many seconds the service has to wait.
    pub(super) fn spend(&self, quota: &Quota, call: Call, name: &ServiceName) -> Result<(), i64> {
        quota.take(name.as_str(), self.clock.now()).map_err(|Spent { seconds, is_first }| {
            self.metrics.count_limited(call);
            if is_first {
                self.note_limited(name.clone());
            }
            seconds
        })
    }

    fn note_use(&self, id: String) {
        let message = "the use of a service token was not noted";
        self.db.write_beside("use_not_noted", message, async move |tx| store::note_use(tx, &id).await);
    }

    fn note_limited(&self, name: ServiceName) {
        let message = "that a service was limited was not noted";
        self.db.write_beside("limit_not_noted", message, async move |tx| {
            audit::store::record_of_service(tx, Kind::ServiceLimited, Some(&name), None, &Origin::issuer())
                .await
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
        let services = Services::from_ref(state);
        let token = services.identify(&parts.headers).await;
        let token = token.map_err(|problem| services.metrics.refused(problem))?;
        Ok(Self { token, services })
    }
}

/// For routes of users: a service that calls them with its token has lost its way, and its token may have, too.
pub async fn misplaced(request: Request, next: Next) -> Response {
    if request.headers().contains_key(SERVICE_TOKEN) {
        return Problem::new(Reason::CredentialMisplaced).into_response();
    }
    next.run(request).await
}
