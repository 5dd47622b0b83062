//! Encryption at rest, as an envelope: every record is sealed with a data key of its own, and that key is wrapped with a
//! key-encryption key, from a file or in AWS KMS. To replace the latter only the wrapped keys change, never a record.
//!
//! Record and wrapped key say where they belong: table, column, row and user. Moved elsewhere, neither opens. Plain data
//! keys and records live in memory that is wiped, and nothing prints them.

mod keyring;
mod kms;
mod kms_metrics;
mod metrics;

use std::fmt;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use crate::ambient::Entropy;
use crate::config;

pub use metrics::Metrics;

use keyring::{Keyring, WrappingKey};
use kms::Kms;
use metrics::{Operation, Outcome};

const KEY: usize = 32;
const NONCE: usize = 24;

/// A key for one record, wiped when dropped.
type DataKey = Zeroizing<[u8; KEY]>;

/// Where a record is, and whose it is.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub table: &'static str,
    pub column: &'static str,
    pub row: &'a str,
    pub user: &'a str,
}

impl Place<'_> {
    /// As bytes that no other place has, and no other use of this place: names and ids hold no NUL.
    fn associated(self, purpose: &str) -> Vec<u8> {
        [purpose, self.table, self.column, self.row, self.user].join("\0").into_bytes()
    }
}

/// A record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Sealed {
    pub ciphertext: Vec<u8>,
    #[sqlx(flatten)]
    pub data_key: WrappedKey,
}

/// The data key of a record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct WrappedKey {
    /// Names the key that wrapped it; no secret.
    pub key_id: String,
    pub wrapped_key: Vec<u8>,
}

/// Why a record cannot be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("nothing is encrypted here: encryption.current_file is not set")]
    Off,
    #[error("the key {key_id:?} is not among those of [encryption], current or previous")]
    UnknownKey { key_id: String },
    /// The same call may succeed later.
    #[error("the key {key_id:?} cannot be used: {why}")]
    Unavailable { key_id: String, why: String },
    #[error("a record was changed, or moved from another place")]
    Forged,
}

/// Seals and opens records; cheap to clone.
#[derive(Clone)]
pub struct Envelope {
    /// The id of the key that wraps what is new: one of those below.
    current: Option<String>,
    keyring: Keyring,
    kms: Kms,
    entropy: Entropy,
    pub metrics: Metrics,
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope").field("current", &self.current).finish_non_exhaustive()
    }
}

impl Envelope {
    /// Asks nobody: a provider that is away keeps no issuer from starting.
    pub fn new(settings: &config::Encryption, entropy: Entropy) -> Self {
        let metrics = Metrics::default();
        let current = settings.current.as_ref().map(|current| match current {
            config::WrappingKey::File(secret) => WrappingKey::derive(secret.bytes()).id,
            config::WrappingKey::Kms(key) => kms::id(key),
        });
        let (keyring, kms) = (Keyring::new(settings), Kms::new(settings, metrics.kms.clone()));
        Self { current, keyring, kms, entropy, metrics }
    }

    /// The id of the key that wraps what is new.
    ///
    /// # Errors
    /// [`Error::Off`].
    pub fn current(&self) -> Result<&str, Error> {
        self.current.as_deref().ok_or(Error::Off)
    }

