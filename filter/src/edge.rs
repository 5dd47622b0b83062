//! One worker's whole state, and the way of a request through it.
//!
//! Does no host calls: it takes a request and the time, and gives a verdict.

use std::rc::Rc;

use countersign_claims::{InvalidKeyring, Keyring, Reject, Revocation, Revocations, TooMany, Verifier};

use crate::cache::{Seeds, TokenCache};
use crate::config::Config;
use crate::credential::subprotocol::Offer;
use crate::credential::{Held, Presented, query};
use crate::exchange::Exchange;
use crate::policy::{Access, Mode};
use crate::request::{Field, RequestView};
use crate::revoked::{self, Revoked};
use crate::verdict::{Decision, Edits, Verdict, Wait, WaitOn};
use crate::websocket::Lifetime;

use authenticator::Authenticator;

mod authenticator;

/// Longer than the time from one tick to the next, in seconds. Only a process that stood still for longer (stopped,
/// suspended) could take a remembered token for valid after its end, in the moment until the tick that is due.
const LONGEST_PAUSE: i64 = 60;

/// What a worker decides with.
#[derive(Debug)]
pub struct Edge {
    config: Config,
    verifier: Verifier,
    keys: Keys,
    revoked: Revoked,
    /// If API keys are taken.
    pub exchange: Option<Exchange>,
    cache: TokenCache,
    /// A time that has not come yet: see [`tick`](Self::tick).
    future: i64,
    /// Tokens checked since the counters were last read: from the cache, by their signature.
    pub checks: Checks,
}

/// Whether a request may wait for an answer from outside.
#[derive(Debug, Clone, Copy)]
pub enum Waiting<'h> {
    Allowed,
    /// Too many do.
    Full,
    /// It has, for this, with that for its credential.
    Over(WaitOn, &'h Held),
}

impl Waiting<'_> {
    /// Whether it may wait for this. The token that an API key was exchanged for may be the first of a new key: for that one,
    /// too, and then for nothing more.
    fn allows(self, on: WaitOn) -> bool {
        match self {
            Self::Allowed => true,
            Self::Full => false,
            Self::Over(waited, _) => matches!((waited, on), (WaitOn::ApiKey(_), WaitOn::Keys)),
        }
    }
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
    /// The issuer is being asked, or may be asked at once: see [`Edge::set_keys_coming`].
    coming: bool,
}

impl Edge {
    pub fn new(config: Config, seeds: Seeds) -> Self {
        let verifier = Verifier::new(config.issuer.clone(), config.audiences.clone(), config.clock_skew);
        let awaited = config.keys.remote.is_some();
        config.keys.inline.prepare();
        let keys = Keys { ring: config.keys.inline.clone(), awaited, unknown_seen: false, coming: false };
        let cache = TokenCache::new(config.cache_bytes, seeds);
        let revoked = Revoked::default();
        let exchange = config.api_keys.as_ref().map(|api_keys| Exchange::new(api_keys.cache));
        // Until the first tick, nothing is known of the time.
        Self { config, verifier, keys, revoked, exchange, cache, future: i64::MAX, checks: Checks::default() }
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
        self.keys = Keys { ring, awaited: true, unknown_seen: false, coming: self.keys.coming };
        self.cache.clear();
    }

    /// Whether a token has named an unknown key since the issuer was asked for the last time: a reason to ask early.
    pub fn lacks_key(&self) -> bool {
        self.keys.unknown_seen
    }

    /// Whether it is worth while to wait for keys: they are being fetched, or would be at once.
    pub fn set_keys_coming(&mut self, coming: bool) {
        self.keys.coming = coming;
    }

    /// Takes notice that the issuer is being asked.
    pub fn asked_for_keys(&mut self) {
        self.keys.unknown_seen = false;
    }

    /// What is known of sessions that have ended.
    pub fn revoked(&self) -> &Revoked {
        &self.revoked
    }

    /// Refuses the tokens of these sessions from now on, remembered ones too.
    ///
    /// # Errors
    /// [`TooMany`]; nothing changes.
    pub fn revoke(&mut self, sessions: &[Revocation]) -> Result<(), TooMany> {
        if !sessions.is_empty() {
            self.revoked.extend(sessions)?;
            self.cache.forget(sessions.iter().map(|revocation| revocation.handle));
        }
        Ok(())
    }

    /// As [`revoke`](Self::revoke), with these and no others.
    pub fn revoke_only(&mut self, sessions: Revocations) {
        self.revoked.replace(sessions);
        self.cache.forget(self.revoked.set().iter().map(|revocation| revocation.handle));
    }

