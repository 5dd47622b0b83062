//! The parts of a running issuer, put together once. A handler is given the parts that it names, by `FromRef`.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::extract::FromRef;
use countersign_claims::Verifier;

use crate::accounts::Registrations;
use crate::ambient::{Clock, Ids};
use crate::api_keys::{self, ApiKeys};
use crate::audit;
use crate::compat::Compat;
use crate::config::{Roles, Served, Settings};
use crate::db::{Db, Readiness};
use crate::envelope::Envelope;
use crate::feed::Feed;
use crate::limits::{Limits, Throttle};
use crate::login::{self, Logins};
use crate::mail::{self, Outbox};
use crate::metrics::{Live, Metrics};
use crate::mfa::Mfa;
use crate::oauth::OAuth;
use crate::passwords::{BreachedList, Cost, HashError, Hasher, NewPasswords, Policy, Resets};
use crate::secrets::Ring;
use crate::services::{Issuing, Services};
use crate::sessions::grant::Grants;
use crate::sessions::{self, Callers, RefreshCookie, Sessions};
use crate::tokens::http::Published;
use crate::tokens::{LiveKeys, Minter};
use crate::trading_accounts::TradingAccounts;
use crate::verification::Verification;
use crate::web::{self, CookieRules, Origins, TrustedProxies};

/// What every request is given: one pointer, since axum clones it several times for each of them.
#[derive(Debug, Clone)]
pub struct App(Arc<Parts>);

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// Names the parts, and hands each of them to the handlers that ask for it.
macro_rules! parts {
    ($($name:ident: $part:ty,)*) => {
        #[derive(Debug)]
        pub struct Parts {
            $(pub $name: $part,)*
        }

        $(impl FromRef<App> for $part {
            fn from_ref(app: &App) -> Self {
                app.$name.clone()
            }
        })*
    };
}

parts! {
    db: Db,
    readiness: Readiness,
    clock: Clock,
    ids: Ids,
    hasher: Hasher,
    new_passwords: NewPasswords,
    keys: Arc<LiveKeys>,
    ring: Ring,
    grants: Grants,
    callers: Callers,
    origins: Origins,
    roles: Arc<Roles>,
    proxies: TrustedProxies,
    outbox: Outbox,
    verification: Verification,
    mails: mail::Metrics,
    published: Published,
    served: Served,
    requests: web::Metrics,
    limits: Limits,
    mfa: Mfa,
    audit: audit::Metrics,
    registrations: Registrations,
    resets: Resets,
    logins: Logins,
    sessions: Sessions,
    services: Services,
    feed: Feed,
    api_keys: ApiKeys,
    trading_accounts: TradingAccounts,
    oauth: OAuth,
    compat: Compat,
    metrics: Metrics,
}

