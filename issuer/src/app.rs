//! The parts of a running issuer, put together once. A handler is given the parts that it names, by `FromRef`.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::extract::FromRef;
use countersign_claims::Verifier;

use crate::ambient::{Clock, Ids};
use crate::config::{Roles, Settings};
use crate::db::{Db, Readiness};
use crate::login;
use crate::mail::{self, Outbox};
use crate::metrics::{Live, Metrics};
use crate::passwords::{Cost, HashError, Hasher, NewPasswords, Policy};
use crate::secrets::Ring;
use crate::sessions::grant::Grants;
use crate::sessions::{self, Callers, RefreshCookie};
use crate::tokens::http::Published;
use crate::tokens::{LiveKeys, Minter};
use crate::verification::Verification;
use crate::web::{self, CookieRules, Origins, TrustedProxies};

/// Cheap to clone.
#[derive(Debug, Clone, FromRef)]
pub struct App {
    pub db: Db,
    pub readiness: Readiness,
    pub clock: Clock,
    pub ids: Ids,
    pub hasher: Hasher,
    pub new_passwords: NewPasswords,
    pub keys: Arc<LiveKeys>,
    pub grants: Grants,
    pub callers: Callers,
    pub origins: Origins,
    pub roles: Arc<Roles>,
    pub proxies: TrustedProxies,
    pub outbox: Outbox,
    pub verification: Verification,
    pub mails: mail::Metrics,
    pub published: Published,
    pub requests: web::Metrics,
    pub logins: login::Metrics,
    pub refreshes: sessions::Metrics,
    pub metrics: Metrics,
}

impl App {
    /// # Errors
    /// [`HashError`] if the configured cost does not work or the hashing threads cannot start.
    pub fn new(
        settings: &Settings,
        ids: Ids,
        db: Db,
        keys: Arc<LiveKeys>,
        restarts: Arc<AtomicU64>,
    ) -> Result<Self, HashError> {
        let hashing = &settings.hashing;
        let hasher = Hasher::start(Cost::from(hashing), hashing.threads, hashing.queue)?;
        let tokens = &settings.tokens;
        let verifier = Verifier::new(tokens.issuer.clone(), vec![tokens.audience.clone()], tokens.clock_skew);
        let origins = Origins::new(&settings.server.public_url, &settings.cors);
        let roles = Arc::new(settings.roles.clone());
        let clock = ids.clock.clone();
        let new_passwords = NewPasswords {
            hasher: hasher.clone(),
            policy: Policy::from(&settings.passwords),
            entropy: ids.entropy.clone(),
        };
        let grants = Grants {
            rules: sessions::Rules::from(settings),
            minter: Minter::new(settings, Arc::clone(&keys), ids.clone()),
            cookie: RefreshCookie {
                rules: CookieRules { secure: settings.cookies.secure },
                ring: Ring::from(&settings.secrets),
            },
            origins: origins.clone(),
            roles: Arc::clone(&roles),
            ids: ids.clone(),
        };
        let callers = Callers {
            db: db.clone(),
            keys: Arc::clone(&keys),
            verifier: Arc::new(verifier),
            clock: clock.clone(),
        };
        let (requests, logins) = (web::Metrics::default(), login::Metrics::default());
        let (refreshes, mails) = (sessions::Metrics::default(), mail::Metrics::default());
        let outbox = Outbox::new(settings, ids.clone());
        let metrics = Metrics::new(|registry| {
            requests.register(registry);
            logins.register(registry);
            refreshes.register(registry);
            mails.register(registry);
            hasher.register(registry);
            db.register(registry);
            registry.register_collector(Box::new(Live {
                keys: Arc::clone(&keys),
                clock: clock.clone(),
                db: db.clone(),
                restarts,
            }));
        });
        Ok(Self {
            readiness: Readiness::new(db.clone(), &settings.database.url),
            published: Published::new(settings),
            proxies: TrustedProxies::new(&settings.server.trusted_proxies),
            verification: Verification::new(outbox.clone(), ids.clone()),
            outbox,
            mails,
            db,
            clock,
            ids,
            hasher,
            new_passwords,
            keys,
            grants,
            callers,
            origins,
            roles,
            requests,
            logins,
            refreshes,
            metrics,
        })
    }
}
