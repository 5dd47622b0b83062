//! One worker's whole state, and the way of a request through it.
//!
//! Does no host calls: it takes a request and the time, and gives a verdict.

use std::rc::Rc;

use countersign_claims::{InvalidKeyring, Keyring, Reject, Verifier};

use crate::cache::{Seeds, TokenCache};
use crate::config::Config;
use crate::credential::subprotocol::Offer;
use crate::credential::{Presented, query};
use crate::policy::{Access, Mode};
use crate::principal::{ClaimHeader, Principal};
use crate::request::{Field, RequestView};
use crate::verdict::{Decision, Edits, Verdict};

/// Longer than the time from one tick to the next, in seconds. Only a process that stood still for longer (stopped,
/// suspended) could take a remembered token for valid after its end, in the moment until the tick that is due.
const LONGEST_PAUSE: i64 = 60;

/// What a worker decides with.
#[derive(Debug)]
pub struct Edge {
    config: Config,
    verifier: Verifier,
    keys: Keys,
    cache: TokenCache,
    /// A time that has not come yet: see [`tick`](Self::tick).
    future: i64,
    /// Tokens checked since the counters were last read: from the cache, by their signature.
    pub checks: Checks,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Checks {
    pub cached: u64,
    pub verified: u64,
}

/// The keys in force, and whether they are all that could be known.
#[derive(Debug)]
struct Keys {
    ring: Keyring,
    /// The issuer has a set of its own, and it was never obtained.
    awaited: bool,
    /// A token named a key that is not in the ring, since the issuer was last asked.
    unknown_seen: bool,
}

impl Edge {
    pub fn new(config: Config, seeds: Seeds) -> Self {
        let verifier = Verifier::new(config.issuer.clone(), config.audiences.clone(), config.clock_skew);
        let awaited = config.keys.remote.is_some();
        config.keys.inline.prepare();
        let keys = Keys { ring: config.keys.inline.clone(), awaited, unknown_seen: false };
        let cache = TokenCache::new(config.cache_bytes, seeds);
        // Until the first tick, nothing is known of the time.
        Self { config, verifier, keys, cache, future: i64::MAX, checks: Checks::default() }
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How many keys are in force.
    pub fn keys(&self) -> usize {
        self.keys.ring.len()
    }

    /// How many verified tokens are remembered.
    pub fn cached_tokens(&self) -> usize {
        self.cache.len()
    }

    /// How many were forgotten to make room for others, since this was last asked.
    pub fn take_evictions(&mut self) -> u64 {
        self.cache.take_evictions()
    }

    /// Takes a set that the issuer publishes. What was verified with other keys is forgotten.
    ///
    /// # Errors
    /// The set is not sound, has no key to verify with, or contradicts the inline keys; the one in force stays.
    pub fn load_keys(&mut self, jwks: &[u8]) -> Result<(), InvalidKeyring> {
        let remote = Keyring::from_json(jwks)?;
        if remote.is_empty() {
            return Err(InvalidKeyring::NoUsableKey);
        }
        let mut ring = remote.merge(self.config.keys.inline.clone())?;
        self.keys.awaited = false;
        self.keys.unknown_seen = false;
        if ring != self.keys.ring {
            ring.adopt(&self.keys.ring);
            ring.prepare();
            self.keys.ring = ring;
            self.cache.clear();
        }
        Ok(())
    }

    /// Stops trusting what the issuer has published: only the configuration's own keys are left. Until there is another
    /// set, tokens with other keys cannot be decided about.
    pub fn forget_remote_keys(&mut self) {
        let mut ring = self.config.keys.inline.clone();
        ring.adopt(&self.keys.ring);
        self.keys = Keys { ring, awaited: true, unknown_seen: false };
        self.cache.clear();
    }

    /// Whether a token has named an unknown key since the issuer was asked for the last time: a reason to ask early.
    pub fn lacks_key(&self) -> bool {
        self.keys.unknown_seen
    }

    /// Takes notice that the issuer is being asked.
    pub fn asked_for_keys(&mut self) {
        self.keys.unknown_seen = false;
    }

    /// Takes notice of the time (Unix seconds), several times a second.
    pub fn tick(&mut self, now: i64) {
        self.future = now.saturating_add(LONGEST_PAUSE);
    }

    /// Decides about a request. `clock` tells Unix seconds.
    pub fn judge<'a>(&'a mut self, view: &'a RequestView<'a>, clock: fn() -> i64) -> Verdict<'a> {
        // Apart from `config`, all that deciding may change.
        let Self { config, verifier, keys, cache, future, checks } = self;
        let names = config.policy.query_names();
        let target = view.path.single().unwrap_or_default();
        let mut edits = Edits {
            spoofed: &view.spoofed,
            identity_headers: &config.identity_headers,
            claim_headers: &config.claim_headers,
            ..Edits::default()
        };
        let told = &*config.filter_state;
        let rule = match config.policy.rule_for(view) {
            Ok(rule) => rule,
            Err(reject) => {
                edits.path = query::without_tokens(target);
                edits.method = view.method_to_log();
                return Verdict { decision: Decision::Denied(reject), rule: None, edits, told };
            }
        };
        edits.plain_connection = view.nominates_headers();
        let Access::Caller(demands) = &rule.access else {
            edits.path = query::scrub_signed_tokens(target, names).target;
            edits.protocols = Offer::read(&view.protocols).remaining();
            return Verdict { decision: Decision::Public, rule: Some(rule), edits, told };
        };

