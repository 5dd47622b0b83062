//! Argon2 (RFC 9106) in PHC strings, computed in memory that the caller keeps: Argon2id for what is new, every variant
//! for what other systems stored. Parameters found in the database are bounded before they are obeyed, so that no row
//! can exhaust the machine.

use std::hint::black_box;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{ARGON2ID_IDENT, Algorithm, Block, Params, Version};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::config::{Hashing, MAX_HASH_MEMORY_KIB, MAX_HASH_PASSES};

/// What a hash costs; one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    pub memory_kib: u32,
    pub passes: u32,
}

impl From<&Hashing> for Cost {
    fn from(hashing: &Hashing) -> Self {
        Self { memory_kib: hashing.memory_kib, passes: hashing.passes }
    }
}

const OUTPUT_BYTES: usize = 32;

/// What new hashes are.
const OURS: (Algorithm, Version) = (Algorithm::Argon2id, Version::V0x13);

/// A hash, or a cost, that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("not a password hash in PHC form")]
    Form,
    #[error("a scheme that is not known here")]
    Scheme,
    #[error("its parameters are out of bounds")]
    Bounds,
    #[error("argon2: {0}")]
    Argon2(argon2::Error),
}

/// An allocation of so many blocks (of 1 KiB) glibc takes from the system and gives back to it; of less, it may keep what
/// is freed for ever. What is only reserved takes no memory.
const RETURNED_BLOCKS: usize = 33 * 1024;

/// The working memory of one hashing thread: grows to what a hash needs, and is given back when idle.
#[derive(Debug)]
pub(super) struct Memory {
    blocks: Vec<Block>,
    /// What today's cost needs, in blocks. A cheaper hash is computed in the same memory, since taking memory anew
    /// would show in its time.
    usual: usize,
    filled: u64,
}

impl Memory {
    pub(super) fn new(cost: Cost) -> Self {
        Self { blocks: Vec::new(), usual: cost.params().map_or(0, |params| params.block_count()), filled: 0 }
    }

    fn of(&mut self, params: &Params) -> &mut [Block] {
        let needed = params.block_count().max(self.usual);
        if self.blocks.len() != needed {
            self.release();
            self.blocks.reserve_exact(needed.max(RETURNED_BLOCKS));
            self.blocks.resize(needed, Block::new());
        }
        &mut self.blocks
    }

    pub(super) fn release(&mut self) {
        self.blocks = Vec::new();
    }

    /// The work done so far: blocks filled, over all passes.
    pub(super) fn filled(&self) -> u64 {
        self.filled
    }

    /// Counts work done elsewhere that took as long as filling so many blocks.
    pub(super) fn count(&mut self, blocks: u64) {
        self.filled += blocks;
    }
}

fn compute(
    (algorithm, version): (Algorithm, Version),
    params: Params,
    password: &[u8],
    salt: &[u8],
    output: &mut [u8],
    memory: &mut Memory,
) -> Result<(), Unusable> {
    let work = work(&params);
    let blocks = memory.of(&params);
    argon2::Argon2::new(algorithm, version, params)
        .hash_password_into_with_memory(password, salt, output, blocks)
        .map_err(Unusable::Argon2)?;
    memory.filled += work;
    Ok(())
}

/// Blocks filled, over all passes: what a hash costs to make, to check, and to guess.
fn work(params: &Params) -> u64 {
    (params.block_count() as u64).saturating_mul(u64::from(params.t_cost()))
}

impl Cost {
    fn params(self) -> Result<Params, Unusable> {
        let params = Params::new(self.memory_kib, self.passes, 1, Some(OUTPUT_BYTES));
        bounded(params.map_err(Unusable::Argon2)?)
    }

    pub(super) fn work(self) -> u64 {
        self.params().map_or(0, |params| work(&params))
    }

    pub(super) fn hash(
        self,
        password: &[u8],
        salt: &[u8; 16],
        memory: &mut Memory,
    ) -> Result<String, Unusable> {
        let params = self.params()?;
        let phc_params = ParamsString::try_from(&params).map_err(|_| Unusable::Form)?;
        let mut output = Zeroizing::new([0; OUTPUT_BYTES]);
        compute(OURS, params, password, salt, &mut *output, memory)?;
        let hash = PasswordHash {
            algorithm: ARGON2ID_IDENT,
            version: Some(Version::V0x13.into()),
            params: phc_params,
            salt: Some(Salt::new(salt).map_err(|_| Unusable::Form)?),
            hash: Some(Output::new(&*output).map_err(|_| Unusable::Form)?),
        };
        Ok(hash.to_string())
    }

    /// Fills `blocks` as hashing at this cost does, and throws them away. Less than the smallest that Argon2 can do
    /// (8) is left out.
    pub(super) fn spend(self, blocks: u64, memory: &mut Memory) {
        let of_a_pass = u64::from(self.memory_kib).max(1);
        let part = |count| u32::try_from(count).unwrap_or(u32::MAX);
        let whole = Self { passes: part(blocks / of_a_pass), ..self };
        let rest = Self { memory_kib: part(blocks % of_a_pass), passes: 1 };
        for params in [whole, rest].into_iter().filter_map(|cost| cost.params().ok()) {
            let mut output = [0; OUTPUT_BYTES];
            let _ = compute(OURS, params, &[], &[0; 16], &mut output, memory);
            black_box(output);
        }
    }
}

/// The parameters, if this issuer would obey them wherever they come from.
fn bounded(params: Params) -> Result<Params, Unusable> {
    let fits = params.m_cost() <= MAX_HASH_MEMORY_KIB && params.t_cost() <= MAX_HASH_PASSES;
    if fits && params.p_cost() <= MAX_LANES { Ok(params) } else { Err(Unusable::Bounds) }
}

