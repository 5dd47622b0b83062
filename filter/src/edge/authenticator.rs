//! Who is calling: from the one credential of a request to a principal, or to why there is none.

use std::rc::Rc;

use countersign_claims::{Reject, Verifier};

use super::{Checks, Keys};
use crate::cache::TokenCache;
use crate::credential::Credential;
use crate::exchange::{ApiKey, Bad, Exchange, KeyDigest, Standing};
use crate::principal::{AuthMethod, ClaimHeader, Principal};
use crate::revoked::Revoked;
use crate::verdict::WaitOn;

/// The part of the state that authentication works on.
pub(super) struct Authenticator<'e> {
    pub(super) verifier: &'e Verifier,
    pub(super) keys: &'e mut Keys,
    pub(super) revoked: &'e Revoked,
    pub(super) exchange: &'e mut Option<Exchange>,
    pub(super) cache: &'e mut TokenCache,
    pub(super) claim_headers: &'e [ClaimHeader],
    pub(super) future: i64,
    pub(super) clock: fn() -> i64,
    pub(super) checks: &'e mut Checks,
    /// Who must answer before it can be decided.
    pub(super) wait: Option<WaitOn>,
    /// The credential was an API key that the issuer does not know.
    pub(super) foreign_key: bool,
}

impl Authenticator<'_> {
    pub(super) fn admit(&mut self, credential: &mut Credential<'_>) -> Result<Rc<Principal>, Reject> {
        match credential {
            Credential::Token { token, .. } => self.authenticate(token),
            Credential::ApiKey { digest, key } => self.exchange(*digest, key.take()),
        }
    }

    /// By the token that the issuer gave for an API key. `key`: to ask about it, if that has not been done.
    fn exchange(&mut self, digest: KeyDigest, key: Option<ApiKey>) -> Result<Rc<Principal>, Reject> {
        let Some(exchange) = self.exchange else { return Err(Reject::ApiKeyRefused) };
        let now = (self.clock)();
        match exchange.standing(digest, now) {
            Standing::Bad(why) => {
                self.foreign_key = why == Bad::Unknown;
                return Err(Reject::ApiKeyRefused);
            }
            Standing::Unavailable => return Err(Reject::Unavailable),
            Standing::Limited => return Err(Reject::ApiKeysLimited),
            Standing::Unknown => {}
            // That its token is over, or signed by a key that has been withdrawn, says nothing about an API key.
            Standing::Good(token) => match self.by_token(&token) {
                Err(Reject::Expired | Reject::UnknownKey) if key.is_some() && self.doubt(digest, now) => {}
                Err(Reject::Expired | Reject::UnknownKey) => return Err(Reject::Unavailable),
                outcome => return outcome,
            },
            Standing::Due(token) => match self.by_token(&token) {
                Err(Reject::Expired | Reject::UnknownKey) => {}
                outcome => {
                    self.ask(key);
                    return outcome;
                }
            },
        }
        if self.ask(key) {
            self.wait = Some(WaitOn::ApiKey(digest));
        }
        Err(Reject::Unavailable)
    }

    /// By a token that was given for an API key.
    fn by_token(&mut self, token: &[u8]) -> Result<Rc<Principal>, Reject> {
        let principal = self.authenticate(token)?;
        if principal.method() == AuthMethod::ApiKey { Ok(principal) } else { Err(Reject::InvalidClaims) }
    }

    /// Whether a key is to be asked about again whose token is no longer good.
    fn doubt(&mut self, digest: KeyDigest, now: i64) -> bool {
        self.exchange.as_mut().is_some_and(|exchange| exchange.doubt(digest, now))
    }

    /// Has the issuer asked about a key, if this request brings it. Whether there will be an answer.
    fn ask(&mut self, key: Option<ApiKey>) -> bool {
        match (&mut self.exchange, key) {
            (Some(exchange), Some(key)) => exchange.want(key),
            _ => false,
        }
    }

    /// What was verified of a credential that was admitted.
    pub(super) fn token_of<'c>(&'c self, credential: &'c Credential<'_>) -> Option<&'c [u8]> {
        match credential {
            Credential::Token { token, .. } => Some(token),
            Credential::ApiKey { digest, .. } => self.exchange.as_ref()?.token_for(*digest),
        }
    }

    fn authenticate(&mut self, token: &[u8]) -> Result<Rc<Principal>, Reject> {
        self.revoked.decided()?;
        let principal = match self.cache.get(token) {
            Some(principal) => {
                self.checks.cached = self.checks.cached.saturating_add(1);
                principal
            }
            None => {
                let principal = Rc::new(self.verify(token)?);
                self.revoked.check(&principal)?;
                self.cache.insert(token, Rc::clone(&principal));
                principal
            }
        };
        self.still_valid(&principal).inspect_err(|_| self.cache.remove(token))?;
        Ok(principal)
    }

    fn verify(&mut self, token: &[u8]) -> Result<Principal, Reject> {
        self.checks.verified = self.checks.verified.saturating_add(1);
        match self.verifier.verify(token, &self.keys.ring, (self.clock)()) {
            Ok(claims) => Principal::new(&claims, self.verifier.window(&claims), self.claim_headers),
            Err(reject @ (Reject::UnknownKey | Reject::Unavailable)) => {
                self.keys.unknown_seen = true;
                self.wait = self.keys.coming.then_some(WaitOn::Keys);
                Err(if self.keys.awaited { Reject::Unavailable } else { reject })
            }
            Err(reject) => Err(reject),
        }
    }

    /// What a principal must satisfy on every request, remembered or just verified. Those of sessions that have ended are
    /// not remembered.
    fn still_valid(&self, principal: &Principal) -> Result<(), Reject> {
        // Asking the host for the time is a good part of what a request costs. Whoever was valid when it was verified,
        // and is valid later, is valid now.
        match principal.window().check(self.future) {
            Ok(()) => Ok(()),
            Err(_) => principal.window().check((self.clock)()),
        }
    }
}
