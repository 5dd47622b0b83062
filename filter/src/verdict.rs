//! What becomes of a request: the last value of its way, and all that the plugin needs to act.

use std::rc::Rc;

use countersign_claims::{REALM, Reject};

use crate::credential::Held;
use crate::exchange::KeyDigest;
use crate::policy::Rule;
use crate::principal::{ClaimHeader, IdentityHeader, Principal};
use crate::websocket::Lifetime;

/// The decision about a request.
#[derive(Debug)]
pub struct Verdict<'a> {
    pub decision: Decision,
    /// The rule that matched.
    pub rule: Option<&'a Rule>,
    pub edits: Edits<'a>,
    /// What logs and other filters are told.
    pub told: &'a [Told],
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

/// What access logs and filters behind this one find in filter state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The name of the rule that matched.
    Rule,
    /// Why the request was, or would have been, refused, or why its WebSocket was ended.
    Reason,
    /// Who is calling: the token's `sub`.
    Subject,
    Session,
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
    /// What they get for it instead of what was sent: the token that was verified.
    pub authorization: Option<Vec<u8>>,
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
    /// And those for more of what the token says.
    pub claim_headers: &'a [ClaimHeader],
}

impl<'a> Verdict<'a> {
    /// One that is final, and lets no stream through that would have to be ended.
    pub fn new(decision: Decision, rule: Option<&'a Rule>, edits: Edits<'a>, told: &'a [Told]) -> Self {
        Self { decision, rule, edits, told, wait: None, lifetime: None }
    }

    /// The value of `WWW-Authenticate` for a refusal (RFC 6750 §3), with what a login must be where that is the matter
    /// (RFC 9470 §3).
    pub fn challenge(&self, reject: Reject) -> Option<String> {
        let mut challenge = reject.www_authenticate(REALM)?;
        if reject.asks_to_log_in_again()
            && let Some(demands) = self.rule.and_then(|rule| rule.access.demands())
        {
            challenge.push_str(&demands.login());
        }
        Some(challenge)
    }
}

impl Told {
    pub const ALL: [Self; 4] = [Self::Rule, Self::Reason, Self::Subject, Self::Session];
    /// Each costs a call to the host, and who is calling is not everybody's to read.
    pub const DEFAULT: [Self; 2] = [Self::Rule, Self::Reason];

    /// In a configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Reason => "reason",
            Self::Subject => "subject",
            Self::Session => "session",
        }
    }

    /// In filter state, where the host puts `wasm.` before it: `%FILTER_STATE(wasm.countersign_rule:PLAIN)%`.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Rule => "countersign_rule",
            Self::Reason => "countersign_reason",
            Self::Subject => "countersign_subject",
            Self::Session => "countersign_session",
        }
    }

    /// What there is to tell; nothing is told that is not known.
    pub fn value<'v>(self, verdict: &'v Verdict<'_>) -> Option<&'v [u8]> {
        let caller = verdict.edits.identity.as_deref();
        let value = match self {
            Self::Rule => verdict.rule.map(|rule| rule.name.as_bytes()),
            Self::Reason => verdict.decision.reject().map(|reject| reject.reason().as_bytes()),
            Self::Subject => caller.map(Principal::subject),
            Self::Session => caller.map(|principal| principal.value(IdentityHeader::SessionId)),
        };
        value.filter(|value| !value.is_empty())
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
