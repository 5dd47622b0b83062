//! Tokens that the issuer would not make, signed with its own key: only what they say is wrong with them.

use std::path::PathBuf;

use anyhow::{Context, Result};
use countersign_claims::{AccessClaims, Alg, SigningKey, mint};
use ed25519_dalek::pkcs8::DecodePrivateKey;

use super::visitor::{Visitor, read};
use crate::stack::State;

pub(super) struct Forger<'a> {
    visitor: &'a Visitor,
    keys: PathBuf,
}

impl<'a> Forger<'a> {
    pub(super) fn new(visitor: &'a Visitor, state: &State) -> Self {
        Self { visitor, keys: state.issuer_config().with_file_name("keys") }
    }

    /// The honest token with its claims changed, signed anew by the key that it names.
    pub(super) fn forge(&self, token: &str, change: impl FnOnce(&mut AccessClaims)) -> Result<String> {
        let (kid, mut claims) = read(token)?;
        change(&mut claims);
        let file = self.keys.join(format!("{kid}.pem"));
        let pem =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let key = SigningKey::from_pkcs8_pem(&pem).context("not a PKCS#8 key")?;
        let forged = mint(&kid, &claims, &key, Alg::EdDsa).context("cannot sign")?;
        self.visitor.remember(&forged);
        Ok(forged)
    }
}
