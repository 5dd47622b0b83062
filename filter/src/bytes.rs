//! Searching and comparing long byte strings without leaving early: loops that the compiler turns into vector
//! instructions, sixteen bytes at a time. What comes with WebAssembly takes one byte, and tokens are long.

/// Whether `wanted` is among `bytes`.
pub(crate) fn contains(bytes: &[u8], wanted: u8) -> bool {
    bytes.iter().fold(0, |found, byte| found | u8::from(*byte == wanted)) != 0
}

/// Whether two byte strings are the same.
pub(crate) fn equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTHS: [usize; 9] = [0, 1, 7, 8, 15, 16, 17, 33, 100];

    #[test]
    fn finds_a_byte_wherever_it_is() {
        for length in LENGTHS {
            let bytes = vec![b'a'; length];
            assert!(!contains(&bytes, b','));
            for at in 0..length {
                let mut other = bytes.clone();
                other[at] = b',';
                assert!(contains(&other, b','), "{length} {at}");
            }
        }
    }

    #[test]
    fn compares_every_byte() {
        for length in LENGTHS {
            let bytes = vec![b'a'; length];
            assert!(equal(&bytes, &bytes));
            assert!(!equal(&bytes, &[&bytes[..], b"a"].concat()));
            for at in 0..length {
                let mut other = bytes.clone();
                other[at] = b'b';
                assert!(!equal(&bytes, &other), "{length} {at}");
            }
        }
    }
}
