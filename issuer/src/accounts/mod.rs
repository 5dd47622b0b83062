//! People: who they are and what they are called. The rules for ids, addresses, names and numbers; no I/O.

pub mod http;
pub mod import;
mod name;
mod registration;
pub mod standing;
pub mod store;

use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::access::ADMIN;
use crate::ambient::UnixTime;
use crate::config::Roles;
use crate::services::AUDITED;

pub use name::{InvalidName, InvalidUsername, Name, Username, is_invisible};
pub use registration::{Applicant, Registered, Registration, Registrations};

/// Names an account for good. Ours are UUIDs; an imported account keeps the id that other systems know it by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub struct UserId(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must have 1 to 64 visible ASCII characters, none of them a comma, and be neither \"operator\" nor \"issuer\" nor begin \
     with \"service:\", by which the audit means others"
)]
pub struct InvalidId;

impl UserId {
    /// In bytes.
    pub const LONGEST: usize = 64;

    pub fn new(id: Uuid) -> Self {
        Self(id.to_string())
    }

    /// Takes the id of another system as it is; it travels in headers and tokens.
    ///
    /// # Errors
    /// [`InvalidId`].
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let fits = (1..=Self::LONGEST).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_graphic() && b != b',')
            && !["operator", "issuer"].contains(&text)
            && !text.starts_with(AUDITED);
        if fits { Ok(Self(text.to_owned())) } else { Err(InvalidId) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An e-mail address in the one form in which it is stored, compared and shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an e-mail address")]
pub struct InvalidEmail;

impl Email {
    /// In bytes (RFC 5321 §4.5.3.1).
    pub const LONGEST: usize = 254;

    /// Trims, lowers the case and checks the form that browsers accept (WHATWG HTML §4.10.5.1.5): ASCII only, so
    /// that no look-alike letter becomes someone else's address; international domains come as `xn--…`.
    ///
    /// # Errors
    /// [`InvalidEmail`].
    pub fn parse(text: &str) -> Result<Self, InvalidEmail> {
        let text = text.trim_matches(' ');
        let (local, domain) = text.split_once('@').ok_or(InvalidEmail)?;
        let local_fits = (1..=64).contains(&local.len())
            && local.bytes().all(|b| b.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(&b));
        let domain_fits = domain.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        });
        if text.len() > Self::LONGEST || !local_fits || !domain_fits {
            return Err(InvalidEmail);
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    /// What is before the `@`.
    pub fn local_part(&self) -> &str {
        self.0.split('@').next().unwrap_or_default()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a telephone number such as +44 20 7946 0018")]
pub struct InvalidPhone;

/// Checks a telephone number: an optional plus, 5 to 15 digits (ITU-T E.164), and what people write between them. An
/// empty one is none.
///
/// # Errors
/// [`InvalidPhone`].
pub fn parse_phone(text: &str) -> Result<Option<String>, InvalidPhone> {
    let phone = text.trim();
    if phone.is_empty() {
        return Ok(None);
    }
    let rest = phone.strip_prefix('+').unwrap_or(phone);
    let digits = rest.bytes().filter(u8::is_ascii_digit).count();
    let fits = (5..=15).contains(&digits)
        && phone.len() <= 32
        && rest.bytes().all(|b| b.is_ascii_digit() || b" -().".contains(&b));
    if fits { Ok(Some(phone.to_owned())) } else { Err(InvalidPhone) }
}

/// A person with an account. The password hash stays in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    pub email: String,
    pub email_verified: bool,
    /// By which an imported user may log in, too.
    pub username: Option<String>,
    pub name: String,
    pub phone: Option<String>,
    pub roles: Vec<String>,
    pub is_active: bool,
    /// Whether a login needs a code beside the password.
    pub mfa_enabled: bool,
    pub created_at: UnixTime,
    pub updated_at: UnixTime,
}

impl User {
    pub fn is_admin(&self) -> bool {
        self.roles.iter().any(|role| role == ADMIN)
    }
}

/// What a login is checked against, as it was when it was read.
#[derive(Debug, Clone)]
pub struct Credential {
    /// PHC string, or what another system stored.
    pub password_hash: String,
    /// Moves when logins under way must not succeed any more: see [`store::claim_login`].
    pub epoch: i64,
}

/// An account to be made.
#[derive(Debug, Clone)]
pub struct NewUser {
    pub id: UserId,
    pub email: Email,
    /// Whether it is known to be theirs.
    pub email_verified: bool,
    pub name: Name,
    pub phone: Option<String>,
    /// PHC string.
    pub password_hash: String,
    pub roles: Vec<String>,
}

/// An account of another system.
#[derive(Debug, Clone)]
pub struct ImportedUser {
    pub id: UserId,
    pub email: Email,
    pub email_verified: bool,
    pub username: Option<Username>,
    pub name: Name,
    /// As the other system made it; passwords can be checked against it.
    pub password_hash: String,
    pub roles: Vec<String>,
    pub is_active: bool,
    pub created_at: UnixTime,
    pub updated_at: UnixTime,
}

/// A user as the API shows them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = User)]
pub struct UserBody {
    /// The same as `id`, under the name that some clients know.
    user_id: String,
    id: String,
    email: String,
    name: String,
    phone: Option<String>,
    roles: Vec<String>,
    permissions: Vec<String>,
    mfa_enabled: bool,
    email_verified: bool,
    is_active: bool,
    is_admin: bool,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339.
    updated_at: String,
}

impl UserBody {
    pub fn new(user: User, roles: &Roles) -> Self {
        Self {
            user_id: user.id.to_string(),
            permissions: roles.permissions(&user.roles).into_iter().map(str::to_owned).collect(),
            is_admin: user.is_admin(),
            id: user.id.to_string(),
            email: user.email,
            name: user.name,
            phone: user.phone,
            roles: user.roles,
            mfa_enabled: user.mfa_enabled,
            email_verified: user.email_verified,
            is_active: user.is_active,
            created_at: user.created_at.to_string(),
            updated_at: user.updated_at.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_of_another_system_fits_headers_and_is_no_actor_of_the_audit() {
        for id in ["1", "507f1f77bcf86cd799439011", "a:b/c", &"x".repeat(64)] {
            assert_eq!(UserId::parse(id).unwrap().as_str(), id);
        }
        for id in ["", "a b", "a,b", "ä", "a\n", &"x".repeat(65), "operator", "issuer", "service:edge"] {
            assert!(UserId::parse(id).is_err(), "{id:?}");
        }
    }

    #[test]
    fn addresses_have_one_form() {
        for text in ["ada@example.com", " Ada@Example.COM ", "ADA@EXAMPLE.COM"] {
            assert_eq!(Email::parse(text).unwrap().as_str(), "ada@example.com");
        }
        assert_eq!(Email::parse("a+tag.x@sub.example.co").unwrap().as_str(), "a+tag.x@sub.example.co");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = format!("{}@example.com", "a".repeat(65));
        let longer = format!("a@{}.com", "a.".repeat(130));
        for text in [
            "",
            "@",
            "a@",
            "@a",
            "ada",
            "a@b@c",
            "a b@c",
            "a@b c",
            "a@-b",
            "a@b-",
            "a@b..c",
            "a@.b",
            "a\0@b",
            "a@b\n",
            "\"a\"@b",
            "a@[127.0.0.1]",
            "a,b@c",
            "a@b\r\nbcc: x",
            &long,
            &longer,
        ] {
            assert_eq!(Email::parse(text), Err(InvalidEmail), "{text:?}");
        }
    }

    #[test]
    fn look_alike_letters_do_not_become_ascii() {
        // KELVIN SIGN lowers to an ASCII k, LONG S rises to an ASCII S, Cyrillic а looks like a.
        for text in ["\u{212A}ate@example.com", "\u{017F}am@example.com", "\u{0430}da@example.com"] {
            assert_eq!(Email::parse(text), Err(InvalidEmail), "{text}");
        }
    }

    #[test]
    fn numbers_are_trimmed_and_bounded() {
        assert_eq!(parse_phone(" +44 (20) 7946-0018 "), Ok(Some("+44 (20) 7946-0018".into())));
        assert_eq!((parse_phone(""), parse_phone("  ")), (Ok(None), Ok(None)));
        for phone in ["+", "1234", "12345678901234567", "+44;drop", "٠١٢٣٤٥", "1+2345678"] {
            assert_eq!(parse_phone(phone), Err(InvalidPhone), "{phone:?}");
        }
    }

    proptest! {
        #[test]
        fn the_one_form_is_stable(text in "\\PC{0,40}@\\PC{0,40}") {
            if let Ok(email) = Email::parse(&text) {
                prop_assert_eq!(Email::parse(email.as_str()), Ok(email));
            }
        }
    }
}
