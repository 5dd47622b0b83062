//! Every way in which a request is refused, and how that is told: to the client (RFC 6750, RFC 9457), to gRPC
//! and to the metrics.

use serde::Serialize;

/// The media type of a [`Problem`] (RFC 9457).
pub const PROBLEM_JSON: &str = "application/problem+json";

/// The realm of every challenge, at the edge as at the issuer: a client sees one login, not two.
pub const REALM: &str = "countersign";

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reject {
    /// No credential was sent.
    Missing,
    /// No credential was sent where an API key would do as well.
    MissingCredential,
    /// The API key is not one of the issuer's, or no longer.
    ApiKeyRefused,
    /// Not three parts of strict base64url with a JSON object in the first two.
    Malformed,
    /// Longer than [`MAX_TOKEN_BYTES`](crate::MAX_TOKEN_BYTES).
    TooLarge,
    /// `alg` is neither `EdDSA` nor `Ed25519`.
    AlgorithmNotAllowed,
    /// The header brings its own key, or asks for an extension (`crit`, `zip`, `b64`, `cty`).
    HeaderNotAllowed,
    /// `typ` is not `at+jwt`.
    WrongType,
    /// No published key has this `kid`.
    UnknownKey,
    BadSignature,
    /// A required claim is missing, or a claim has the wrong type.
    InvalidClaims,
    WrongIssuer,
    WrongAudience,
    Expired,
    /// `nbf` or `iat` lies in the future.
    NotYetValid,
    /// The session of the token has ended.
    Revoked,
    /// More than one credential was sent.
    AmbiguousCredentials,
    /// The path can be read in two ways.
    AmbiguousPath,
    /// The method, the authority, or what the decision needs of an upgrade is malformed.
    BadRequest,
    /// No rule matches the request.
    NoRule,
    /// The caller is known and lacks the permission or role.
    Forbidden,
    /// The user did not log in by any of the ways that are asked for here, such as with a second factor.
    StrongerLogin,
    /// The user's login is longer ago than is allowed here, or nobody knows how long.
    RecentLogin,
    /// A page of another origin opens a WebSocket.
    OriginNotAllowed,
    /// Too many API keys that are not known are being asked about: what strangers send, and no sign that anything is away.
    ApiKeysLimited,
    /// It cannot be decided now: there is no key to verify with, or nobody to ask.
    Unavailable,
}

struct Text {
    status: u16,
    /// RFC 6750 §3.1.
    error: Option<&'static str>,
    reason: &'static str,
    detail: &'static str,
}