        let mut presented = Presented::read(view, target, names);
        edits.path = presented.scrubbed_target();
        edits.protocols = presented.remaining_protocols();
        let mut forward_authorization = config.forward_authorization;
        let claim_headers = &config.claim_headers;
        let mut authenticator =
            Authenticator { verifier, keys, cache, claim_headers, future: *future, clock, checks };
        let outcome = presented.credential(&rule.accepted).and_then(|credential| {
            let principal = authenticator
                .authenticate(&credential.token)
                .map_err(|reject| presented.explain(&rule.accepted, reject))?;
            edits.identity = Some(Rc::clone(&principal));
            forward_authorization &= credential.is_authorization;
            if rule.forward_token && !forward_authorization {
                edits.authorization = Some([b"Bearer ", &*credential.token].concat());
            }
            demands.authorize(&principal, clock, config.clock_skew)
        });
        edits.strip_authorization = !forward_authorization && view.authorization != Field::Absent;
        let decision = match (outcome, rule.mode) {
            (Ok(()), _) => Decision::Admitted,
            (Err(reject), Mode::Observe) => Decision::Observed(reject),
            (Err(reject), Mode::Enforce) => {
                edits.path = query::without_tokens(target);
                edits.authorization = None;
                Decision::Denied(reject)
            }
        };
        Verdict { decision, rule: Some(rule), edits, told }
    }
}

/// The part of the state that authentication works on.
struct Authenticator<'e> {
    verifier: &'e Verifier,
    keys: &'e mut Keys,
    cache: &'e mut TokenCache,
    claim_headers: &'e [ClaimHeader],
    future: i64,
    clock: fn() -> i64,
    checks: &'e mut Checks,
}

impl Authenticator<'_> {
    fn authenticate(&mut self, token: &[u8]) -> Result<Rc<Principal>, Reject> {
        let principal = match self.cache.get(token) {
            Some(principal) => {
                self.checks.cached = self.checks.cached.saturating_add(1);
                principal
            }
            None => {
                let principal = Rc::new(self.verify(token)?);
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
                Err(if self.keys.awaited { Reject::Unavailable } else { reject })
            }
            Err(reject) => Err(reject),
        }
    }

    /// What a principal must satisfy on every request, remembered or just verified. Revocation is asked here.
    fn still_valid(&self, principal: &Principal) -> Result<(), Reject> {
        // Asking the host for the time is a good part of what a request costs. Whoever was valid when it was verified,
        // and is valid later, is valid now.
        match principal.window().check(self.future) {
            Ok(()) => Ok(()),
            Err(_) => principal.window().check((self.clock)()),
        }
    }
}
