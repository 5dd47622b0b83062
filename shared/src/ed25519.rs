//! Strict Ed25519 verification (RFC 8032 §5.1.7 without cofactor, as `verify_strict` in ed25519-dalek):
//! canonical S, canonical R, no small-order A or R, and the key itself canonical.
//!
//! Everything here is public data, so variable time is right. A key that is in use is *prepared*: it holds a
//! table of its multiples, which makes the same decision three times as fast for about 1 MB.

mod window_table;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock, RwLock};

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use sha2::{Digest, Sha512};

use window_table::{Term, WindowTable};

/// A public key, decoded once when it is loaded. Clones share its table, which goes with the last of them.
#[derive(Debug, Clone)]
pub struct VerifyingKey {
    encoded: [u8; 32],
    minus_a: EdwardsPoint,
    shared: Arc<Shared>,
}

/// What the clones of a key have together.
#[derive(Debug, Default)]
struct Shared {
    table: RwLock<Option<WindowTable>>,
    last_use: AtomicI64,
}

/// Multiples of −A: 28 additions a signature, 1.2 MB a key.
const KEY_WINDOW: usize = 9;
/// Multiples of B: 26 additions a signature, 2 MB, once in a process or VM.
static BASEPOINT: LazyLock<WindowTable> = LazyLock::new(|| WindowTable::new(&ED25519_BASEPOINT_POINT, 10));

/// Why 32 bytes are not a public key that anyone should trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    #[error("not a point on the curve")]
    NotOnCurve,
    #[error("not the canonical encoding of its point")]
    NotCanonical,
    #[error("a small-order point, for which signatures can be made without a secret")]
    SmallOrder,
}

impl VerifyingKey {
    /// Decodes a public key (RFC 8032 §5.1.3).
    ///
    /// # Errors
    /// Refuses what is not on the curve, not canonical, or of small order.
    pub fn from_bytes(encoded: &[u8; 32]) -> Result<Self, InvalidKey> {
        let a = CompressedEdwardsY(*encoded).decompress().ok_or(InvalidKey::NotOnCurve)?;
        if a.is_small_order() {
            return Err(InvalidKey::SmallOrder);
        }
        if a.compress().as_bytes() != encoded {
            return Err(InvalidKey::NotCanonical);
        }
        Ok(Self { encoded: *encoded, minus_a: -a, shared: Arc::default() })
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.encoded
    }

    /// Whether `signature` (R then S, 64 bytes) is this key's signature of `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let Some((r, s)) = split(signature) else { return false };
        let Some(s) = Option::<Scalar>::from(Scalar::from_canonical_bytes(*s)) else { return false };
        if SMALL_ORDER.contains(r) {
            return false;
        }
        let k = Sha512::new().chain_update(r).chain_update(self.encoded).chain_update(message).finalize();
        let k = Scalar::from_bytes_mod_order_wide(&k.into());
        // R = [S]B − [k]A. Encoding the right side and comparing bytes also proves that R was canonical.
        self.combine(&k, &s).compress().as_bytes() == r
    }

    /// \[s\]B − \[k\]A. Never waits for a table that someone else is building.
    fn combine(&self, k: &Scalar, s: &Scalar) -> EdwardsPoint {
        match self.shared.table.try_read().as_deref() {
            Ok(Some(minus_a)) => {
                let mut terms = Vec::with_capacity(64);
                minus_a.multiple(k, &mut terms);
                BASEPOINT.multiple(s, &mut terms);
                Term::sum(&terms)
            }
            _ => EdwardsPoint::vartime_double_scalar_mul_basepoint(k, &self.minus_a, s),
        }
    }

    /// Builds the table that all keys share.
    pub(crate) fn prepare_basepoint() {
        LazyLock::force(&BASEPOINT);
    }

    /// Builds the table of this key, and with the first key that of the basepoint, unless they are there.
    /// Worth it only for a key that signatures are known to come from.
    pub fn prepare(&self) {
        if let Ok(mut table) = self.shared.table.try_write() {
            Self::prepare_basepoint();
            table.get_or_insert_with(|| WindowTable::new(&self.minus_a, KEY_WINDOW));
        }
    }

    /// Whether the key has its table.
    pub fn is_prepared(&self) -> bool {
        self.shared.table.try_read().is_ok_and(|table| table.is_some())
    }

    /// Gives the table's memory back. The key goes on verifying.
    pub(crate) fn release(&self) {
        if let Ok(mut table) = self.shared.table.try_write() {
            *table = None;
        }
    }

    /// When a valid signature of this key was last seen, in Unix seconds; 0 before the first.
    pub(crate) fn last_use(&self) -> i64 {
        self.shared.last_use.load(Ordering::Relaxed)
    }

    pub(crate) fn used(&self, now: i64) {
        self.shared.last_use.store(now, Ordering::Relaxed);
    }
}

impl PartialEq for VerifyingKey {
    fn eq(&self, other: &Self) -> bool {
        self.encoded == other.encoded
    }
}

impl Eq for VerifyingKey {}

fn split(signature: &[u8; 64]) -> Option<(&[u8; 32], &[u8; 32])> {
    let (r, rest) = signature.split_first_chunk()?;
    Some((r, rest.first_chunk()?))
}

/// The canonical encodings of the eight points of small order. R is compared with them as bytes; another
/// encoding of the same points is refused as not canonical.
const SMALL_ORDER: [[u8; 32]; 8] = {
    const fn y(low: u8, middle: u8, high: u8) -> [u8; 32] {
        let mut bytes = [middle; 32];
        let [first, .., last] = &mut bytes;
        *first = low;
        *last = high;
        bytes
    }
    const OCTIC: [u8; 32] = [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
        0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ];
    const MINUS_OCTIC: [u8; 32] = [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ];
    const fn negative(mut bytes: [u8; 32]) -> [u8; 32] {
        let [.., last] = &mut bytes;
        *last |= 0x80;
        bytes
    }
    [
        y(1, 0, 0),          // the identity
        y(0xec, 0xff, 0x7f), // order 2
        y(0, 0, 0),          // order 4
        y(0, 0, 0x80),       // order 4
        OCTIC,               // order 8
        negative(OCTIC),
        MINUS_OCTIC,
        negative(MINUS_OCTIC),
    ]
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use curve25519_dalek::constants::EIGHT_TORSION;

    use super::*;

    #[test]
    fn knows_every_point_of_small_order() {
        let torsion: BTreeSet<_> = EIGHT_TORSION.iter().map(|p| p.compress().to_bytes()).collect();
        assert_eq!(torsion, SMALL_ORDER.into_iter().collect());
    }

    #[test]
    fn refuses_keys_of_small_order() {
        for encoded in SMALL_ORDER {
            assert_eq!(VerifyingKey::from_bytes(&encoded), Err(InvalidKey::SmallOrder));
        }
    }

    #[test]
    fn refuses_every_key_whose_encoding_is_not_canonical() {
        // y in p..2^255 encodes y − p a second time; with either sign bit.
        for low in 0xed..=0xff_u8 {
            for high in [0x7f, 0xff] {
                let mut encoded = [0xff; 32];
                encoded[0] = low;
                encoded[31] = high;
                assert!(VerifyingKey::from_bytes(&encoded).is_err(), "{low:x} {high:x}");
            }
        }
    }
}