/// Lanes are computed one after the other, so they cost nothing more; nobody has a use for more than this.
const MAX_LANES: u32 = 16;

/// A stored Argon2 hash.
#[derive(Debug)]
pub(super) struct Argon2 {
    kind: (Algorithm, Version),
    params: Params,
    salt: Salt,
    expected: Output,
}

impl Argon2 {
    pub(super) fn parse(algorithm: Algorithm, hash: &PasswordHash) -> Result<Self, Unusable> {
        let (Some(salt), Some(expected)) = (hash.salt, hash.hash) else { return Err(Unusable::Form) };
        // Strings from before there was a second version do not say theirs.
        let version =
            hash.version.map_or(Ok(Version::V0x10), Version::try_from).map_err(|_| Unusable::Form)?;
        let params = bounded(Params::try_from(hash).map_err(|_| Unusable::Form)?)?;
        Ok(Self { kind: (algorithm, version), params, salt, expected })
    }

    /// The work of making it.
    pub(super) fn work(&self) -> u64 {
        work(&self.params)
    }

    /// In KiB.
    pub(super) fn memory(&self) -> u64 {
        self.params.block_count() as u64
    }

    /// Whether it is as new ones are, but for its cost.
    pub(super) fn is_ours(&self) -> bool {
        self.kind == OURS
    }

    /// Whether it was made from `password`.
    pub(super) fn fits(&self, password: &[u8], memory: &mut Memory) -> Result<bool, Unusable> {
        let mut output = Zeroizing::new(vec![0; self.expected.len()]);
        compute(self.kind, self.params.clone(), password, &self.salt, &mut output, memory)?;
        Ok(output.as_slice().ct_eq(self.expected.as_bytes()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Cost = Cost { memory_kib: 16, passes: 1 };

    fn memory() -> Memory {
        Memory::new(CHEAP)
    }

    fn hash(password: &str) -> String {
        CHEAP.hash(password.as_bytes(), &[7; 16], &mut memory()).unwrap()
    }

    fn parse(stored: &str) -> Result<Argon2, Unusable> {
        Argon2::parse(Algorithm::Argon2id, &PasswordHash::new(stored).map_err(|_| Unusable::Form)?)
    }

    #[test]
    fn a_hash_fits_its_password_only() {
        let stored = hash("right");
        assert!(stored.starts_with("$argon2id$v=19$m=16,t=1,p=1$"));
        let (stored, mut memory) = (parse(&stored).unwrap(), memory());
        assert!(stored.fits(b"right", &mut memory).unwrap());
        assert!(!stored.fits(b"wrong", &mut memory).unwrap());
    }

    #[test]
    fn memory_left_by_another_password_does_not_matter() {
        let mut memory = memory();
        let first = CHEAP.hash(b"one", &[1; 16], &mut memory).unwrap();
        let other = Cost { memory_kib: 64, passes: 2 }.hash(b"two", &[2; 16], &mut memory).unwrap();
        assert!(parse(&first).unwrap().fits(b"one", &mut memory).unwrap());
        assert!(parse(&other).unwrap().fits(b"two", &mut memory).unwrap());
    }

    #[test]
    fn memory_stays_what_today_needs_whatever_is_stored() {
        let mut memory = memory();
        for (memory_kib, blocks) in [(16, 16), (8, 16), (64, 64), (8, 16)] {
            Cost { memory_kib, passes: 1 }.hash(b"x", &[1; 16], &mut memory).unwrap();
            assert_eq!(memory.blocks.len(), blocks, "{memory_kib}");
        }
    }

    #[test]
    fn work_is_blocks_by_passes() {
        let mut memory = memory();
        for (memory_kib, passes) in [(16, 1), (8, 3), (67, 2)] {
            let (cost, before) = (Cost { memory_kib, passes }, memory.filled());
            cost.hash(b"x", &[1; 16], &mut memory).unwrap();
            assert_eq!(memory.filled() - before, cost.work());
            assert_eq!(cost.work(), u64::from(memory_kib / 4 * 4 * passes));
        }
    }

    #[test]
    fn any_amount_of_work_can_be_spent() {
        let cost = Cost { memory_kib: 64, passes: 3 };
        let mut memory = Memory::new(cost);
        for blocks in [0, 5, 8, 40, 64, 100, 128, 191, 192] {
            let before = memory.filled();
            cost.spend(blocks, &mut memory);
            let spent = memory.filled() - before;
            assert!(spent <= blocks && blocks - spent < 8, "{spent} of {blocks}");
        }
    }

    #[test]
    fn hostile_parameters_are_refused_before_memory_is_taken() {
        let stored = hash("x");
        let hostile = [
            "m=4294967295,t=1,p=1",
            "m=16,t=4294967295,p=1",
            "m=1024,t=1,p=17",
            "m=16,t=1,p=0",
            "m=16,t=0,p=1",
            "m=7,t=1,p=1",
        ];
        for params in hostile {
            assert!(parse(&stored.replace("m=16,t=1,p=1", params)).is_err(), "{params}");
        }
        for cost in [(MAX_HASH_MEMORY_KIB + 1, 1), (16, MAX_HASH_PASSES + 1), (4, 1), (16, 0)] {
            let mut memory = memory();
            let (memory_kib, passes) = cost;
            assert!(Cost { memory_kib, passes }.hash(b"x", &[1; 16], &mut memory).is_err(), "{cost:?}");
            assert!(memory.blocks.is_empty());
        }
    }

    #[test]
    fn whatever_may_be_configured_can_be_checked() {
        let most = format!("m={MAX_HASH_MEMORY_KIB},t={MAX_HASH_PASSES},p=1");
        assert!(parse(&hash("x").replace("m=16,t=1,p=1", &most)).is_ok());
    }
}
