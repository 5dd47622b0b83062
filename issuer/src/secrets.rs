//! The key ring: what MACs and ciphertexts of ours are made with. The first secret makes new ones, the others only
//! check and open what was made before, so that a secret is replaced without anyone noticing.
//!
//! Every purpose has keys of its own (HKDF, RFC 5869), so that nothing made for one passes for another, and a
//! ciphertext opens only in the place it was made for.

mod machine;

use std::fmt;
use std::sync::Arc;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::ambient::Entropy;
use crate::config::Secrets;

pub use machine::{MachineSecret, Malformed};

/// Names a secret in what was made with it: a part of its hash, the same on every issuer.
type Id = [u8; 4];

const ID: usize = size_of::<Id>();
const NONCE: usize = 24;

/// The row and column that a ciphertext belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub table: &'static str,
    pub column: &'static str,
    pub row: &'a str,
}

/// What cannot be opened: made by another ring, for another place, or changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsealed {
    #[error("no secret of the ring has made this")]
    UnknownSecret,
    #[error("it was changed, or moved from another place")]
    Forged,
}

/// Keys made from the configured secrets; cheap to clone.
#[derive(Clone)]
pub struct Ring(Arc<Vec<Keys>>);

#[derive(ZeroizeOnDrop)]
struct Keys {
    id: Id,
    mac: [u8; 64],
    seal: [u8; 32],
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("secrets", &self.0.len()).finish()
    }
}

impl From<&Secrets> for Ring {
    fn from(secrets: &Secrets) -> Self {
        let all = std::iter::once(&secrets.current).chain(&secrets.previous);
        Self(Arc::new(all.map(|secret| Keys::derive(secret.bytes())).collect()))
    }
}

impl Keys {
    fn derive(secret: &[u8]) -> Self {
        let root = Hkdf::<Sha256>::new(None, secret);
        let mut keys = Self { id: [0; ID], mac: [0; 64], seal: [0; 32] };
        for (label, key) in
            [("id", &mut keys.id[..]), ("mac", &mut keys.mac[..]), ("seal", &mut keys.seal[..])]
        {
            // Fails only for outputs longer than 8160 bytes.
            let _ = root.expand(format!("countersign {label}").as_bytes(), key);
        }
        keys
    }

    fn mac(&self, purpose: &str, message: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new(&self.mac.into());
        mac.update(purpose.as_bytes());
        mac.update(b"\0");
        mac.update(message);
        mac
    }
}

impl Ring {
    #[cfg(test)]
    pub(crate) fn of(secrets: &[String]) -> Self {
        Self(Arc::new(secrets.iter().map(|secret| Keys::derive(secret.as_bytes())).collect()))
    }

    /// The MAC of `message` for `purpose` by the current secret.
    pub fn mac(&self, purpose: &'static str, message: &[u8]) -> [u8; 32] {
        let tag = |keys: &Keys| keys.mac(purpose, message).finalize().into_bytes().into();
        self.0.first().map_or([0; 32], tag)
    }

    /// Whether any secret of the ring made `tag`; each comparison takes constant time.
    pub fn verify_mac(&self, purpose: &'static str, message: &[u8], tag: &[u8]) -> bool {
        self.0.iter().any(|keys| keys.mac(purpose, message).verify_slice(tag).is_ok())
    }

    /// Encrypts for one place (XChaCha20-Poly1305): id of the secret, nonce, ciphertext with its tag.
    ///
    /// # Errors
    /// [`Unsealed::UnknownSecret`] for a ring without secrets.
    pub fn seal(&self, place: Place<'_>, plain: &[u8], entropy: &Entropy) -> Result<Vec<u8>, Unsealed> {
        let keys = self.0.first().ok_or(Unsealed::UnknownSecret)?;
        let nonce: [u8; NONCE] = entropy.bytes();
        let payload = Payload { msg: plain, aad: &associated(place) };
        let sealed = XChaCha20Poly1305::new(&keys.seal.into()).encrypt(&XNonce::from(nonce), payload);
        Ok([&keys.id[..], &nonce, &sealed.map_err(|_| Unsealed::Forged)?].concat())
    }

