//! What becomes of a request: the last value of its way, and all that the plugin needs to act.

use std::rc::Rc;

use countersign_claims::Reject;

use crate::credential::Held;
use crate::exchange::KeyDigest;
use crate::principal::{IdentityHeader, Principal};
use crate::websocket::Lifetime;

/// The decision about a request.
#[derive(Debug)]
pub struct Verdict<'a> {
    pub decision: Decision,
    /// The rule that matched.
    pub rule: Option<&'a str>,
    pub edits: Edits<'a>,
    /// It is to be decided again when somebody has answered.
    pub wait: Option<Wait>,
    /// A WebSocket that was let through ends with this.
    pub lifetime: Option<Lifetime>,
}

/// A request that waits.
#[derive(Debug)]
pub struct Wait {
    pub on: WaitOn,
    pub held: Held,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitOn {
    /// What the issuer says of an API key.
    ApiKey(KeyDigest),
    /// The issuer's keys, which are being fetched.
    Keys,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// A rule lets anyone pass.
    Public,
    /// The caller is known and may pass.
    Admitted,
    /// It would have been refused; the rule only observes.
    Observed(Reject),
    Denied(Reject),
}

/// What must be changed in the request headers, whatever the decision.
#[derive(Debug, Default)]
pub struct Edits<'a> {
    /// Names of headers to remove, which could pass for identity headers.
    pub spoofed: &'a [&'a [u8]],
    /// Upstreams get no `Authorization`, or none that was not verified beside who is calling.
    pub strip_authorization: bool,
    /// API keys are for the edge alone.
    pub strip_api_key: bool,
    /// The method that may be logged of a request whose own could be anything.
    pub method: Option<&'static [u8]>,
    /// `Connection: Upgrade`, and no other header nominated for removal at the next hop (RFC 9110 §7.6.1): that could
    /// be one that tells who is calling.
    pub plain_connection: bool,
    /// `:path` without credentials; of a refused request, what may be logged.
    pub path: Option<Vec<u8>>,
    /// `Sec-WebSocket-Protocol` without credentials; removed if empty.
    pub protocols: Option<Vec<u8>>,
    /// Who is calling, if that is known.
    pub identity: Option<Rc<Principal>>,
    /// The headers by which upstreams are told.
    pub identity_headers: &'a [IdentityHeader],
}

impl<'a> Verdict<'a> {
    pub fn new(decision: Decision, rule: Option<&'a str>, edits: Edits<'a>) -> Self {
        Self { decision, rule, edits, wait: None, lifetime: None }
    }
}

impl Decision {
    /// Why the request is not, or would not be, let through.
    pub fn reject(self) -> Option<Reject> {
        match self {
            Self::Public | Self::Admitted => None,
            Self::Observed(reject) | Self::Denied(reject) => Some(reject),
        }
    }

    /// Whether a newer key set could change the decision.
    pub fn lacks_key(self) -> bool {
        matches!(self.reject(), Some(Reject::UnknownKey | Reject::Unavailable))
    }
}
