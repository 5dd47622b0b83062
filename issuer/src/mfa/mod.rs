//! The second factor: codes of an authenticator app, and backup codes for when it is lost. A code is good once. The
//! secrets are sealed, backup codes are hashed, and neither is ever shown again.

mod backup;
mod changing;
mod checking;
mod enrolment;
pub mod http;
mod reseal;
pub mod store;
mod totp;

use std::sync::Arc;

use crate::ambient::Entropy;
use crate::config;
use crate::limits::Limits;
use crate::secrets::{Place, Ring};

pub use backup::BackupCode;
pub use changing::reset;
pub use totp::{Digits, Secret};

/// What someone shows beside the password.
#[derive(Debug, Clone)]
pub enum Code {
    Totp(Digits),
    Backup(BackupCode),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be the six digits that the app shows, or a backup code")]
pub struct MalformedCode;

/// Longer than any code with whatever people write between its groups, in bytes.
const LONGEST: usize = 64;

impl Code {
    /// Reads a code, with blanks and hyphens between its characters or without.
    ///
    /// # Errors
    /// [`MalformedCode`], which is no wrong code: nobody's code looks like that.
    pub fn parse(text: &str) -> Result<Self, MalformedCode> {
        if text.len() > LONGEST {
            return Err(MalformedCode);
        }
        let bare: String = text.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
        let totp = Digits::parse(&bare).map(Self::Totp);
        totp.or_else(|| BackupCode::parse(&bare).map(Self::Backup)).ok_or(MalformedCode)
    }
}

/// Why a code does not do what it was shown for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Wrong or used, which nobody can tell apart.
    Wrong,
    /// Not looked at, and will not be for so many seconds.
    Locked(i64),
    NotEnabled,
    NotSetUp,
    AlreadyEnabled,
}

/// What the second factor is made and checked with; cheap to clone.
#[derive(Debug, Clone)]
pub struct Mfa {
    /// As apps show it.
    issuer: Arc<str>,
    ring: Ring,
    limits: Limits,
    entropy: Entropy,
}

impl Mfa {
    pub fn new(settings: &config::Mfa, ring: Ring, limits: Limits, entropy: Entropy) -> Self {
        Self { issuer: settings.issuer.as_str().into(), ring, limits, entropy }
    }
}

/// Where the secret of a user is stored.
fn place(owner: &str) -> Place<'_> {
    Place { table: "totp", column: "secret", row: owner }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_as_people_write_it() {
        for text in ["123456", " 123 456 ", "123-456"] {
            assert!(matches!(Code::parse(text), Ok(Code::Totp(_))), "{text:?}");
        }
        for text in ["abcd-efgh-2345-mnop", "ABCD EFGH 2345 MNOP", "abcdefgh2345mnop"] {
            assert!(matches!(Code::parse(text), Ok(Code::Backup(_))), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_code_is_malformed_and_not_wrong() {
        let long = "1".repeat(1 << 20);
        for text in ["", "12345", "1234567", "12345a", "１２３４５６", "abcd-efgh-2345-mno1", "\0", &long]
        {
            assert!(Code::parse(text).is_err(), "{text:?}");
        }
    }
}
