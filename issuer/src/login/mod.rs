//! Proving who one is with e-mail and password, and with a code if the account has a second factor. An unknown address
//! must cost and answer the same as a wrong password.

mod at_once;
mod attempt;
mod code;
mod confirm;
pub mod http;
mod lock;
mod metrics;
mod password;
pub mod store;
mod sweep;
mod waiting;

pub use at_once::Entered;
pub use attempt::{Attempt, attempt};
pub use metrics::Metrics;
pub use password::Proved;
pub use sweep::sweep;
pub use waiting::{SessionToken, Waiting};

use crate::accounts::User;
use crate::db::Db;
use crate::limits::Limits;
use crate::mfa::Mfa;
use crate::passwords::Hasher;
use crate::sessions::Session;
use crate::sessions::grant::Grants;

/// What logins are made with; cheap to clone.
#[derive(Debug, Clone)]
pub struct Logins {
    pub db: Db,
    pub hasher: Hasher,
    pub grants: Grants,
    pub limits: Limits,
    pub mfa: Mfa,
    pub metrics: Metrics,
}

/// How a login is to go on, as it was asked for with the password.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Let the refresh cookie outlive the browser's session.
    pub persistent: bool,
    pub refresh_token_in_body: bool,
}

/// What a right password leads to.
#[derive(Debug)]
pub enum Outcome {
    Granted(Box<Granted>),
    /// The login waits for a code, which this token goes with.
    MfaRequired(SessionToken),
}

/// A session that has begun.
#[derive(Debug)]
pub struct Granted {
    pub user: User,
    pub session: Session,
}
