//! Every `reason` that this issuer gives beside those of a bad token (`countersign_claims::Reject`): one table, so
//! that no two mean the same and each has one status and one wording.

use http::StatusCode;

/// Why a request is refused, for programs; stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    AccountInactive,
    ApiKeyExpired,
    ApiKeyInvalid,
    ApiKeyOwnerInactive,
    AuthenticationTooOld,
    BodyTooLarge,
    BodyUnreadable,
    BrokerUnavailable,
    Busy,
    CredentialMisplaced,
    CredentialsUnavailable,
    CrossSite,
    EmailNotVerified,
    EmailTaken,
    EmailTokenInvalid,
    EncryptionOff,
    Internal,
    InvalidCredentials,
    InvalidFields,
    InvalidJson,
    InvalidRequest,
    LastAdmin,
    LoginExpired,
    MailOff,
    MethodNotAllowed,
    MfaAlreadyEnabled,
    MfaNotEnabled,
    MfaNotSetUp,
    MfaRequired,
    MissingHost,
    NotByApiKey,
    NotByService,
    NotFound,
    RateLimited,
    RefreshInvalid,
    RefreshReused,
    ServiceScopeMissing,
    ServiceTokenInvalid,
    ServiceTokenMissing,
    SessionExpired,
    SessionRevoked,
    Timeout,
    TooManyApiKeys,
    TooManyTradingAccounts,
    TradingAccountLinked,
    TradingAccountNotActive,
    UnsupportedMediaType,
    WrongCode,
    WrongPassword,
}

struct Text {
    status: StatusCode,
    reason: &'static str,
    detail: &'static str,
}

