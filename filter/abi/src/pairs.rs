//! Header maps as the ABI writes them: a count; the sizes of every name and value; then names and values in turn,
//! each with a zero byte after it. Numbers are 32-bit, little-endian.

use crate::status::Status;

const WORD: usize = size_of::<u32>();

/// Shows every name and value in `bytes` to `take`.
///
/// # Errors
/// [`Status::INTERNAL_FAILURE`] if `bytes` is not exactly one map. What was shown until then may not be all.
pub fn read<'m>(bytes: &'m [u8], mut take: impl FnMut(&'m [u8], &'m [u8])) -> Result<(), Status> {
    let whole = read_all(bytes, &mut take).is_some_and(<[u8]>::is_empty);
    whole.then_some(()).ok_or(Status::INTERNAL_FAILURE)
}

/// What is left behind the last pair, or `None` if something is missing.
fn read_all<'m>(bytes: &'m [u8], take: &mut impl FnMut(&'m [u8], &'m [u8])) -> Option<&'m [u8]> {
    // A host that has no headers to tell of may tell nothing.
    let Some((count, rest)) = bytes.split_first_chunk::<WORD>() else { return Some(bytes) };
    let count = u32::from_le_bytes(*count) as usize;
    let (sizes, mut content) = rest.split_at_checked(count.checked_mul(2 * WORD)?)?;
    let mut part = |size: usize| {
        let (part, rest) = content.split_at_checked(size)?;
        content = rest.get(1..)?;
        Some(part)
    };
    for [name, value] in sizes.as_chunks::<WORD>().0.as_chunks::<2>().0 {
        let [name, value] = [name, value].map(|size| u32::from_le_bytes(*size) as usize);
        take(part(name)?, part(value)?);
    }
    Some(content)
}

/// A map for the host.
pub fn encode(pairs: &[(&str, &str)]) -> Vec<u8> {
    let word = |size: usize| u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = word(pairs.len()).to_vec();
    for (name, value) in pairs {
        bytes.extend([word(name.len()), word(value.len())].as_flattened());
    }
    for part in pairs.iter().flat_map(|(name, value)| [name, value]) {
        bytes.extend(part.as_bytes());
        bytes.push(0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pair<'m> = (&'m [u8], &'m [u8]);

    fn decode(bytes: &[u8]) -> Result<Vec<Pair<'_>>, Status> {
        let mut pairs = Vec::new();
        read(bytes, |name, value| pairs.push((name, value)))?;
        Ok(pairs)
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let pairs = [(":path", "/a"), ("empty", ""), ("", "nameless"), ("x", "1"), ("x", "2")];
        let encoded = encode(&pairs);
        assert_eq!(decode(&encoded).unwrap(), pairs.map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        assert_eq!(decode(&encode(&[])).unwrap(), []);
        assert_eq!(decode(&[]).unwrap(), []);
    }

    #[test]
    fn a_map_is_written_as_the_abi_has_it() {
        let bytes = [&[1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0][..], b"a\0bc\0"].concat();
        assert_eq!(encode(&[("a", "bc")]), bytes);
    }

    #[test]
    fn names_and_values_may_be_any_bytes() {
        let bytes = [&[1, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0][..], b"x\xff\0\xc0\0\0"].concat();
        assert_eq!(decode(&bytes).unwrap(), [(&b"x\xff"[..], &b"\xc0\0"[..])]);
    }

    #[test]
    fn a_map_that_is_cut_or_continued_anywhere_is_refused() {
        let encoded = encode(&[(":path", "/a"), ("x-user-id", "u-1")]);
        for length in 1..encoded.len() {
            assert!(decode(&encoded[..length]).is_err(), "{length}");
        }
        assert!(decode(&[&encoded[..], b"\0"].concat()).is_err());
    }

    #[test]
    fn sizes_that_lie_are_refused() {
        let encoded = encode(&[("a", "b")]);
        for at in 0..12 {
            for byte in [1, 3, 0x7f, 0xff] {
                let mut changed = encoded.clone();
                changed[at] ^= byte;
                assert!(decode(&changed).is_err(), "{at} {byte}");
            }
        }
    }
}
