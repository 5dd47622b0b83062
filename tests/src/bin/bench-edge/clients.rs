//! Who sends the load: signing keys, and files with one valid token a line.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use countersign_claims::{AccessClaims, Alg, Audience, Jwk, JwkSet, SigningKey, VerifyingKey, mint};

pub(crate) const ISSUER: &str = "user_service";
pub(crate) const AUDIENCE: &str = "trading_platform";

/// Longer than any run.
const LIFETIME_SECONDS: i64 = 24 * 60 * 60;

/// An issuer with some keys; each signs its share of the tokens.
#[derive(Debug)]
pub(crate) struct Issuer {
    keys: Vec<(String, SigningKey)>,
}

/// A set of clients with a token each.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    pub(crate) file: PathBuf,
    pub(crate) first: Client,
}

#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) token: String,
    pub(crate) user_id: String,
    pub(crate) email: String,
}

impl Issuer {
    /// The same keys in every run: nothing here is secret.
    pub(crate) fn new(keys: u8) -> Self {
        let key = |seed: u8| (format!("bench-{seed}"), SigningKey::from_bytes(&[seed; 32]));
        Self { keys: (1..=keys).map(key).collect() }
    }

    pub(crate) fn jwks(&self) -> Result<JwkSet> {
        let published = |(kid, key): &(String, SigningKey)| {
            Ok(Jwk::ed25519(kid, &VerifyingKey::from_bytes(&key.verifying_key().to_bytes())?, Alg::EdDsa))
        };
        Ok(JwkSet { keys: self.keys.iter().map(published).collect::<Result<_>>()? })
    }

    /// Writes the tokens of `count` clients to `file`. Clients of sets with different names are different.
    pub(crate) fn clients(&self, folder: &Path, name: &str, count: usize) -> Result<Clients> {
        let file = folder.join(format!("{name}.tokens"));
        let mut out = BufWriter::new(File::create(&file).with_context(|| file.display().to_string())?);
        let now = unix_now()?;
        let mut first = None;
        for at in 0..count {
            let client = self.client(name, at, now)?;
            writeln!(out, "{}", client.token)?;
            first.get_or_insert(client);
        }
        out.flush()?;
        Ok(Clients { file, first: first.context("a set of no clients")? })
    }

    /// The claims of a real access token, less those that only our filter would make headers of (session, roles):
    /// the native one is given no claims to copy but these.
    fn client(&self, set: &str, at: usize, now: i64) -> Result<Client> {
        let (kid, key) = &self.keys[at % self.keys.len()];
        let user_id = format!("0195f2c4-7a31-7c3e-9b1d-{at:012x}");
        let email = format!("{set}.{at}@example.com");
        let claims = AccessClaims {
            iss: ISSUER.into(),
            aud: Audience::One(AUDIENCE.into()),
            sub: user_id.clone(),
            exp: now + LIFETIME_SECONDS,
            nbf: None,
            iat: Some(now),
            jti: Some(format!("{set}-{at:012x}")),
            client_id: Some("first-party".into()),
            session_id: None,
            credential_id: None,
            email: Some(email.clone()),
            name: None,
            roles: vec![],
            scope: None,
            amr: vec!["pwd".into()],
            auth_time: Some(now),
        };
        Ok(Client { token: mint(kid, &claims, key, Alg::EdDsa)?, user_id, email })
    }
}

impl Client {
    /// The token with a signature that does not fit it.
    pub(crate) fn forged(&self) -> String {
        let (message, signature) = self.token.rsplit_once('.').unwrap_or_default();
        let other = if signature.starts_with('A') { "B" } else { "A" };
        format!("{message}.{other}{}", signature.get(1..).unwrap_or_default())
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that asks what time it is: Envoy will, too")]
fn unix_now() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?)
}
