//! Comparing long byte strings: what comes with WebAssembly takes one byte at a time, and tokens are long.

const WIDTH: usize = size_of::<u128>();

/// Whether two byte strings are the same.
pub(crate) fn equal(one: &[u8], other: &[u8]) -> bool {
    let same = |a: &[u8; WIDTH], b: &[u8; WIDTH]| u128::from_ne_bytes(*a) == u128::from_ne_bytes(*b);
    one.len() == other.len()
        && one.as_chunks().0.iter().zip(other.as_chunks().0).all(|(a, b)| same(a, b))
        && match (one.last_chunk(), other.last_chunk()) {
            // What the last whole chunk left over, and some of it once more.
            (Some(a), Some(b)) => same(a, b),
            _ => one == other,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTHS: [usize; 9] = [0, 1, 7, 8, 15, 16, 17, 33, 100];

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