    /// Whether the current key can be used: seals a record of nothing, and opens it.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn probe(&self) -> Result<(), Error> {
        let nowhere = Place { table: "none", column: "none", row: "none", user: "none" };
        let sealed = self.seal(nowhere, b"").await?;
        self.open(nowhere, &sealed).await.map(drop)
    }

    /// Encrypts a record for one place, with a fresh key.
    ///
    /// # Errors
    /// [`Error`]; never [`Error::Forged`].
    pub async fn seal(&self, place: Place<'_>, plain: &[u8]) -> Result<Sealed, Error> {
        let data_key: DataKey = Zeroizing::new(self.entropy.bytes());
        let ciphertext = encrypt(&data_key, &place.associated("record"), plain, &self.entropy)?;
        Ok(Sealed { ciphertext, data_key: self.wrap(place, &data_key).await? })
    }

    /// Decrypts what was sealed for this place.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn open(&self, place: Place<'_>, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, Error> {
        let data_key = self.unwrap(place, &sealed.data_key).await?;
        let opened = decrypt(&data_key, &place.associated("record"), &sealed.ciphertext);
        if opened.is_err() {
            self.metrics.count(Operation::open, Outcome::forged);
        }
        opened
    }

    /// Wraps the key of a record with the current key; the record itself stays as it is.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn rewrap(&self, place: Place<'_>, wrapped: &WrappedKey) -> Result<WrappedKey, Error> {
        let keys = (self.kms.named(&wrapped.key_id), self.kms.named(self.current()?));
        if let (Some(old), Some(new)) = keys
            && old.is_near(new)
        {
            let renewed = self.kms.rewrap(old, new, place, &wrapped.wrapped_key).await;
            self.metrics.count(Operation::rewrap, Outcome::of(&renewed));
            return renewed;
        }
        let data_key = self.unwrap(place, wrapped).await?;
        self.wrap(place, &data_key).await
    }

    async fn wrap(&self, place: Place<'_>, data_key: &DataKey) -> Result<WrappedKey, Error> {
        let id = self.current()?;
        let wrapped = match (self.keyring.named(id), self.kms.named(id)) {
            (Some(key), _) => key.wrap(&place.associated("data key"), data_key, &self.entropy),
            (None, Some(key)) => self.kms.wrap(key, place, data_key).await,
            (None, None) => Err(Error::Off),
        };
        self.metrics.count(Operation::wrap, Outcome::of(&wrapped));
        wrapped
    }

    async fn unwrap(&self, place: Place<'_>, wrapped: &WrappedKey) -> Result<DataKey, Error> {
        let WrappedKey { key_id, wrapped_key } = wrapped;
        let data_key = match (self.keyring.named(key_id), self.kms.named(key_id)) {
            (Some(key), _) => key.unwrap(&place.associated("data key"), wrapped_key),
            (None, Some(key)) => self.kms.unwrap(key, place, wrapped_key).await,
            (None, None) => Err(Error::UnknownKey { key_id: key_id.clone() }),
        };
        self.metrics.count(Operation::unwrap, Outcome::of(&data_key));
        data_key
    }
}

/// XChaCha20-Poly1305: nonce, ciphertext with its tag. A random nonce of 24 bytes never comes twice.
fn encrypt(key: &[u8; KEY], aad: &[u8], plain: &[u8], entropy: &Entropy) -> Result<Vec<u8>, Error> {
    let nonce: [u8; NONCE] = entropy.bytes();
    let payload = Payload { msg: plain, aad };
    let sealed = XChaCha20Poly1305::new(key.into()).encrypt(&XNonce::from(nonce), payload);
    Ok([&nonce[..], &sealed.map_err(|_| Error::Forged)?].concat())
}

