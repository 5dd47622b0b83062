//! How large a token can get under a configuration: one that verifiers refuse for its size must never be issued.

use countersign_claims::{MAX_TOKEN_BYTES, SigningKey, mint};
use uuid::Uuid;

use super::minter::Rules;
use super::{Bearer, ServiceBearer};
use crate::accounts::{Email, Name, User, UserId};
use crate::ambient::UnixTime;
use crate::config::{Finding, LONGEST_KID, Settings};
use crate::services::ServiceName;

/// The last second of the year 9999, which no time in a token outgrows.
const LATE: UnixTime = UnixTime::from_seconds(253_402_300_799);

/// What is wrong if someone with every role, the longest address and the longest name, or a service with every scope, would
/// get too large a token.
pub fn oversize(settings: &Settings) -> Option<Finding> {
    let bytes = largest(settings);
    (bytes > MAX_TOKEN_BYTES).then(|| {
        let message = format!(
            "someone with every role can get a token of {bytes} bytes, or a service with every scope, and verifiers take \
             {MAX_TOKEN_BYTES}: use fewer or shorter permissions"
        );
        Finding::error(settings.file.display(), "roles", message)
    })
}

/// The size of the largest token, by making it. The key does not matter: signatures have one size.
fn largest(settings: &Settings) -> usize {
    let id = Uuid::max();
    let user = User {
        id: UserId::new(id),
        email: "e".repeat(Email::LONGEST),
        email_verified: true,
        username: None,
        name: "\u{10FFFF}".repeat(Name::LONGEST),
        phone: None,
        roles: settings.roles.names().map(str::to_owned).collect(),
        is_active: true,
        mfa_enabled: true,
        created_at: LATE,
        updated_at: LATE,
    };
    let (session_id, amr) = (id.to_string(), ["pwd", "otp"].map(str::to_owned));
    let bearer = Bearer {
        user: &user,
        session_id: &session_id,
        amr: &amr,
        authenticated_at: LATE,
        lifetime: settings.tokens.access_lifetime,
        ends_at: LATE,
        scopes: None,
    };
    let permissions = settings.service_permissions();
    let service = ServiceBearer {
        name: &ServiceName::longest(),
        credential_id: &session_id,
        permissions: &permissions,
        lifetime: settings.services.token_lifetime,
    };
    let rules = Rules::new(settings);
    let size = |claims| {
        let (kid, key) = ("k".repeat(LONGEST_KID), SigningKey::from_bytes(&[0; 32]));
        mint(&kid, &claims, &key, settings.tokens.alg).map_or(usize::MAX, |token| token.len())
    };
    size(rules.claims(bearer, id, LATE)).max(size(rules.service_claims(service, id, LATE)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn settings(roles: &str) -> Settings {
        let text = format!("[secrets]\ncurrent = \"0123456789-0123456789-0123456789\"\n[roles]\n{roles}");
        let loaded = config::parse("x.toml".as_ref(), &text, []);
        loaded.settings.unwrap_or_else(|| panic!("{:?}", loaded.findings))
    }

    fn role(name: &str, permissions: usize) -> String {
        let permissions: Vec<String> = (0..permissions).map(|n| format!("\"{name}:{n:08}\"")).collect();
        format!("{name} = [{}]\n", permissions.join(", "))
    }

    #[test]
    fn roles_too_large_for_a_token_are_refused() {
        assert_eq!(oversize(&settings("")), None);
        // Either fits; someone may have both.
        let (a, b) = (role("a", 200), role("b", 300));
        assert_eq!(oversize(&settings(&a)), None);
        assert_eq!(oversize(&settings(&b)), None);
        let finding = oversize(&settings(&format!("{a}{b}"))).unwrap().to_string();
        assert!(finding.starts_with("x.toml: roles: "), "{finding}");
        assert!(finding.contains("token of ") && finding.contains("verifiers take 8192"), "{finding}");
    }
}
