//! Access tokens and the keys that sign them. What a token says is decided here; what a token is, and how one is
//! checked, is in `countersign-claims`, which the edge shares.

pub mod http;
mod keys;
mod largest;
mod lifetimes;
mod minter;
pub mod reload;
pub mod schedule;
pub mod store;

pub use keys::{KeySet, LiveKeys, View};
pub use largest::oversize;
pub use lifetimes::{Lifetimes, NOTED_EVERY};
pub use minter::{Bearer, FIRST_PARTY, Minted, Minter, ServiceBearer, Signer};

use crate::config::Settings;

/// Where the published keys are.
pub const JWKS_PATH: &str = "/.well-known/jwks.json";

/// The `Cache-Control` of the keys, and of all that changes as rarely.
pub fn cache_control(settings: &Settings) -> String {
    format!("public, max-age={}", settings.jwks.max_age)
}
