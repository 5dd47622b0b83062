//! The signing keys: read from the files that `[[keys]]` names, and swapped while the issuer runs. A set that is
//! not sound never replaces one that is, and no private key leaves this module but to sign.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use countersign_claims::{Alg, Jwk, JwkSet, Keyring, MAX_KEYS, SigningKey, VerifyingKey};
use ed25519_dalek::pkcs8::DecodePrivateKey as _;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::schedule::{InvalidSchedule, Schedule, State};
use crate::config::{Finding, Settings, readable_by_others};

/// The keys of one version of the configuration.
#[derive(Clone)]
pub struct KeySet {
    schedule: Schedule,
    pairs: BTreeMap<String, Pair>,
    /// The name that the set and its tokens have for the algorithm.
    alg: Alg,
}

#[derive(Clone)]
struct Pair {
    private: SigningKey,
    public: VerifyingKey,
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet").field("schedule", &self.schedule).finish_non_exhaustive()
    }
}

impl KeySet {
    /// Reads the keys that `settings` names and checks that one of them signs at `now`. `overlap` is how long a key
    /// outlives its last signature: the longest lifetime of a token that may still be alive, plus clock skew.
    ///
    /// The set is `None` if any finding is an error. The file of a revoked key is not read: it may be gone.
    pub fn load(settings: &Settings, overlap: i64, now: i64) -> (Option<Self>, Vec<Finding>) {
        let file = settings.file.display();
        let mut findings = Vec::new();
        let mut pairs = BTreeMap::new();
        for (index, line) in settings.keys.iter().enumerate().filter(|(_, line)| !line.revoked) {
            let key = format!("keys[{index}].file");
            match read_pair(&line.file) {
                Ok(pair) => {
                    pairs.insert(line.kid.clone(), pair);
                    let open = readable_by_others(&line.file);
                    findings.extend(open.map(|text| Finding::warning(&file, &key, text)));
                }
                Err(reason) => {
                    let message = format!("key {:?}: {} {reason}", line.kid, line.file.display());
                    findings.push(Finding::error(&file, &key, message));
                }
            }
        }
        if pairs.len() > MAX_KEYS {
            findings.push(Finding::error(&file, "keys", format!("more than {MAX_KEYS} keys")));
        }
        let schedule = match Schedule::of(&settings.keys, overlap) {
            Ok(schedule) => schedule,
            Err(error) => {
                let key = match error {
                    InvalidSchedule::DuplicateKid(_) => "keys.kid",
                    InvalidSchedule::SameMoment(..) => "keys.sign_from",
                };
                findings.push(Finding::error(&file, key, error.to_string()));
                return (None, findings);
            }
        };
        if schedule.signing(now).is_none() {
            let reason = if settings.keys.is_empty() {
                "there is no key; `countersign keys rotate` makes the first one"
            } else {
                "no key signs now: every sign_from is still to come or its key is revoked"
            };
            findings.push(Finding::error(&file, "keys", reason));
        }
        let sound = !findings.iter().any(Finding::is_error);
        (sound.then_some(Self { schedule, pairs, alg: settings.tokens.alg }), findings)
    }

    /// Whether these are the same keys at the same times.
    pub fn is_same_as(&self, other: &Self) -> bool {
        let keys = |set: &Self| {
            set.pairs.iter().map(|(kid, pair)| (kid.clone(), pair.private.clone())).collect::<Vec<_>>()
        };
        self.schedule == other.schedule && keys(self) == keys(other)
    }

    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The keys whose `sign_from` comes before verifiers can have fetched them, given that `self` is new now.
    ///
    /// Only keys that `previous` did not have count; `max_age` is how long a fetched key set may be used.
    pub fn hasty(&self, previous: &Self, now: i64, max_age: i64) -> Vec<String> {
        let known = |kid: &str| previous.pairs.contains_key(kid);
        let soon = now.saturating_add(max_age);
        let new =
            self.schedule.states(now).map(|(slot, _)| slot).filter(|slot| !slot.revoked && !known(&slot.kid));
        new.filter(|slot| slot.sign_from < soon).map(|slot| slot.kid.clone()).collect()
    }