    /// Decrypts what was sealed for this place, by whichever secret of the ring.
    ///
    /// # Errors
    /// [`Unsealed`].
    pub fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unsealed> {
        let (id, rest) = sealed.split_first_chunk::<ID>().ok_or(Unsealed::Forged)?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE>().ok_or(Unsealed::Forged)?;
        let keys = self.0.iter().find(|keys| keys.id == *id).ok_or(Unsealed::UnknownSecret)?;
        let payload = Payload { msg: ciphertext, aad: &associated(place) };
        let plain = XChaCha20Poly1305::new(&keys.seal.into()).decrypt(&XNonce::from(*nonce), payload);
        plain.map(Zeroizing::new).map_err(|_| Unsealed::Forged)
    }

    /// Whether this was sealed by a secret that is no longer the current one, and should be sealed anew.
    pub fn is_outdated(&self, sealed: &[u8]) -> bool {
        self.0.first().is_none_or(|keys| !sealed.starts_with(&keys.id))
    }
}

/// The place as bytes that no other place has: names hold no NUL.
fn associated(place: Place<'_>) -> Vec<u8> {
    [place.table, place.column, place.row].join("\0").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(secrets: &[&str]) -> Ring {
        Ring::of(&secrets.iter().map(|secret| (*secret).to_owned()).collect::<Vec<_>>())
    }

    const PLACE: Place<'_> = Place { table: "users", column: "totp", row: "1" };

    fn sealed(ring: &Ring) -> Vec<u8> {
        ring.seal(PLACE, b"secret", &Entropy::seeded(1)).unwrap()
    }

    #[test]
    fn opens_what_it_sealed_and_nothing_that_was_changed() {
        let ring = ring(&["one"]);
        let good = sealed(&ring);
        assert_eq!(ring.open(PLACE, &good).unwrap().as_slice(), b"secret");
        assert!(!good.windows(6).any(|window| window == b"secret"));
        for at in 0..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 1;
            assert!(ring.open(PLACE, &changed).is_err(), "byte {at}");
            assert!(ring.open(PLACE, &good[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_ciphertext_moved_to_another_place_does_not_open() {
        let ring = ring(&["one"]);
        let good = sealed(&ring);
        for place in [
            Place { table: "other", ..PLACE },
            Place { column: "other", ..PLACE },
            Place { row: "2", ..PLACE },
            Place { table: "users\0totp", column: "", row: "1" },
        ] {
            assert_eq!(ring.open(place, &good).unwrap_err(), Unsealed::Forged, "{place:?}");
        }
    }

    #[test]
    fn a_secret_is_replaced_without_losing_what_it_made() {
        let (old, both, new) = (ring(&["old"]), ring(&["new", "old"]), ring(&["new"]));
        let (seal, tag) = (sealed(&old), old.mac("test", b"x"));
        assert_eq!(both.open(PLACE, &seal).unwrap().as_slice(), b"secret");
        assert!(both.is_outdated(&seal) && !both.is_outdated(&sealed(&both)));
        assert!(both.verify_mac("test", b"x", &tag) && !new.verify_mac("test", b"x", &tag));
        assert_eq!(new.open(PLACE, &seal).unwrap_err(), Unsealed::UnknownSecret);
    }

    #[test]
    fn a_mac_is_for_one_purpose_and_one_message() {
        let ring = ring(&["one"]);
        let tag = ring.mac("a", b"b");
        assert!(ring.verify_mac("a", b"b", &tag));
        assert!(!ring.verify_mac("a\0b", b"", &tag) && !ring.verify_mac("b", b"b", &tag));
        assert!(!ring.verify_mac("a", b"b", &tag[..31]) && !ring.verify_mac("a", b"b", b""));
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", ring(&["one"])), "Ring { secrets: 1 }");
    }
}
