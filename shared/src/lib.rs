//! What a Countersign access token says and how it is checked.
//!
//! The issuer and the edge filter both call this crate, so that they can never disagree about a token. It does
//! no I/O, reads no clock and draws no randomness: `now` is an argument. Nothing here may panic on input,
//! because a trap inside Envoy kills every stream of a worker.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing,
        clippy::string_slice
    )
)]

mod claims;
mod ed25519;
mod eddsa;
mod envelope;
mod jwk;
mod keyring;
#[cfg(feature = "sign")]
mod mint;
mod reject;
mod revocations;
mod strict_json;
mod verifier;

pub use claims::{AccessClaims, Audience, SERVICE};
pub use ed25519::{InvalidKey, VerifyingKey};
pub use eddsa::{Alg, Signature};
pub use envelope::MAX_TOKEN_BYTES;
pub use jwk::{Jwk, JwkSet};
pub use keyring::{InvalidKeyring, Keyring, MAX_KEYS, MAX_PREPARED_KEYS};
#[cfg(feature = "sign")]
pub use mint::{SigningKey, mint};
pub use reject::{PROBLEM_JSON, Problem, REALM, Reject};
pub use revocations::{Handle, MAX_REVOCATIONS, Revocation, Revocations, TooMany};
pub use verifier::{Verifier, Window};