    /// Lets go of revocations that concern no token any more. `now`: Unix seconds.
    pub fn forget_expired_revocations(&mut self, now: i64) {
        self.revoked.forget_expired(now);
    }

    /// Whether it cannot be told what is revoked, so that nobody passes.
    pub fn set_undecided(&mut self, undecided: bool) {
        self.revoked.undecided = undecided;
    }

    /// Takes notice of the time (Unix seconds), several times a second.
    pub fn tick(&mut self, now: i64) {
        self.future = now.saturating_add(LONGEST_PAUSE);
    }

    /// Decides about a request. `clock` tells Unix seconds.
    pub fn judge<'a>(
        &'a mut self,
        view: &'a RequestView<'a>,
        waiting: Waiting<'_>,
        clock: fn() -> i64,
    ) -> Verdict<'a> {
        // Apart from `config`, all that deciding may change.
        let Self { config, verifier, keys, revoked, exchange, cache, future, checks } = self;
        let names = config.policy.query_names();
        let target = view.path.single().unwrap_or_default();
        let mut edits = Edits {
            spoofed: &view.spoofed,
            strip_api_key: config.api_keys.is_some() && view.api_key != Field::Absent,
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
                return Verdict::new(Decision::Denied(reject), None, edits, told);
            }
        };
        edits.plain_connection = view.nominates_headers();
        let Access::Caller(demands) = &rule.access else {
            edits.path = query::scrub_signed_tokens(target, names).target;
            edits.protocols = Offer::read(&view.protocols).remaining();
            return Verdict::new(Decision::Public, Some(rule), edits, told);
        };

        let mut presented = Presented::read(view, target, names);
        edits.path = presented.scrubbed_target();
        edits.protocols = presented.remaining_protocols();
        let mut forward_authorization = config.forward_authorization;
        let mut authenticator = Authenticator {
            verifier,
            keys,
            revoked,
            exchange,
            cache,
            claim_headers: &config.claim_headers,
            future: *future,
            clock,
            checks,
            wait: None,
            foreign_key: false,
        };
        let credential = match waiting {
            Waiting::Over(_, held) => Ok(held.credential()),
            Waiting::Allowed | Waiting::Full => presented.credential(&rule.accepted),
        };
        // A rule that only observes holds up no request, and ends no stream. But it must be known whether a key is the
        // upstream's own before it goes on, or does not.
        let enforced = rule.mode == Mode::Enforce;
        let passes_keys = rule.unknown_api_key_passes;
        let may_wait = |on: &WaitOn| match on {
            WaitOn::ApiKey(_) => enforced || passes_keys,
            WaitOn::Keys => enforced,
        };
        let (mut wait, mut lifetime) = (None, None);
        let outcome = credential.and_then(|mut credential| {
            let principal = authenticator.admit(&mut credential).map_err(|reject| {
                let on = authenticator.wait.filter(may_wait);
                let reject = match (waiting, on) {
                    (Waiting::Full, Some(WaitOn::ApiKey(_))) => Reject::ApiKeysLimited,
                    _ => reject,
                };
                let on = on.filter(|on| waiting.allows(*on));
                wait = on.map(|on| Wait { on, held: credential.hold() });
                presented.explain(&rule.accepted, reject)
            })?;
            edits.identity = Some(Rc::clone(&principal));
            forward_authorization &= credential.is_authorization();
            if rule.forward_token && !forward_authorization {
                edits.authorization =
                    authenticator.token_of(&credential).map(|token| [b"Bearer ", token].concat());
            }
            let ends = || Lifetime { until: principal.window().until, session: revoked::session(&principal) };
            lifetime = (enforced && view.is_websocket()).then(ends);
            rule.admits_origin(view.origin)?;
            demands.authorize(&principal, clock, config.clock_skew)
        });
        edits.strip_authorization = !forward_authorization && view.authorization != Field::Absent;
        let foreign_key = passes_keys && authenticator.foreign_key;
        // As long as a request waits, its key may be the upstream's own.
        let keeps_key = foreign_key || (passes_keys && wait.is_some());
        edits.strip_api_key &= !keeps_key;
        let decision = match (outcome, rule.mode) {
            (Ok(()), _) => Decision::Admitted,
            (Err(reject), mode) if foreign_key || mode == Mode::Observe => Decision::Observed(reject),
            (Err(reject), _) => {
                if wait.is_none() {
                    edits.path = query::without_tokens(target);
                }
                edits.authorization = None;
                Decision::Denied(reject)
            }
        };
        Verdict { wait, lifetime, ..Verdict::new(decision, Some(rule), edits, told) }
    }
}