impl Reject {
    pub const ALL: &'static [Self] = &[
        Self::Missing,
        Self::MissingCredential,
        Self::ApiKeyRefused,
        Self::Malformed,
        Self::TooLarge,
        Self::AlgorithmNotAllowed,
        Self::HeaderNotAllowed,
        Self::WrongType,
        Self::UnknownKey,
        Self::BadSignature,
        Self::InvalidClaims,
        Self::WrongIssuer,
        Self::WrongAudience,
        Self::Expired,
        Self::NotYetValid,
        Self::Revoked,
        Self::AmbiguousCredentials,
        Self::AmbiguousPath,
        Self::BadRequest,
        Self::NoRule,
        Self::Forbidden,
        Self::StrongerLogin,
        Self::RecentLogin,
        Self::OriginNotAllowed,
        Self::ApiKeysLimited,
        Self::Unavailable,
    ];

    const fn text(self) -> Text {
        const fn invalid_token(reason: &'static str, detail: &'static str) -> Text {
            Text { status: 401, error: Some("invalid_token"), reason, detail }
        }
        // RFC 9470 §3.
        const fn weak_login(reason: &'static str, detail: &'static str) -> Text {
            Text { status: 401, error: Some("insufficient_user_authentication"), reason, detail }
        }
        /// No error code: the challenge is for tokens, and none was sent (RFC 6750 §3.1).
        const fn unauthenticated(reason: &'static str) -> Text {
            Text { status: 401, error: None, reason, detail: "Authentication required" }
        }
        // The wording of `detail` is what existing clients match on.
        const INVALID: &str = "Invalid token";
        match self {
            Self::Missing => Text {
                status: 401,
                error: None,
                reason: "missing_token",
                detail: "Missing authentication token",
            },
            Self::MissingCredential => unauthenticated("missing_credential"),
            Self::ApiKeyRefused => unauthenticated("api_key_refused"),
            Self::Malformed => invalid_token("malformed_token", INVALID),
            Self::TooLarge => invalid_token("token_too_large", INVALID),
            Self::AlgorithmNotAllowed => invalid_token("algorithm_not_allowed", INVALID),
            Self::HeaderNotAllowed => invalid_token("header_not_allowed", INVALID),
            Self::WrongType => invalid_token("wrong_type", INVALID),
            Self::UnknownKey => invalid_token("unknown_key", INVALID),
            Self::BadSignature => invalid_token("bad_signature", INVALID),
            Self::InvalidClaims => invalid_token("invalid_claims", INVALID),
            Self::WrongIssuer => invalid_token("wrong_issuer", INVALID),
            Self::WrongAudience => invalid_token("wrong_audience", INVALID),
            Self::Expired => invalid_token("token_expired", "Token expired"),
            Self::NotYetValid => invalid_token("not_yet_valid", INVALID),
            Self::Revoked => invalid_token("revoked", "Authentication required"),
            Self::AmbiguousCredentials => Text {
                status: 400,
                error: Some("invalid_request"),
                reason: "ambiguous_credentials",
                detail: "More than one credential was sent; send exactly one",
            },
            Self::AmbiguousPath => Text {
                status: 400,
                error: None,
                reason: "ambiguous_path",
                detail: "The path can be read in two ways; send it without escaped letters, digits and separators, \
                         dot segments, empty segments, ';' or '\\'",
            },
            Self::BadRequest => Text {
                status: 400,
                error: None,
                reason: "bad_request",
                detail: "The request is malformed: its method, its host or its upgrade",
            },
            Self::NoRule => Text { status: 404, error: None, reason: "no_rule", detail: "Not found" },
            Self::Forbidden => Text {
                status: 403,
                error: Some("insufficient_scope"),
                reason: "permission_denied",
                detail: "Permission denied",
            },
            Self::StrongerLogin => weak_login(
                "stronger_login_required",
                "Log in with a stronger method, such as a second factor",
            ),
            Self::RecentLogin => weak_login("recent_login_required", "Log in again to do this"),
            Self::OriginNotAllowed => {
                Text { status: 403, error: None, reason: "origin_not_allowed", detail: "Permission denied" }
            }
            Self::ApiKeysLimited => Text {
                status: 503,
                error: None,
                reason: "api_keys_limited",
                detail: "Too many API keys are being looked up; try again",
            },
            Self::Unavailable => Text {
                status: 503,
                error: None,
                reason: "unavailable",
                detail: "Tokens cannot be verified at the moment; try again",
            },
        }
    }

    /// Whether the token is good and only another login would help: not another token of the same one.
    pub const fn asks_to_log_in_again(self) -> bool {
        matches!(self, Self::StrongerLogin | Self::RecentLogin)
    }

    /// The HTTP status: 401 missing or bad credential, or a login that is not enough here, 403 known caller without permission, 404 no rule, 400 malformed
    /// request, 503 cannot decide.
    pub const fn status(self) -> u16 {
        self.text().status
    }

    /// The error code of RFC 6750 §3.1 or RFC 9470 §3; `None` where the section asks for none, or the refusal is not about
    /// a token.
    pub const fn error(self) -> Option<&'static str> {
        self.text().error
    }

    /// A stable name in snake case: the `reason` of the body and the label of the metric.
    pub const fn reason(self) -> &'static str {
        self.text().reason
    }

    /// The sentence for people.
    pub const fn detail(self) -> &'static str {
        self.text().detail
    }

    /// The reason phrase of [`status`](Self::status).
    pub const fn title(self) -> &'static str {
        match self.status() {
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            _ => "Service Unavailable",
        }
    }

    /// The status for a gRPC client: `INVALID_ARGUMENT`, `UNAUTHENTICATED`, `PERMISSION_DENIED`, `UNIMPLEMENTED` or
    /// `UNAVAILABLE`.
    pub const fn grpc_status(self) -> u32 {
        match self.status() {
            400 => 3,
            401 => 16,
            403 => 7,
            404 => 12,
            _ => 14,
        }
    }

    /// The body (RFC 9457).
    pub const fn problem(self) -> Problem {
        Problem {
            kind: "about:blank",
            title: self.title(),
            status: self.status(),
            detail: self.detail(),
            reason: self.reason(),
        }
    }

    /// How many seconds to wait before asking again, where that may help.
    pub const fn retry_after(self) -> Option<&'static str> {
        match self.status() {
            503 => Some("1"),
            _ => None,
        }
    }

    /// The value of `WWW-Authenticate` (RFC 6750 §3), or `None` where no token would help.
    ///
    /// `realm` stands inside a quoted string; quotes, backslashes and control characters in it are dropped.
    pub fn www_authenticate(self, realm: &str) -> Option<String> {
        let error = self.error();
        if self.status() != 401 && error.is_none() {
            return None;
        }
        let realm: String =
            realm.chars().filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\')).collect();
        Some(match error {
            None => format!("Bearer realm=\"{realm}\""),
            Some(error) => {
                let detail = self.detail();
                format!("Bearer realm=\"{realm}\", error=\"{error}\", error_description=\"{detail}\"")
            }
        })
    }
}

