//! How the errors of hashing are told.

use super::HashError;
use crate::web::{Problem, Reason};

impl From<HashError> for Problem {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy => Self::because(Reason::Busy, "Too many logins at the moment; try again"),
            error => Self::internal(&error),
        }
    }
}
