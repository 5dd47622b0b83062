//! scrypt (RFC 7914), as other systems stored it: `$scrypt$ln=16,r=8,p=1$salt$hash`.

use ::scrypt::Params;
use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::argon2id::{Memory, Unusable};

/// What mixing 1 KiB takes, in blocks of Argon2id.
const BLOCKS_A_KIB: u64 = 6;

/// A stored scrypt hash.
#[derive(Debug)]
pub(super) struct Scrypt {
    params: Params,
    memory: u64,
    work: u64,
    salt: Salt,
    expected: Output,
}

impl Scrypt {
    pub(super) const NAME: &str = "scrypt";

    pub(super) fn parse(hash: &PasswordHash) -> Result<Self, Unusable> {
        let (Some(salt), Some(expected)) = (hash.salt, hash.hash) else { return Err(Unusable::Form) };
        if hash.version.is_some()
            || hash.params.iter().any(|(name, _)| !["ln", "r", "p"].contains(&name.as_str()))
        {
            return Err(Unusable::Form);
        }
        let number = |name: &str| hash.params.get_decimal(name).ok_or(Unusable::Form);
        let (log_n, r, p) = (number("ln")?, number("r")?, number("p")?);
        // Within these, nothing below overflows.
        if !(1..=30).contains(&log_n) || !(1..=1024).contains(&r) || !(1..=1024).contains(&p) {
            return Err(Unusable::Bounds);
        }
        let log_n = u8::try_from(log_n).map_err(|_| Unusable::Bounds)?;
        let params = Params::new(log_n, r, p).map_err(|_| Unusable::Bounds)?;
        // N · r · 128 bytes, and p · r · 128 for what is mixed.
        let of_a_lane = (u64::from(r) << log_n).div_ceil(8);
        let memory = of_a_lane + (u64::from(r) * u64::from(p)).div_ceil(8);
        let work = of_a_lane * u64::from(p) * BLOCKS_A_KIB;
        Ok(Self { params, memory, work, salt, expected })
    }

    pub(super) fn work(&self) -> u64 {
        self.work
    }

    /// In KiB.
    pub(super) fn memory(&self) -> u64 {
        self.memory
    }

    /// Whether it was made from `password`.
    pub(super) fn fits(&self, password: &[u8], memory: &mut Memory) -> bool {
        let mut output = Zeroizing::new(vec![0; self.expected.len()]);
        let made = ::scrypt::scrypt(password, &self.salt, &self.params, &mut output).is_ok();
        memory.count(self.work);
        made && bool::from(output.as_slice().ct_eq(self.expected.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passwords::argon2id::Cost;

    fn parse(stored: &str) -> Result<Scrypt, Unusable> {
        Scrypt::parse(&PasswordHash::new(stored).map_err(|_| Unusable::Form)?)
    }

    fn fits(stored: &str, password: &str) -> bool {
        let mut memory = Memory::new(Cost { memory_kib: 16, passes: 1 });
        parse(stored).unwrap().fits(password.as_bytes(), &mut memory)
    }

    /// From the documentation of passlib 1.7 (`passlib.hash.scrypt`).
    const PUBLISHED: &str =
        "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E";

    #[test]
    fn a_published_hash_fits_its_password() {
        assert!(fits(PUBLISHED, "password") && !fits(PUBLISHED, "Password"));
    }

    #[test]
    fn parameters_are_bounded_before_they_are_obeyed() {
        for (params, refusal) in [
            ("ln=31,r=8,p=1", Unusable::Bounds),
            ("ln=0,r=8,p=1", Unusable::Bounds),
            ("ln=4294967295,r=8,p=1", Unusable::Bounds),
            ("ln=16,r=4294967295,p=1", Unusable::Bounds),
            ("ln=16,r=8,p=4294967295", Unusable::Bounds),
            ("ln=16,r=0,p=1", Unusable::Bounds),
            ("ln=16,r=8", Unusable::Form),
            ("ln=16,r=8,p=1,x=1", Unusable::Form),
            ("n=16,r=8,p=1", Unusable::Form),
        ] {
            assert_eq!(parse(&PUBLISHED.replace("ln=16,r=8,p=1", params)).unwrap_err(), refusal, "{params}");
        }
        let most = parse(&PUBLISHED.replace("ln=16,r=8,p=1", "ln=30,r=1024,p=1024")).unwrap();
        assert_eq!((most.memory(), most.work()), ((1 << 37) + (1 << 17), 6 << 47));
        assert_eq!(parse(PUBLISHED).unwrap().memory(), 64 * 1024 + 1);
    }
}