/// The body of a refusal: `application/problem+json` (RFC 9457) with the field `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Problem {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub title: &'static str,
    pub status: u16,
    pub detail: &'static str,
    pub reason: &'static str,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_is_a_metric_label_of_its_own() {
        let reasons: BTreeSet<_> = Reject::ALL.iter().map(|reject| reject.reason()).collect();
        assert_eq!(reasons.len(), Reject::ALL.len());
        assert!(reasons.iter().all(|r| r.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    }

    #[test]
    fn keeps_the_wording_that_clients_know() {
        assert_eq!(Reject::Missing.detail(), "Missing authentication token");
        assert_eq!(Reject::Expired.detail(), "Token expired");
        assert_eq!(Reject::BadSignature.detail(), "Invalid token");
        assert_eq!(Reject::Forbidden.detail(), "Permission denied");
        assert_eq!(Reject::Revoked.detail(), "Authentication required");
    }

    #[test]
    fn challenges_as_rfc_6750_says() {
        assert_eq!(Reject::Missing.www_authenticate("r").unwrap(), r#"Bearer realm="r""#);
        assert_eq!(
            Reject::Expired.www_authenticate("r").unwrap(),
            r#"Bearer realm="r", error="invalid_token", error_description="Token expired""#
        );
        assert!(Reject::Forbidden.www_authenticate("r").unwrap().contains("insufficient_scope"));
        assert_eq!(Reject::AmbiguousPath.www_authenticate("r"), None);
        assert_eq!(Reject::Unavailable.www_authenticate("r"), None);
    }

    #[test]
    fn a_realm_cannot_break_out_of_its_quotes() {
        assert_eq!(Reject::Missing.www_authenticate("a\"\r\n\\b").unwrap(), r#"Bearer realm="ab""#);
    }

    #[test]
    fn no_detail_breaks_out_of_the_challenge() {
        for reject in Reject::ALL.iter().filter(|r| r.error().is_some()) {
            assert!(!reject.detail().contains(['"', '\\']), "{reject:?}");
        }
    }
}
