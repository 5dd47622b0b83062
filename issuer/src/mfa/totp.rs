//! Codes that change with the time (TOTP, RFC 6238), as every authenticator app makes them: HMAC-SHA-1, six digits,
//! steps of 30 seconds.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::ambient::UnixTime;

/// Seconds.
const STEP: i64 = 30;

/// As many steps before and after are good, for clocks that differ and people who type slowly (RFC 6238 §5.2).
const DRIFT: i64 = 1;

/// What a user's app and we both know.
pub struct Secret(Zeroizing<Vec<u8>>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// As long as the output of the HMAC (RFC 4226 §4, R6).
    pub const LENGTH: usize = 20;

    pub fn new(bytes: [u8; Self::LENGTH]) -> Self {
        Self::from(Zeroizing::new(bytes.to_vec()))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// As people type it into an app that cannot see the QR code.
    pub fn base32(&self) -> String {
        BASE32_NOPAD.encode(&self.0)
    }

    /// The step whose code this is: one that is good at `now`, and later than `used`.
    pub fn step_of(&self, code: Digits, now: UnixTime, used: i64) -> Option<i64> {
        let current = now.seconds().div_euclid(STEP);
        let good = current.saturating_sub(DRIFT)..=current.saturating_add(DRIFT);
        // No end before the last, so that the time tells nothing.
        good.fold(None, |found, step| {
            let fits = bool::from(self.digits(step).0.ct_eq(&code.0)) && step > used;
            if fits { found.or(Some(step)) } else { found }
        })
    }

    /// RFC 4226 §5.3.
    fn digits(&self, step: i64) -> Digits {
        // A key may have any length.
        let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(&self.0) else { return Digits(u32::MAX) };
        mac.update(&step.to_be_bytes());
        let hash: [u8; 20] = mac.finalize().into_bytes().into();
        let offset = usize::from(hash[19] & 0xf);
        let word = hash.get(offset..).and_then(<[u8]>::first_chunk::<4>);
        Digits(word.map_or(u32::MAX, |word| (u32::from_be_bytes(*word) & 0x7fff_ffff) % 1_000_000))
    }
}

impl From<Zeroizing<Vec<u8>>> for Secret {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }
}

/// Six digits, as typed. Used once, they open nothing any more, but until then they do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digits(u32);

impl fmt::Debug for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digits(…)")
    }
}

impl Digits {
    /// Exactly six, in ASCII.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| digits).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secret of RFC 4226, appendix D, and RFC 6238, appendix B.
    fn secret() -> Secret {
        Secret::new(*b"12345678901234567890")
    }

    fn digits(text: &str) -> Digits {
        Digits::parse(text).unwrap()
    }

    #[test]
    fn codes_are_those_of_the_rfcs() {
        let counted = [
            "755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871",
            "520489",
        ];
        for (step, code) in counted.iter().enumerate() {
            assert_eq!(secret().digits(step as i64), digits(code), "{step}");
        }
        // The last six of the RFC's eight digits.
        let timed = [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ];
        for (at, code) in timed {
            let step = secret().step_of(digits(code), UnixTime::from_seconds(at), 0);
            assert_eq!(step, Some(at / 30), "{at}");
        }
    }

    #[test]
    fn a_code_is_good_for_one_step_before_and_after_and_not_a_second_longer() {
        let code = secret().digits(100);
        let good = |at: i64| secret().step_of(code, UnixTime::from_seconds(at), 0) == Some(100);
        for (at, expected) in [(2_969, false), (2_970, true), (3_000, true), (3_059, true), (3_060, false)] {
            assert_eq!(good(at), expected, "{at}");
        }
    }

    #[test]
    fn a_step_that_was_used_and_those_before_it_are_used_up() {
        let now = UnixTime::from_seconds(3_000);
        for (step, used, expected) in
            [(99, 98, Some(99)), (99, 99, None), (99, 100, None), (101, 100, Some(101)), (101, 101, None)]
        {
            assert_eq!(secret().step_of(secret().digits(step), now, used), expected, "{step} after {used}");
        }
    }

    #[test]
    fn no_clock_makes_it_panic() {
        for at in [i64::MIN, -1, 0, i64::MAX] {
            let _ = secret().step_of(digits("000000"), UnixTime::from_seconds(at), 0);
        }
    }

    #[test]
    fn six_ascii_digits_are_a_code_and_nothing_else_is() {
        assert_eq!(Digits::parse("000042"), Some(Digits(42)));
        for text in ["", "12345", "1234567", "+12345", "-12345", "12345a", "１２３４５６", "12 345"] {
            assert_eq!(Digits::parse(text), None, "{text:?}");
        }
    }
}
