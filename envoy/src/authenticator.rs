//! An authenticator app, as people have it on their telephone: codes that change with the time (RFC 6238).

use std::fmt;

use anyhow::{Context, Result};
use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

/// For how many seconds a code is shown.
pub const STEP: i64 = 30;

/// One account in the app.
#[derive(Clone)]
pub struct Authenticator {
    key: Vec<u8>,
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authenticator(…)")
    }
}

impl Authenticator {
    /// Takes the secret as a person types it: in Base32.
    ///
    /// # Errors
    /// If it is none.
    pub fn new(secret: &str) -> Result<Self> {
        let key = BASE32_NOPAD.decode(secret.as_bytes()).context("the secret is not Base32")?;
        Ok(Self { key })
    }

    /// The six digits that it shows at this time, in seconds since 1970.
    pub fn code_at(&self, seconds: i64) -> String {
        // A key may have any length.
        let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(&self.key) else { return String::new() };
        mac.update(&seconds.div_euclid(STEP).to_be_bytes());
        let hash: [u8; 20] = mac.finalize().into_bytes().into();
        let offset = usize::from(hash[19] & 0xf);
        let word = [0, 1, 2, 3].map(|at| hash[offset + at]);
        format!("{:06}", (u32::from_be_bytes(word) & 0x7fff_ffff) % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_rfc() {
        let app = Authenticator::new(&BASE32_NOPAD.encode(b"12345678901234567890")).unwrap();
        for (at, code) in [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")] {
            assert_eq!(app.code_at(at), code, "{at}");
        }
    }
}