    /// The keys that `previous` publishes and `self` neither publishes nor revokes: nobody said that their tokens
    /// shall be refused.
    pub fn dropped(&self, previous: &Self, now: i64) -> Vec<String> {
        let kept = self.schedule.states(now).filter(|(_, state)| *state != State::Retired);
        let kept: BTreeSet<&str> = kept.map(|(slot, _)| slot.kid.as_str()).collect();
        previous.schedule.published(now).filter(|kid| !kept.contains(kid)).map(str::to_owned).collect()
    }

    fn published(&self, now: i64) -> impl Iterator<Item = (&str, &VerifyingKey)> {
        self.schedule.published(now).filter_map(|kid| Some((kid, &self.pairs.get(kid)?.public)))
    }

    /// The published keys (RFC 7517).
    pub fn jwks(&self, now: i64) -> JwkSet {
        JwkSet { keys: self.published(now).map(|(kid, key)| Jwk::ed25519(kid, key, self.alg)).collect() }
    }
}

fn read_pair(file: &Path) -> Result<Pair, String> {
    if file.is_dir() {
        return Err("is a directory".to_owned());
    }
    let pem = std::fs::read_to_string(file).map_err(|error| format!("cannot be read: {error}"))?;
    let pem = Zeroizing::new(pem);
    let private = SigningKey::from_pkcs8_pem(&pem)
        .map_err(|_| "is not an Ed25519 private key in PKCS#8 PEM (\"BEGIN PRIVATE KEY\")".to_owned())?;
    let public = VerifyingKey::from_bytes(private.verifying_key().as_bytes()).map_err(|e| e.to_string())?;
    Ok(Pair { private, public })
}

/// The keys in force, replaced while requests run.
#[derive(Debug)]
pub struct LiveKeys {
    current: ArcSwap<KeySet>,
    view: ArcSwapOption<View>,
    refused: AtomicU64,
}

/// What the keys in force amount to during `span`.
#[derive(Debug)]
pub struct View {
    set: Arc<KeySet>,
    span: Range<i64>,
    signing: Option<String>,
    /// The published keys, to verify with.
    pub keyring: Keyring,
    /// The published keys as they are served (RFC 7517).
    pub jwks: Bytes,
    /// A strong entity tag of `jwks`, quotes included (RFC 9110 §8.8.3).
    pub etag: String,
}

impl View {
    fn new(set: Arc<KeySet>, now: i64) -> Self {
        let keyring = Keyring::new(set.published(now).map(|(kid, key)| (kid.to_owned(), key.clone())));
        let jwks = Bytes::from(serde_json::to_vec(&set.jwks(now)).unwrap_or_default());
        let digest: [u8; 32] = Sha256::digest(&jwks).into();
        let etag = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect::<String>();
        Self {
            span: set.schedule.span(now),
            signing: set.schedule.signing(now).map(str::to_owned),
            // `load` has refused what a keyring refuses.
            keyring: keyring.unwrap_or_default(),
            jwks,
            etag: format!("\"{etag}\""),
            set,
        }
    }

    /// How many keys are published.
    pub fn published(&self) -> usize {
        self.set.published(self.span.start).count()
    }

    /// When the key that signs began to, in unix seconds.
    pub fn signing_since(&self) -> Option<i64> {
        let kid = self.signing.as_deref()?;
        self.set.schedule.sign_from(kid)
    }

    /// The key that signs, with its kid; `None` if there is a gap.
    pub fn signing(&self) -> Option<(&str, &SigningKey)> {
        let kid = self.signing.as_deref()?;
        Some((kid, &self.set.pairs.get(kid)?.private))
    }
}

impl LiveKeys {
    pub fn new(set: KeySet) -> Self {
        Self { current: ArcSwap::from_pointee(set), view: ArcSwapOption::empty(), refused: AtomicU64::new(0) }
    }

    /// The view at `now`, computed once for each span and version.
    pub fn at(&self, now: i64) -> Arc<View> {
        let set = self.current.load();
        if let Some(view) = &*self.view.load()
            && view.span.contains(&now)
            && Arc::ptr_eq(&view.set, &set)
        {
            return Arc::clone(view);
        }
        let view = Arc::new(View::new(Arc::clone(&set), now));
        self.view.store(Some(Arc::clone(&view)));
        view
    }

    pub fn current(&self) -> Arc<KeySet> {
        self.current.load_full()
    }

    pub fn replace(&self, set: KeySet) {
        self.current.store(Arc::new(set));
    }

    /// Counts a configuration that was refused while running.
    pub fn count_refusal(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Configurations refused since the start.
    pub fn refusals(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}
