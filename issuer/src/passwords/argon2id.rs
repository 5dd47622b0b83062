//! Argon2id (RFC 9106) in PHC strings, computed in memory that the caller keeps. Parameters found in the database
//! are bounded before they are obeyed, so that no row can exhaust the machine.

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, Version};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::config::Hashing;

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

/// The most that a stored hash may ask for.
const MAX_STORED_KIB: u32 = 1024 * 1024;
const MAX_STORED_PASSES: u32 = 100;

/// A stored hash that cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("not an Argon2id hash in PHC form")]
    Form,
    #[error("its parameters are out of bounds")]
    Bounds,
    #[error("argon2: {0}")]
    Argon2(argon2::Error),
}

/// The working memory of one hashing thread: grows to what a hash needs, and is given back when idle.
#[derive(Default)]
pub(super) struct Memory(Vec<Block>);

impl Memory {
    fn of(&mut self, params: &Params) -> &mut [Block] {
        let blocks = params.block_count();
        if self.0.len() != blocks {
            self.release();
            self.0 = vec![Block::new(); blocks];
        }
        &mut self.0
    }

    pub(super) fn release(&mut self) {
        self.0 = Vec::new();
    }
}

fn compute(
    params: Params,
    password: &[u8],
    salt: &[u8],
    output: &mut [u8],
    memory: &mut Memory,
) -> Result<(), Unusable> {
    let blocks = memory.of(&params);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(password, salt, output, blocks)
        .map_err(Unusable::Argon2)
}

fn phc(params: &Params, salt: &[u8], output: &[u8]) -> Result<String, Unusable> {
    let hash = PasswordHash {
        algorithm: ARGON2ID_IDENT,
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(params).map_err(|_| Unusable::Form)?,
        salt: Some(Salt::new(salt).map_err(|_| Unusable::Form)?),
        hash: Some(Output::new(output).map_err(|_| Unusable::Form)?),
    };
    Ok(hash.to_string())
}

impl Cost {
    fn params(self) -> Result<Params, Unusable> {
        Params::new(self.memory_kib, self.passes, 1, Some(OUTPUT_BYTES)).map_err(Unusable::Argon2)
    }

    pub(super) fn hash(
        self,
        password: &[u8],
        salt: &[u8; 16],
        memory: &mut Memory,
    ) -> Result<String, Unusable> {
        let params = self.params()?;
        let mut output = Zeroizing::new([0; OUTPUT_BYTES]);
        compute(params.clone(), password, salt, &mut *output, memory)?;
        phc(&params, salt, &*output)
    }

    /// A hash that costs as much to check as a real one and that no password has.
    pub(super) fn decoy(self, random: &[u8; 48]) -> Result<String, Unusable> {
        let (salt, output) = random.split_at(16);
        phc(&self.params()?, salt, output)
    }

    /// Whether `stored` was made at this cost.
    pub(super) fn made(self, stored: &str) -> bool {
        let params = PasswordHash::new(stored).ok().and_then(|hash| Params::try_from(&hash).ok());
        params.is_some_and(|p| (p.m_cost(), p.t_cost(), p.p_cost()) == (self.memory_kib, self.passes, 1))
    }
}

/// Whether `password` is the one that `stored` was made from.
pub(super) fn verify(password: &[u8], stored: &str, memory: &mut Memory) -> Result<bool, Unusable> {
    let hash = PasswordHash::new(stored).map_err(|_| Unusable::Form)?;
    let (Some(salt), Some(expected)) = (&hash.salt, &hash.hash) else { return Err(Unusable::Form) };
    if hash.algorithm != ARGON2ID_IDENT
        || hash.version.is_some_and(|version| version != u32::from(Version::V0x13))
    {
        return Err(Unusable::Form);
    }
    let params = Params::try_from(&hash).map_err(|_| Unusable::Form)?;
    if params.m_cost() > MAX_STORED_KIB || params.t_cost() > MAX_STORED_PASSES || params.p_cost() != 1 {
        return Err(Unusable::Bounds);
    }
    let mut output = Zeroizing::new(vec![0; expected.len()]);
    compute(params, password, salt, &mut output, memory)?;
    Ok(output.as_slice().ct_eq(expected.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Cost = Cost { memory_kib: 16, passes: 1 };

    fn hash(password: &str) -> String {
        CHEAP.hash(password.as_bytes(), &[7; 16], &mut Memory::default()).unwrap()
    }

    #[test]
    fn a_hash_fits_its_password_only() {
        let stored = hash("right");
        assert!(stored.starts_with("$argon2id$v=19$m=16,t=1,p=1$"));
        let mut memory = Memory::default();
        assert!(verify(b"right", &stored, &mut memory).unwrap());
        assert!(!verify(b"wrong", &stored, &mut memory).unwrap());
    }

    #[test]
    fn memory_left_by_another_password_does_not_matter() {
        let mut memory = Memory::default();
        let first = CHEAP.hash(b"one", &[1; 16], &mut memory).unwrap();
        let other = Cost { memory_kib: 64, passes: 2 }.hash(b"two", &[2; 16], &mut memory).unwrap();
        assert!(verify(b"one", &first, &mut memory).unwrap());
        assert!(verify(b"two", &other, &mut memory).unwrap());
    }

    #[test]
    fn a_decoy_costs_the_same_and_fits_nothing() {
        let decoy = CHEAP.decoy(&[9; 48]).unwrap();
        assert!(CHEAP.made(&decoy));
        assert!(!verify(b"", &decoy, &mut Memory::default()).unwrap());
    }

    #[test]
    fn another_cost_is_noticed() {
        assert!(CHEAP.made(&hash("x")));
        assert!(!Cost { memory_kib: 16, passes: 2 }.made(&hash("x")));
        assert!(!CHEAP.made("$2b$12$abc"));
    }

    #[test]
    fn hostile_parameters_are_refused_before_memory_is_taken() {
        let stored = hash("x");
        for params in ["m=4294967295,t=1,p=1", "m=16,t=4294967295,p=1", "m=1024,t=1,p=64", "m=16,t=1,p=0"] {
            let hostile = stored.replace("m=16,t=1,p=1", params);
            assert!(verify(b"x", &hostile, &mut Memory::default()).is_err(), "{params}");
        }
        for form in [
            "",
            "x",
            "$argon2i$v=19$m=16,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo",
            "$argon2id$v=19$m=16,t=1,p=1",
        ] {
            assert!(verify(b"x", form, &mut Memory::default()).is_err(), "{form}");
        }
    }
}
