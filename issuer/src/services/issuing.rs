//! Short-lived tokens for services, for a secret of theirs (RFC 6749 §4.4): services call each other with them through the edge.

use std::fmt;

use countersign_claims::Reject;
use zeroize::Zeroizing;

use super::metrics::{Call, Word};
use super::{PREFIX, Scopes, ServiceName, ServiceToken, Services, store};
use crate::audit::{self, Actor, Kind, Origin};
use crate::config;
use crate::db::{Error, Tx};
use crate::limits::{self, Limits, Quota, failed_as_a_service};
use crate::secrets::MachineSecret;
use crate::tokens::{Minted, Minter, ServiceBearer};
use crate::web::Client;

/// What a client asks with.
pub struct Asked {
    /// What the service is called.
    pub client_id: String,
    /// One of its secrets.
    pub client_secret: Zeroizing<String>,
    /// Permissions, separated by spaces; all that it may have if there is none.
    pub scope: Option<String>,
}

/// Shows nothing: clients mix up which is which.
impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asked(…)")
    }
}

/// Why there is no token.
#[derive(Debug)]
pub enum Refusal {
    /// There is no such service, or this is no secret of it.
    InvalidClient,
    /// Its scopes are for the internal listener only.
    UnauthorizedClient,
    /// Not all of what was asked for is the service's.
    InvalidScope,
    /// For so many seconds.
    Limited(i64),
    /// Nothing can be signed now.
    Unsigned(Reject),
    Database(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

/// Issues the tokens of services; cheap to clone.
#[derive(Debug, Clone)]
pub struct Issuing {
    services: Services,
    limits: Limits,
    minter: Minter,
    /// In seconds.
    lifetime: i64,
    quota: Quota,
}

impl Issuing {
    pub fn new(settings: &config::Services, services: &Services, limits: &Limits, minter: &Minter) -> Self {
        Self {
            services: services.clone(),
            limits: limits.clone(),
            minter: minter.clone(),
            lifetime: settings.token_lifetime,
            quota: Quota::new(settings.tokens_per_minute),
        }
    }

    /// A token for who shows a secret of this service. That it was issued is written down before it is given out.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn issue(&self, asked: &Asked, client: &Client) -> Result<Minted, Refusal> {
        let issued = self.issue_or_refuse(asked, client).await;
        let metrics = &self.services.metrics;
        match &issued {
            Ok(_) => metrics.count(Word::issued),
            Err(Refusal::InvalidClient) => metrics.count(Word::invalid_client),
            Err(Refusal::UnauthorizedClient) => metrics.count(Word::unauthorized_client),
            Err(Refusal::InvalidScope) => metrics.count(Word::invalid_scope),
            Err(Refusal::Limited(_)) => metrics.count(Word::limited),
            Err(Refusal::Unsigned(_) | Refusal::Database(_)) => {}
        }
        issued
    }

    async fn issue_or_refuse(&self, asked: &Asked, client: &Client) -> Result<Minted, Refusal> {
        let Some(token) = self.find(asked).await? else {
            return Err(self.failed(&asked.client_id, client).await);
        };
        let granted = granted(&token.scopes, asked.scope.as_deref())?;
        self.services.spend(&self.quota, Call::tokens, &token.name).map_err(Refusal::Limited)?;
        let signer = self.minter.signer().map_err(Refusal::Unsigned)?;
        let origin = Origin::request(Actor::Service(token.name.clone()), client);
        let used = token.clone();
        let noted = self.services.db.write(async move |tx| note(tx, &used, &origin).await);
        if !noted.await? {
            return Err(Refusal::InvalidClient);
        }
        let bearer = ServiceBearer {
            name: &token.name,
            credential_id: &token.id,
            permissions: &granted,
            lifetime: self.lifetime,
        };
        signer.sign_for_service(bearer).map_err(Refusal::Unsigned)
    }

    /// Looked up whatever has failed before: strangers reach this call, and must not keep a service out by failing.
    async fn find(&self, asked: &Asked) -> Result<Option<ServiceToken>, Error> {
        let secret = MachineSecret::read(PREFIX, asked.client_secret.as_bytes());
        let Ok(secret) = secret else { return Ok(None) };
        let found = store::find(self.services.db.reads(), &secret.sha256()).await?;
        Ok(found.filter(|token| token.name.as_str() == asked.client_id))
    }

    /// What to answer to a secret that is none of this service.
    async fn failed(&self, client_id: &str, client: &Client) -> Refusal {
        match self.count_failure(client_id, client).await {
            Ok(None) => Refusal::InvalidClient,
            Ok(Some(seconds)) => Refusal::Limited(seconds),
            Err(error) => error.into(),
        }
    }

    async fn count_failure(&self, client_id: &str, client: &Client) -> Result<Option<i64>, Error> {
        let counted = self.limits.service(client_id, client.ip);
        let Services { db, clock, .. } = &self.services;
        // Looked up first: a flood costs reads, and no write.
        for counter in counted.counters() {
            if let Some(seconds) = limits::store::locked_for(db.reads(), counter, clock.now()).await? {
                return Ok(Some(seconds));
            }
        }
        // Whatever else was sent for a name is not written down: it may be a secret.
        let name = ServiceName::parse(client_id).ok();
        let origin = Origin::request(Actor::Stranger, client);
        db.write(async move |tx| failed_as_a_service(tx, &counted, name.as_ref(), &origin).await).await
    }
}

/// Writes down that a token is issued; false if the secret has been revoked meanwhile.
async fn note(tx: &mut Tx<'_>, token: &ServiceToken, origin: &Origin) -> Result<bool, Error> {
    let good = store::hold(tx, &token.id).await?;
    if good {
        let (kind, id) = (Kind::ServiceTokenIssued, Some(token.id.as_str()));
        audit::store::record_of_service(tx, kind, Some(&token.name), id, origin).await?;
    }
    Ok(good)
}

/// What a token says that was asked for so.
fn granted<'s>(scopes: &'s Scopes, asked: Option<&str>) -> Result<Vec<&'s str>, Refusal> {
    let own = scopes.permissions();
    if own.is_empty() {
        return Err(Refusal::UnauthorizedClient);
    }
    let Some(asked) = asked else { return Ok(own) };
    let asked: Vec<&str> = asked.split(' ').filter(|scope| !scope.is_empty()).collect();
    if asked.is_empty() || asked.iter().any(|scope| !own.contains(scope)) {
        return Err(Refusal::InvalidScope);
    }
    Ok(own.into_iter().filter(|scope| asked.contains(scope)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_what_was_asked_for_and_never_more_than_the_service_has() {
        let scopes = Scopes::stored("alerts:write credentials:read quotes:publish");
        let read = |asked| granted(&scopes, asked).map(|granted| granted.join(" "));
        assert_eq!(read(None).unwrap(), "alerts:write quotes:publish");
        assert_eq!(read(Some("quotes:publish")).unwrap(), "quotes:publish");
        assert_eq!(
            read(Some(" quotes:publish  alerts:write quotes:publish")).unwrap(),
            "alerts:write quotes:publish"
        );
        for more in
            ["credentials:read", "quotes:publish orders:write", "quotes", " ", "quotes:publish\talerts:write"]
        {
            assert!(matches!(read(Some(more)), Err(Refusal::InvalidScope)), "{more}");
        }
        let internal = Scopes::stored("revocations:read");
        assert!(matches!(granted(&internal, None), Err(Refusal::UnauthorizedClient)));
    }
}
