//! How the worker that reads the feed hands it to the others, in two records of shared data: now and then everything
//! (`Base`), and with each answer what has come since (`Tail`), which is small.
//!
//! A worker that has everything up to where the tail begins takes the tail alone.

use countersign_claims::{Handle, Revocation, Revocations};

use super::Position;

/// With more than this, everything is written anew.
pub const LONGEST_TAIL: usize = 1024;

/// Everything that was revoked at one place of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Random; another one with each whole set that came in.
    pub generation: u64,
    pub sequence: u64,
    pub revocations: Vec<Revocation>,
}

/// What has come since, and how current it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    pub generation: u64,
    /// Where in the feed it begins: everything up to here is in the base.
    pub since: u64,
    /// Where it ends.
    pub position: Position,
    /// When that was all there was: milliseconds since the Unix epoch.
    pub as_of: u64,
    pub revocations: Vec<Revocation>,
}

impl Base {
    pub fn encode(generation: u64, sequence: u64, set: &Revocations) -> Vec<u8> {
        let mut bytes = [generation.to_le_bytes(), sequence.to_le_bytes()].concat();
        bytes.reserve(set.len().saturating_mul(ENTRY));
        set.iter().for_each(|revocation| write(&mut bytes, revocation));
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (generation, rest) = number(bytes)?;
        let (sequence, rest) = number(rest)?;
        Some(Self { generation, sequence, revocations: entries(rest)? })
    }
}

impl Tail {
    pub fn encode(&self) -> Vec<u8> {
        let Position { epoch, sequence } = &self.position;
        let numbers = [self.generation, self.since, *sequence, self.as_of, epoch.len() as u64];
        let mut bytes = numbers.map(u64::to_le_bytes).concat();
        bytes.extend(epoch.as_bytes());
        self.revocations.iter().for_each(|revocation| write(&mut bytes, *revocation));
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (generation, rest) = number(bytes)?;
        let (since, rest) = number(rest)?;
        let (sequence, rest) = number(rest)?;
        let (as_of, rest) = number(rest)?;
        let (length, rest) = number(rest)?;
        let (epoch, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        let epoch = std::str::from_utf8(epoch).ok()?.into();
        let position = Position { epoch, sequence };
        Some(Self { generation, since, position, as_of, revocations: entries(rest)? })
    }
}

/// Where both lie in shared data, which all plugins of one `vm_id` see: also those of another version of this module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    pub lease: String,
    pub base: String,
    pub tail: String,
}

impl Names {
    /// Counts the forms that the records have had.
    const FORM: u32 = 1;

    /// None of the three has a space in it: no two sources have the same names. Tokens of other skews vanish at other
    /// times.
    pub fn of(cluster: &str, authority: &str, path: &str, skew: i64) -> Self {
        let name = |what: &str| {
            format!("countersign.revocations.{what} {} {skew} {cluster} {authority} {path}", Self::FORM)
        };
        Self { lease: name("lease"), base: name("base"), tail: name("tail") }
    }
}

const ENTRY: usize = 2 * size_of::<u64>();

fn write(bytes: &mut Vec<u8>, Revocation { handle, until }: Revocation) {
    bytes.extend(handle.to_bits().to_le_bytes());
    bytes.extend(until.to_le_bytes());
}

fn entries(bytes: &[u8]) -> Option<Vec<Revocation>> {
    let (words, []) = bytes.as_chunks::<8>() else { return None };
    let (entries, []) = words.as_chunks::<2>() else { return None };
    let entries = entries.iter().map(|[handle, until]| Revocation {
        handle: Handle::from_bits(u64::from_le_bytes(*handle)),
        until: i64::from_le_bytes(*until),
    });
    Some(entries.collect())
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revocations(count: u64) -> Vec<Revocation> {
        (0..count)
            .map(|n| Revocation { handle: Handle::from_bits(n.wrapping_mul(0x9e37_79b9)), until: n as i64 })
            .collect()
    }

    #[test]
    fn records_survive_shared_data_and_broken_ones_count_as_none() {
        let mut set = Revocations::default();
        set.extend(&revocations(5)).unwrap();
        let base = Base { generation: 7, sequence: 9, revocations: set.iter().collect() };
        let encoded = Base::encode(7, 9, &set);
        assert_eq!(Base::decode(&encoded), Some(base));
        let position = Position { epoch: "e-1".into(), sequence: 12 };
        let tail = Tail { generation: 7, since: 9, position, as_of: 3, revocations: revocations(3) };
        assert_eq!(Tail::decode(&tail.encode()), Some(tail.clone()));
        for length in [0, 1, 15, encoded.len() - 1] {
            assert_eq!(Base::decode(&encoded[..length]), None, "{length}");
        }
        let encoded = tail.encode();
        for length in (0..encoded.len()).filter(|length| !(encoded.len() - length).is_multiple_of(ENTRY)) {
            assert_eq!(Tail::decode(&encoded[..length]), None, "{length}");
        }
    }

    #[test]
    fn no_two_sources_share_a_name() {
        let sources =
            [("a/b", "h", "/c", 0), ("a", "h", "/b/c", 0), ("a", "h", "/c", 0), ("a", "h", "/c", 30)];
        let names: std::collections::BTreeSet<_> = sources
            .into_iter()
            .map(|(cluster, authority, path, skew)| Names::of(cluster, authority, path, skew))
            .flat_map(|names| [names.lease, names.base, names.tail])
            .collect();
        assert_eq!(names.len(), 3 * sources.len());
    }
}