impl Reason {
    pub const ALL: &'static [Self] = &[
        Self::AccountInactive,
        Self::ApiKeyExpired,
        Self::ApiKeyInvalid,
        Self::ApiKeyOwnerInactive,
        Self::AuthenticationTooOld,
        Self::BodyTooLarge,
        Self::BodyUnreadable,
        Self::BrokerUnavailable,
        Self::Busy,
        Self::CredentialMisplaced,
        Self::CredentialsUnavailable,
        Self::CrossSite,
        Self::EmailNotVerified,
        Self::EmailTaken,
        Self::EmailTokenInvalid,
        Self::EncryptionOff,
        Self::Internal,
        Self::InvalidCredentials,
        Self::InvalidFields,
        Self::InvalidJson,
        Self::InvalidRequest,
        Self::LastAdmin,
        Self::LoginExpired,
        Self::MailOff,
        Self::MethodNotAllowed,
        Self::MfaAlreadyEnabled,
        Self::MfaNotEnabled,
        Self::MfaNotSetUp,
        Self::MfaRequired,
        Self::MissingHost,
        Self::NotByApiKey,
        Self::NotByService,
        Self::NotFound,
        Self::RateLimited,
        Self::RefreshInvalid,
        Self::RefreshReused,
        Self::ServiceScopeMissing,
        Self::ServiceTokenInvalid,
        Self::ServiceTokenMissing,
        Self::SessionExpired,
        Self::SessionRevoked,
        Self::Timeout,
        Self::TooManyApiKeys,
        Self::TooManyTradingAccounts,
        Self::TradingAccountLinked,
        Self::TradingAccountNotActive,
        Self::UnsupportedMediaType,
        Self::WrongCode,
        Self::WrongPassword,
    ];

    const fn text(self) -> Text {
        const fn text(status: StatusCode, reason: &'static str, detail: &'static str) -> Text {
            Text { status, reason, detail }
        }
        // The wording that clients know.
        const DENIED: &str = "Permission denied";
        const AGAIN: &str = "Authentication required";
        match self {
            Self::AccountInactive => {
                text(StatusCode::FORBIDDEN, "account_inactive", "This account is not active")
            }
            Self::ApiKeyExpired => {
                text(StatusCode::UNAUTHORIZED, "api_key_expired", "This API key has expired")
            }
            Self::ApiKeyInvalid => text(StatusCode::UNAUTHORIZED, "api_key_invalid", "Invalid API key"),
            Self::ApiKeyOwnerInactive => text(
                StatusCode::UNAUTHORIZED,
                "api_key_owner_inactive",
                "The account of this API key is not active",
            ),
            Self::AuthenticationTooOld => {
                text(StatusCode::FORBIDDEN, "authentication_too_old", "Log in again to do this")
            }
            Self::BodyTooLarge => {
                text(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The body is larger than 64 KiB")
            }
            Self::BodyUnreadable => text(StatusCode::BAD_REQUEST, "body_unreadable", "The body ended early"),
            Self::BrokerUnavailable => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "broker_unavailable",
                "The broker gives no answer; try again later",
            ),
            Self::Busy => text(StatusCode::SERVICE_UNAVAILABLE, "busy", "The service is busy; try again"),
            Self::CredentialMisplaced => text(
                StatusCode::UNAUTHORIZED,
                "credential_misplaced",
                "Services show X-Service-Token on /v1/internal and nowhere else, and users show nothing there",
            ),
            Self::CredentialsUnavailable => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "credentials_unavailable",
                "The key that protects these credentials cannot be used at the moment",
            ),
            Self::CrossSite => text(StatusCode::FORBIDDEN, "cross_site", DENIED),
            Self::EmailNotVerified => text(
                StatusCode::FORBIDDEN,
                "email_not_verified",
                "Confirm your e-mail address first, by the link that was sent to it",
            ),
            Self::EmailTaken => {
                text(StatusCode::CONFLICT, "email_taken", "An account with this e-mail address exists")
            }
            Self::EmailTokenInvalid => text(
                StatusCode::BAD_REQUEST,
                "email_token_invalid",
                "This link is not good any more; ask for a new one",
            ),
            Self::EncryptionOff => text(
                StatusCode::NOT_IMPLEMENTED,
                "encryption_off",
                "This service has no key to protect credentials with, so it keeps none",
            ),
            Self::Internal => {
                text(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The request could not be completed")
            }
            Self::InvalidCredentials => {
                text(StatusCode::UNAUTHORIZED, "invalid_credentials", "Invalid email or password")
            }
            Self::InvalidFields => {
                text(StatusCode::UNPROCESSABLE_ENTITY, "invalid_fields", "Some fields are not valid")
            }
            Self::InvalidJson => text(StatusCode::BAD_REQUEST, "invalid_json", "The body is not valid JSON"),
            Self::InvalidRequest => text(
                StatusCode::BAD_REQUEST,
                "invalid_request",
                "A parameter is missing, comes twice, or is not known",
            ),
            Self::LastAdmin => text(
                StatusCode::CONFLICT,
                "last_admin",
                "This is the last administrator; first make another one",
            ),
            Self::LoginExpired => text(
                StatusCode::UNAUTHORIZED,
                "login_expired",
                "This login is no longer waiting; log in again",
            ),
            Self::MailOff => text(StatusCode::NOT_IMPLEMENTED, "mail_off", "This service sends no e-mail"),
            Self::MethodNotAllowed => {
                text(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "This method is not possible here")
            }
            Self::MfaAlreadyEnabled => {
                text(StatusCode::CONFLICT, "mfa_already_enabled", "A second factor is enabled already")
            }
            Self::MfaNotEnabled => {
                text(StatusCode::CONFLICT, "mfa_not_enabled", "No second factor is enabled")
            }
            Self::MfaNotSetUp => {
                text(StatusCode::CONFLICT, "mfa_not_set_up", "Set the second factor up before enabling it")
            }
            Self::MfaRequired => text(
                StatusCode::FORBIDDEN,
                "mfa_required",
                "This account has a second factor, which this way of logging in does not know",
            ),
            Self::MissingHost => text(
                StatusCode::BAD_REQUEST,
                "missing_host",
                "HTTP/1.1 requests name their host once, in a Host header",
            ),
            Self::NotByApiKey => {
                text(StatusCode::FORBIDDEN, "not_by_api_key", "Log in to do this; an API key is not enough")
            }
            Self::NotByService => text(
                StatusCode::FORBIDDEN,
                "not_by_service",
                "This is for people and their programs; the token of a service stands for nobody",
            ),
            Self::NotFound => text(StatusCode::NOT_FOUND, "not_found", "There is nothing here"),
            Self::RateLimited => {
                text(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "Too many requests; try again later")
            }
            Self::RefreshInvalid => text(StatusCode::BAD_REQUEST, "refresh_invalid", AGAIN),
            Self::RefreshReused => text(StatusCode::BAD_REQUEST, "refresh_reused", AGAIN),
            Self::ServiceScopeMissing => {
                text(StatusCode::FORBIDDEN, "service_scope_missing", "This service token has not the scope")
            }
            Self::ServiceTokenInvalid => {
                text(StatusCode::UNAUTHORIZED, "service_token_invalid", "Invalid service token")
            }
            Self::ServiceTokenMissing => {
                text(StatusCode::UNAUTHORIZED, "service_token_missing", "Missing service token")
            }
            Self::SessionExpired => text(StatusCode::BAD_REQUEST, "session_expired", AGAIN),
            Self::SessionRevoked => text(StatusCode::BAD_REQUEST, "session_revoked", AGAIN),
            Self::Timeout => text(StatusCode::REQUEST_TIMEOUT, "timeout", "The body did not arrive in time"),
            Self::TooManyApiKeys => {
                text(StatusCode::CONFLICT, "too_many_api_keys", "Revoke an API key before making another one")
            }
            Self::TooManyTradingAccounts => {
                text(StatusCode::CONFLICT, "too_many_trading_accounts", "Unlink an account first")
            }
            Self::TradingAccountLinked => {
                text(StatusCode::CONFLICT, "trading_account_linked", "This account is linked already")
            }
            Self::TradingAccountNotActive => {
                text(StatusCode::CONFLICT, "trading_account_not_active", "This account is not active")
            }
            Self::UnsupportedMediaType => text(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "Send the body as application/json",
            ),
            Self::WrongCode => {
                text(StatusCode::FORBIDDEN, "wrong_code", "This code is not right, or was used")
            }
            Self::WrongPassword => {
                text(StatusCode::FORBIDDEN, "wrong_password", "The current password is wrong")
            }
        }
    }

    pub const fn status(self) -> StatusCode {
        self.text().status
    }

    /// As clients get it: lower case with underscores.
    pub const fn as_str(self) -> &'static str {
        self.text().reason
    }

    /// For people.
    pub const fn detail(self) -> &'static str {
        self.text().detail
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use countersign_claims::Reject;

    use super::*;

    #[test]
    fn no_two_refusals_have_the_same_reason() {
        let ours = Reason::ALL.iter().map(|reason| reason.as_str());
        let all: Vec<&str> = ours.chain(Reject::ALL.iter().map(|reject| reject.reason())).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    }
}
