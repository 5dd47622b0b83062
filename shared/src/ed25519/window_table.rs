//! Multiples of one fixed point, so that multiplying it costs additions only and no doublings: fixed windows
//! with signed digits. For public data alone: the time taken depends on the scalar.

use std::fmt;
use std::mem::MaybeUninit;
use std::ptr;

use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;

/// Scalars are below L = 2^252 + δ with δ < 2^125 (RFC 8032 §5.1): as long as bit 252 is not set.
const SCALAR_BITS: usize = 252;

/// Row `i` holds 1, 2, 3, … times 2^(`width`·i) P.
///
/// A digit lies between −2^(`width`−1) and 2^(`width`−1), and to subtract costs what adding does, so a row has
/// half as many points as a window has values. The last row takes all that is left of the scalar. That is at
/// most 2^(252 − its first bit), also with bit 252, which is set only where bits 125 to 251 are clear.
pub(super) struct WindowTable {
    width: usize,
    rows: Box<[Box<[EdwardsPoint]>]>,
}

/// A point of a table that is to be added, or subtracted.
pub(super) struct Term<'t> {
    point: &'t EdwardsPoint,
    negative: bool,
}

impl Term<'_> {
    pub(super) fn sum(terms: &[Self]) -> EdwardsPoint {
        // The points lie far apart in large tables. Asked for together, they come together; added right away, each would
        // be waited for in its turn.
        terms.iter().for_each(Self::ask_for);
        let (pairs, rest) = terms.as_chunks();
        let mut sum = EdwardsPoint::default();
        // Two by two: what is added to and what comes out are then not the same memory, which saves copying points.
        for [first, second] in pairs {
            let between = first.added_to(&sum);
            sum = second.added_to(&between);
        }
        rest.iter().fold(sum, |sum, term| term.added_to(&sum))
    }

    /// Reads a byte of each cache line of the point, and uses none.
    #[expect(
        unsafe_code,
        reason = "a point shows nothing of itself that is cheap to read, and copying one is not"
    )]
    fn ask_for(&self) {
        const BYTES: [usize; 4] = [0, 64, 128, size_of::<EdwardsPoint>() - 1];
        let point = ptr::from_ref(self.point).cast::<MaybeUninit<u8>>();
        for at in BYTES {
            // SAFETY: the byte is one of the point's, which is borrowed, and may be anything.
            unsafe { point.add(at).read_volatile() };
        }
    }

    fn added_to(&self, sum: &EdwardsPoint) -> EdwardsPoint {
        if self.negative { sum - self.point } else { sum + self.point }
    }
}

impl WindowTable {
    /// Computes ⌈252 / `width`⌉ rows of 160 bytes a point. `width` is in bits, 2 to 16.
    pub(super) fn new(point: &EdwardsPoint, width: usize) -> Self {
        debug_assert!((2..=16).contains(&width));
        let mut base = *point;
        let row = |first_bit: usize| {
            let bits_left = SCALAR_BITS - first_bit;
            let points = 1 << if bits_left > width { width - 1 } else { bits_left };
            let row: Box<[_]> =
                std::iter::successors(Some(base), |multiple| Some(multiple + base)).take(points).collect();
            if let Some(last) = row.last() {
                base = last + last;
            }
            row
        };
        Self { width, rows: (0..SCALAR_BITS).step_by(width).map(row).collect() }
    }

    /// Adds to `terms` the points whose sum is \[`scalar`\]P, for a scalar below L.
    pub(super) fn multiple<'t>(&'t self, scalar: &Scalar, terms: &mut Vec<Term<'t>>) {
        for (row, digit) in self.rows.iter().zip(self.digits(scalar)) {
            // Digit 0 wraps around, to where there is no point.
            if let Some(point) = row.get((digit.unsigned_abs() as usize).wrapping_sub(1)) {
                terms.push(Term { point, negative: digit < 0 });
            }
        }
    }

    /// The digits that stand for `scalar`, one for each row.
    fn digits(&self, scalar: &Scalar) -> impl Iterator<Item = i32> {
        let width = self.width;
        // Four more, so that a word can be read at every bit of the scalar.
        let mut bytes = [0; 36];
        bytes.iter_mut().zip(scalar.as_bytes()).for_each(|(to, from)| *to = *from);
        let mut carry = 0;
        (0..SCALAR_BITS).step_by(width).map(move |bit| {
            let word = bytes.get(bit / 8..).and_then(|rest| rest.first_chunk());
            let word = word.map_or(0, |word| u32::from_le_bytes(*word)) >> (bit % 8);
            if bit + width >= SCALAR_BITS {
                return word.cast_signed() + carry;
            }
            let window = (word & ((1 << width) - 1)).cast_signed() + carry;
            carry = i32::from(window > 1 << (width - 1));
            window - (carry << width)
        })
    }
}

impl fmt::Debug for WindowTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WindowTable").field("width", &self.width).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
    use sha2::{Digest, Sha512};

    use super::*;

    /// Scalars at the ends of the range, and with a carry that runs through every window.
    fn scalars() -> Vec<Scalar> {
        let two = |n: usize| (0..n).fold(Scalar::ONE, |power, _| power + power);
        let mut scalars = vec![Scalar::ZERO, Scalar::ONE, -Scalar::ONE, -two(1)];
        for bit in 1..=252 {
            scalars.extend([two(bit) - Scalar::ONE, two(bit), two(bit) + Scalar::ONE, -two(bit)]);
        }
        for byte in 0..=255 {
            let mut bytes = [byte; 32];
            bytes[31] &= 0x0f;
            scalars.push(Scalar::from_bytes_mod_order(bytes));
        }
        for seed in 0..500_u32 {
            scalars.push(Scalar::from_bytes_mod_order_wide(&Sha512::digest(seed.to_le_bytes()).into()));
        }
        scalars
    }

    #[test]
    fn multiplies_as_double_and_add_does_at_every_width() {
        // Not of prime order: [k] and [k − L] are different points, so a scalar must not be taken modulo L.
        let point = ED25519_BASEPOINT_POINT + EIGHT_TORSION[1];
        for width in [2, 7, 8, 9, 10] {
            let table = WindowTable::new(&point, width);
            for scalar in scalars() {
                let mut terms = Vec::new();
                table.multiple(&scalar, &mut terms);
                assert_eq!(Term::sum(&terms), point * scalar, "{width} {scalar:?}");
            }
        }
    }

    #[test]
    fn every_digit_has_its_point() {
        for width in [2, 7, 8, 9, 10] {
            let table = WindowTable::new(&ED25519_BASEPOINT_POINT, width);
            for scalar in scalars() {
                assert_eq!(table.digits(&scalar).count(), table.rows.len());
                for (row, digit) in table.rows.iter().zip(table.digits(&scalar)) {
                    assert!(digit.unsigned_abs() as usize <= row.len(), "{width} {scalar:?}");
                }
            }
        }
    }

    #[test]
    fn takes_the_memory_it_is_said_to_take() {
        let bytes = |width| {
            let table = WindowTable::new(&ED25519_BASEPOINT_POINT, width);
            table.rows.iter().map(|row| size_of_val(&**row)).sum::<usize>()
        };
        assert_eq!(bytes(9), 1_187_840);
        assert_eq!(bytes(10), 2_048_640);
    }
}
