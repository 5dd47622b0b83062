//! What every handler is given: settings, clock, randomness, database, hashing threads, keys.

use std::ops::Deref;
use std::sync::Arc;

use countersign_claims::Verifier;

use crate::ambient::{self, Clock, Entropy};
use crate::config::Settings;
use crate::db::{Db, Readiness};
use crate::passwords::{Cost, HashError, Hasher};
use crate::tokens::LiveKeys;

/// The parts of a running issuer; cheap to clone.
#[derive(Debug, Clone)]
pub struct App(Arc<Parts>);

#[derive(Debug)]
pub struct Parts {
    pub settings: Settings,
    pub clock: Clock,
    pub entropy: Entropy,
    pub db: Db,
    pub readiness: Readiness,
    pub hasher: Hasher,
    pub keys: Arc<LiveKeys>,
    /// Checks our own bearer calls.
    pub verifier: Verifier,
}

impl App {
    /// # Errors
    /// [`HashError`] if the configured cost does not work or the hashing threads cannot start.
    pub fn new(
        settings: Settings,
        clock: Clock,
        entropy: Entropy,
        db: Db,
        keys: Arc<LiveKeys>,
    ) -> Result<Self, HashError> {
        let hashing = &settings.hashing;
        let hasher = Hasher::start(Cost::from(hashing), hashing.threads, hashing.queue)?;
        let tokens = &settings.tokens;
        let verifier = Verifier::new(tokens.issuer.clone(), vec![tokens.audience.clone()], tokens.clock_skew);
        let readiness = Readiness::new(db.clone(), &settings.database.file);
        Ok(Self(Arc::new(Parts { settings, clock, entropy, db, readiness, hasher, keys, verifier })))
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Parts {
    /// A new UUIDv7, as text.
    pub fn new_id(&self) -> String {
        ambient::new_id(&self.clock, &self.entropy).to_string()
    }
}