fn decrypt(key: &[u8; KEY], aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE>().ok_or(Error::Forged)?;
    let payload = Payload { msg: ciphertext, aad };
    let plain = XChaCha20Poly1305::new(key.into()).decrypt(&XNonce::from(*nonce), payload);
    plain.map(Zeroizing::new).map_err(|_| Error::Forged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Encryption, Secret};

    const PLACE: Place<'_> =
        Place { table: "trading_accounts", column: "credentials", row: "1", user: "ada" };

    fn envelope(secrets: &[&str]) -> Envelope {
        let mut secrets = secrets.iter().map(|secret| Secret::new(secret.as_bytes()));
        Envelope::new(&Encryption::with_files(secrets.next(), secrets.collect()), Entropy::seeded(1))
    }

    async fn sealed(envelope: &Envelope) -> Sealed {
        envelope.seal(PLACE, b"secret").await.unwrap()
    }

    #[tokio::test]
    async fn a_record_opens_as_it_was_and_not_when_anything_was_changed() {
        let envelope = envelope(&["one"]);
        let good = sealed(&envelope).await;
        assert_eq!(envelope.open(PLACE, &good).await.unwrap().as_slice(), b"secret");
        let bytes = [&good.ciphertext[..], &good.data_key.wrapped_key].concat();
        assert!(!bytes.windows(6).any(|window| window == b"secret"));
        for at in 0..good.ciphertext.len() {
            let mut flipped = good.clone();
            flipped.ciphertext[at] ^= 1;
            let cut = Sealed { ciphertext: good.ciphertext[..at].to_vec(), ..good.clone() };
            for bad in [flipped, cut] {
                assert_eq!(envelope.open(PLACE, &bad).await.unwrap_err(), Error::Forged, "{at}");
            }
        }
        for at in 0..good.data_key.wrapped_key.len() {
            let mut flipped = good.clone();
            flipped.data_key.wrapped_key[at] ^= 1;
            let mut cut = good.clone();
            cut.data_key.wrapped_key.truncate(at);
            for bad in [flipped, cut] {
                assert_eq!(envelope.open(PLACE, &bad).await.unwrap_err(), Error::Forged, "{at}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_moved_to_another_row_user_column_or_table_does_not_open() {
        let envelope = envelope(&["one"]);
        let good = sealed(&envelope).await;
        for place in [
            Place { table: "other", ..PLACE },
            Place { column: "other", ..PLACE },
            Place { row: "2", ..PLACE },
            Place { user: "bob", ..PLACE },
            Place { row: "1\0ada", user: "", ..PLACE },
        ] {
            assert_eq!(envelope.open(place, &good).await.unwrap_err(), Error::Forged, "{place:?}");
            assert_eq!(envelope.rewrap(place, &good.data_key).await.unwrap_err(), Error::Forged, "{place:?}");
        }
        // The key of one record opens no other of the same place.
        let other = sealed(&envelope).await;
        let mixed = Sealed { ciphertext: good.ciphertext.clone(), ..other };
        assert_eq!(envelope.open(PLACE, &mixed).await.unwrap_err(), Error::Forged);
    }

    #[tokio::test]
    async fn a_key_is_replaced_by_wrapping_data_keys_anew() {
        let (old, both, new) = (envelope(&["old"]), envelope(&["new", "old"]), envelope(&["new"]));
        let record = sealed(&old).await;
        assert_eq!(both.open(PLACE, &record).await.unwrap().as_slice(), b"secret");
        let unknown = new.open(PLACE, &record).await.unwrap_err();
        assert!(matches!(unknown, Error::UnknownKey { .. }), "{unknown}");
        let rewrapped = Sealed {
            ciphertext: record.ciphertext.clone(),
            data_key: both.rewrap(PLACE, &record.data_key).await.unwrap(),
        };
        assert_eq!(rewrapped.data_key.key_id, new.current().unwrap());
        assert_eq!(new.open(PLACE, &rewrapped).await.unwrap().as_slice(), b"secret");
        assert!(old.open(PLACE, &rewrapped).await.is_err());
    }

    #[tokio::test]
    async fn a_record_under_the_name_of_another_key_does_not_open() {
        let both = envelope(&["new", "old"]);
        let mut record = sealed(&both).await;
        record.data_key.key_id = envelope(&["old"]).current().unwrap().to_owned();
        assert_eq!(both.open(PLACE, &record).await.unwrap_err(), Error::Forged);
    }

    #[tokio::test]
    async fn without_a_key_nothing_is_sealed() {
        let off = envelope(&[]);
        assert_eq!(off.seal(PLACE, b"secret").await.unwrap_err(), Error::Off);
        assert_eq!(off.current(), Err(Error::Off));
    }

    #[test]
    fn debug_shows_no_key() {
        let shown = format!("{:?}", envelope(&["hunter2-hunter2"]));
        assert!(
            shown.starts_with("Envelope { current: Some(\"file:") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