impl App {
    /// # Errors
    /// [`HashError`] if the configured cost does not work, the hashing threads cannot start, or the list of breached
    /// passwords cannot be used.
    pub fn new(
        settings: &Settings,
        ids: Ids,
        db: Db,
        keys: Arc<LiveKeys>,
        restarts: Arc<AtomicU64>,
    ) -> Result<Self, HashError> {
        let hashing = &settings.hashing;
        let hasher = Hasher::start(Cost::from(hashing), hashing.threads, hashing.queue)?
            .refusing(BreachedList::configured(&settings.passwords)?);
        let tokens = &settings.tokens;
        let verifier = Verifier::new(tokens.issuer.clone(), vec![tokens.audience.clone()], tokens.clock_skew);
        let origins = Origins::new(&settings.server.public_url, &settings.cors);
        let roles = Arc::new(settings.roles.clone());
        let clock = ids.clock.clone();
        let ring = Ring::from(&settings.secrets);
        let limits = Limits::new(&settings.limits, ring.clone());
        let mfa = Mfa::new(&settings.mfa, ring.clone(), limits.clone(), ids.entropy.clone());
        let outbox = Outbox::new(settings, ids.clone());
        let verification = Verification::new(db.clone(), outbox.clone(), limits.clone(), ids.clone());
        let new_passwords = NewPasswords {
            hasher: hasher.clone(),
            policy: Policy::from(&settings.passwords),
            entropy: ids.entropy.clone(),
        };
        let grants = Grants {
            rules: sessions::Rules::from(settings),
            minter: Minter::new(settings, Arc::clone(&keys), ids.clone()),
            access_lifetime: tokens.access_lifetime,
            cookie: RefreshCookie {
                rules: CookieRules { secure: settings.cookies.secure },
                ring: ring.clone(),
                path: "/v1/auth",
            },
            origins: origins.clone(),
            roles: Arc::clone(&roles),
            outbox: outbox.clone(),
            ids: ids.clone(),
        };
        let callers = Callers {
            db: db.clone(),
            keys: Arc::clone(&keys),
            verifier: Arc::new(verifier),
            clock: clock.clone(),
        };
        let registrations = Registrations {
            db: db.clone(),
            limits: limits.clone(),
            passwords: new_passwords.clone(),
            verification: verification.clone(),
            grants: grants.clone(),
        };
        let resets = Resets {
            db: db.clone(),
            passwords: new_passwords.clone(),
            verification: verification.clone(),
            outbox: outbox.clone(),
            limits: limits.clone(),
            rules: grants.rules,
        };
        let logins = Logins {
            db: db.clone(),
            hasher: hasher.clone(),
            grants: grants.clone(),
            limits: limits.clone(),
            mfa: mfa.clone(),
            metrics: login::Metrics::default(),
        };
        let sessions =
            Sessions { db: db.clone(), grants: grants.clone(), metrics: sessions::Metrics::default() };
        let services = Services::new(&settings.services, db.clone(), clock.clone());
        let issuing = Issuing::new(&settings.services, &services, &limits, &grants.minter);
        let api_keys = ApiKeys {
            db: db.clone(),
            clock: clock.clone(),
            entropy: ids.entropy.clone(),
            roles: Arc::clone(&roles),
            minter: grants.minter.clone(),
            access_lifetime: tokens.access_lifetime,
            rules: grants.rules,
            throttle: Throttle::default(),
            metrics: api_keys::Metrics::default(),
        };
        let envelope = Envelope::new(&settings.encryption, ids.entropy.clone());
        let trading_accounts = TradingAccounts::new(settings, db.clone(), envelope, ids.clone());
        let feed = Feed::new(db.clone(), clock.clone());
        let (requests, audit) = (web::Metrics::default(), audit::Metrics::default());
        let mails = mail::Metrics::default();
        let metrics = Metrics::new(|registry| {
            requests.register(registry);
            logins.metrics.register(registry);
            sessions.metrics.register(registry);
            audit.register(registry);
            mails.register(registry);
            feed.metrics.register(registry);
            api_keys.metrics.register(registry);
            trading_accounts.metrics.register(registry);
            services.metrics.register(registry);
            trading_accounts.envelope.metrics.register(registry);
            hasher.register(registry);
            db.register(registry);
            registry.register_collector(Box::new(Live {
                keys: Arc::clone(&keys),
                clock: clock.clone(),
                db: db.clone(),
                restarts,
            }));
        });
        Ok(Self(Arc::new(Parts {
            oauth: OAuth::new(settings, &logins, &sessions, &callers, issuing),
            compat: Compat::new(settings, &logins, &registrations, &resets, &sessions, &callers),
            readiness: Readiness::new(db.clone(), &settings.database.url),
            published: Published::new(settings),
            proxies: TrustedProxies::new(&settings.server.trusted_proxies),
            verification,
            outbox,
            mails,
            db,
            clock,
            ids,
            hasher,
            new_passwords,
            keys,
            ring,
            grants,
            callers,
            origins,
            roles,
            served: settings.served(),
            requests,
            limits,
            mfa,
            audit,
            registrations,
            resets,
            logins,
            sessions,
            services,
            feed,
            api_keys,
            trading_accounts,
            metrics,
        })))
    }
}
