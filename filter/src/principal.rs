//! Who makes a request, in the form in which upstreams are told: header values that are ready to be set.
//!
//! A claim that could change the meaning of a header (a line break, a comma in a role) never becomes one.

use std::rc::Rc;

use countersign_claims::{AccessClaims, Reject, SERVICE, Window};

pub use claim::{Claim, ClaimHeader};

mod claim;

/// A header that only the edge sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityHeader {
    UserId,
    UserEmail,
    UserRoles,
    SessionId,
    /// Of a service; nothing else of this is told of one, but how it authenticated.
    ServiceName,
    AuthMethod,
}

impl IdentityHeader {
    pub const ALL: [Self; 6] = [
        Self::UserId,
        Self::UserEmail,
        Self::UserRoles,
        Self::SessionId,
        Self::ServiceName,
        Self::AuthMethod,
    ];

    /// In the spelling that upstreams read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UserId => "x-user-id",
            Self::UserEmail => "x-user-email",
            Self::UserRoles => "x-user-roles",
            Self::SessionId => "x-session-id",
            Self::ServiceName => "x-service-name",
            Self::AuthMethod => "x-auth-method",
        }
    }
}

/// How a principal authenticated at the edge: the value of `x-auth-method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMethod {
    Jwt,
    ApiKey,
}

impl AuthMethod {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::ApiKey => "api_key",
        }
    }
}

/// A verified caller.
#[derive(Debug)]
pub struct Principal {
    /// The token, if it is remembered, and every [`Part`] after the other: in one piece of memory, because a worker has
    /// thousands of these and looks at another one with every request.
    text: Rc<[u8]>,
    /// Where the token ends, and then each part.
    ends: [usize; 1 + PARTS],
    method: AuthMethod,
    window: Window,
    /// When the user authenticated, in Unix seconds.
    authenticated_at: Option<i64>,
}

/// What is known of a caller. Empty if the token does not say it.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// `sub`: a user id, or `service:` and a name.
    Subject,
    Email,
    /// Joined with commas; no role has one in it.
    Roles,
    /// A session or an API key, or the secret of a service.
    RevokedBy,
    /// Separated by spaces.
    Permissions,
    /// The ways in which the user authenticated, separated by spaces.
    Methods,
    /// The values of the configured [`ClaimHeader`]s, a line each.
    Claims,
}

const PARTS: usize = 7;

/// Who it is and for how long, whatever the token was.
impl PartialEq for Principal {
    fn eq(&self, other: &Self) -> bool {
        let seen = |of: &Self| {
            let ends = of.ends.map(|end| end.saturating_sub(of.token_length()));
            (ends, of.method, of.window, of.authenticated_at)
        };
        self.parts() == other.parts() && seen(self) == seen(other)
    }
}

impl Eq for Principal {}

impl Principal {
    /// `headers` are those by which upstreams are told of more claims.
    ///
    /// # Errors
    /// [`Reject::InvalidClaims`] if `sub`, `session_id`, `credential_id` or a role is not printable ASCII without spaces
    /// and commas, or `email` or another claim for a header has control characters.
    pub fn new(claims: &AccessClaims, window: Window, headers: &[ClaimHeader]) -> Result<Self, Reject> {
        let plain = |value: &str| {
            let plain = !value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic() && b != b',');
            plain.then_some(()).ok_or(Reject::InvalidClaims)
        };
        plain(&claims.sub)?;
        claims.revoked_by().map_or(Ok(()), plain)?;
        claims.roles.iter().try_for_each(|role| plain(role))?;
        let email = header_value(claims.email.as_deref().unwrap_or_default())?;
        let roles = claims.roles.join(",");
        // A name with a space in it is nobody's.
        let methods: Vec<_> =
            claims.amr.iter().map(String::as_str).filter(|name| !name.contains(' ')).collect();
        let told = headers.iter().map(|header| header.claim.value(claims)).collect::<Result<Vec<_>, _>>()?;
        // No token yet; then in the order of `Part`.
        let parts: [&str; 1 + PARTS] = [
            "",
            &claims.sub,
            &email,
            &roles,
            claims.revoked_by().unwrap_or_default(),
            claims.scope.as_deref().unwrap_or_default(),
            &methods.join(" "),
            &told.join("\n"),
        ];
        let mut end = 0_usize;
        let ends = parts.map(|part| {
            end = end.saturating_add(part.len());
            end
        });
        let text = parts.concat().into_bytes().into();
        let by_key = claims.amr.iter().any(|method| method == AuthMethod::ApiKey.as_str());
        let method = if by_key { AuthMethod::ApiKey } else { AuthMethod::Jwt };
        Ok(Self { text, ends, method, window, authenticated_at: claims.auth_time })
    }

    /// The same caller with the token beside what it says.
    pub(crate) fn with_token(&self, token: &[u8]) -> Self {
        let text = [token, self.parts()].concat().into();
        let ends = self.ends.map(|end| end.saturating_sub(self.token_length()).saturating_add(token.len()));
        Self { text, ends, ..*self }
    }

    /// The memory that begins with the token.
    pub(crate) fn text(&self) -> &Rc<[u8]> {
        &self.text
    }

    pub(crate) fn token_length(&self) -> usize {
        let [length, ..] = self.ends;
        length
    }

    /// The value of a header; empty for what the token does not say.
    pub fn value(&self, header: IdentityHeader) -> &[u8] {
        match header {
            IdentityHeader::UserId => self.of_a_user(Part::Subject),
            IdentityHeader::UserEmail => self.part(Part::Email),
            IdentityHeader::UserRoles => self.part(Part::Roles),
            IdentityHeader::SessionId => self.of_a_user(Part::RevokedBy),
            IdentityHeader::ServiceName => self.service().unwrap_or_default(),
            IdentityHeader::AuthMethod => self.method.as_str().as_bytes(),
        }
    }

    /// Who it is: a user id, or `service:` and a name.
    pub fn subject(&self) -> &[u8] {
        self.part(Part::Subject)
    }

    /// The name of a service; `None` for a user.
    pub fn service(&self) -> Option<&[u8]> {
        self.subject().strip_prefix(SERVICE.as_bytes())
    }

    /// What the credential is revoked by; empty if by nothing.
    pub fn revoked_by(&self) -> &[u8] {
        self.part(Part::RevokedBy)
    }

    pub fn has_role(&self, role: &str) -> bool {
        self.part(Part::Roles).split(|b| *b == b',').any(|held| held == role.as_bytes())
    }

    pub fn has_permission(&self, permission: &str) -> bool {
        let granted = self.part(Part::Permissions).split(u8::is_ascii_whitespace);
        granted.filter(|name| !name.is_empty()).any(|name| name == permission.as_bytes())
    }

    /// Whether the user authenticated in this way (`amr`, RFC 8176), perhaps among others.
    pub fn authenticated_by(&self, method: &str) -> bool {
        self.part(Part::Methods).split(|b| *b == b' ').any(|used| used == method.as_bytes())
    }

    /// When the user authenticated, in Unix seconds, if the token says it.
    pub fn authenticated_at(&self) -> Option<i64> {
        self.authenticated_at
    }

    /// The values of the headers that this principal was made with, in their order; empty for what the token does not
    /// say.
    pub fn told_claims(&self) -> impl Iterator<Item = &[u8]> {
        self.part(Part::Claims).split(|b| *b == b'\n')
    }

    pub fn method(&self) -> AuthMethod {
        self.method
    }

    /// When this principal's credential is valid.
    pub fn window(&self) -> Window {
        self.window
    }

    /// Heap memory held, in bytes, without the allocator's own.
    pub fn heap_bytes(&self) -> usize {
        const COUNTED: usize = 2 * size_of::<usize>();
        self.text.len().saturating_add(COUNTED)
    }

    /// What has another meaning in the token of a service.
    fn of_a_user(&self, part: Part) -> &[u8] {
        if self.service().is_some() { &[] } else { self.part(part) }
    }

    fn parts(&self) -> &[u8] {
        self.text.get(self.token_length()..).unwrap_or_default()
    }

    fn part(&self, part: Part) -> &[u8] {
        let ends = self.ends.get(part as usize..).unwrap_or_default();
        let [start, end, ..] = ends else { return &[] };
        self.text.get(*start..*end).unwrap_or_default()
    }
}

/// A text, such as an e-mail address, as a header value. What is plain stands as it is; what is not printable ASCII, and
/// `%` and `,`, is percent-encoded (RFC 3986 §2.1), so that an internationalised address (RFC 6531) survives every
/// server's idea of header encoding.
fn header_value(text: &str) -> Result<String, Reject> {
    if text.chars().any(char::is_control) {
        return Err(Reject::InvalidClaims);
    }
    let mut value = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'%' | b',') {
            value.push(char::from(byte));
        } else {
            value.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(value)
}

#[cfg(test)]
pub(crate) mod tests {
    use countersign_claims::Audience;
    use proptest::prelude::*;

    use super::*;

    pub(crate) const ALWAYS: Window = Window { from: i64::MIN, until: i64::MAX };

    pub(crate) fn claims() -> AccessClaims {
        AccessClaims {
            iss: "user_service".into(),
            aud: Audience::One("trading_platform".into()),
            sub: "u-1".into(),
            exp: 0,
            nbf: None,
            iat: None,
            jti: None,
            client_id: None,
            session_id: Some("s-1".into()),
            credential_id: None,
            email: Some("ada@example.com".into()),
            name: None,
            roles: vec!["user".into(), "admin".into()],
            scope: Some("alerts:read alerts:write".into()),
            amr: vec![],
            auth_time: None,
        }
    }

    fn headers(claims: &AccessClaims) -> Result<Vec<String>, Reject> {
        let principal = Principal::new(claims, ALWAYS, &[])?;
        let value = |header| String::from_utf8(principal.value(header).to_vec()).unwrap();
        Ok(IdentityHeader::ALL.map(value).into())
    }

    #[test]
    fn tells_upstreams_who_is_calling() {
        let expected = ["u-1", "ada@example.com", "user,admin", "s-1", "", "jwt"];
        assert_eq!(headers(&claims()).unwrap(), expected);
    }

    #[test]
    fn a_token_that_was_made_for_an_api_key_says_so() {
        let by_key = AccessClaims { amr: vec!["api_key".into()], ..claims() };
        assert_eq!(headers(&by_key).unwrap()[5], "api_key");
    }

    /// The token of the service `ticker`.
    pub(crate) fn service_claims() -> AccessClaims {
        AccessClaims {
            sub: "service:ticker".into(),
            client_id: Some("ticker".into()),
            session_id: None,
            credential_id: Some("c-1".into()),
            email: None,
            roles: vec![],
            scope: Some("quotes:publish".into()),
            ..claims()
        }
    }

    #[test]
    fn nothing_told_of_a_service_could_be_taken_for_a_user() {
        assert_eq!(headers(&service_claims()).unwrap(), ["", "", "", "", "ticker", "jwt"]);
        let principal = Principal::new(&service_claims(), ALWAYS, &[]).unwrap().with_token(b"a.b.c");
        assert_eq!(principal.service(), Some(&b"ticker"[..]));
        assert_eq!((principal.subject(), principal.revoked_by()), (&b"service:ticker"[..], &b"c-1"[..]));
        let bad = AccessClaims { credential_id: Some("c 1".into()), ..service_claims() };
        assert_eq!(headers(&bad), Err(Reject::InvalidClaims));
    }

    #[test]
    fn says_nothing_for_a_claim_that_is_absent() {
        let bare = AccessClaims { session_id: None, email: None, roles: vec![], ..claims() };
        assert_eq!(headers(&bare).unwrap(), ["u-1", "", "", "", "", "jwt"]);
    }

    #[test]
    fn refuses_claims_that_could_break_a_header() {
        for bad in ["", "a\r\nx-user-roles: admin", "a\0", "a b", "a,b", "ä"] {
            for claims in [
                AccessClaims { sub: bad.into(), ..claims() },
                AccessClaims { session_id: Some(bad.into()), ..claims() },
                AccessClaims { roles: vec!["user".into(), bad.into()], ..claims() },
            ] {
                assert_eq!(headers(&claims), Err(Reject::InvalidClaims), "{bad:?}");
            }
        }
        let email = AccessClaims { email: Some("a@b\r\nx: y".into()), ..claims() };
        assert_eq!(headers(&email), Err(Reject::InvalidClaims));
    }

    #[test]
    fn encodes_addresses_that_are_not_plain() {
        for (email, value) in [("jürg@example.ch", "j%C3%BCrg@example.ch"), ("a%b,c@d", "a%25b%2Cc@d")] {
            let claims = AccessClaims { email: Some(email.into()), ..claims() };
            assert_eq!(headers(&claims).unwrap()[1], value);
        }
    }

    #[test]
    fn a_role_is_not_a_part_of_another() {
        let principal = Principal::new(&claims(), ALWAYS, &[]).unwrap();
        assert!(principal.has_role("admin") && principal.has_permission("alerts:write"));
        assert!(!principal.has_role("adm") && !principal.has_role("user,admin") && !principal.has_role(""));
        assert!(!principal.has_permission("alerts") && !principal.has_permission(""));
        let nobody = Principal::new(&AccessClaims { roles: vec![], ..claims() }, ALWAYS, &[]).unwrap();
        assert!(!nobody.has_role("admin"));
    }

    proptest! {
        #[test]
        fn no_claim_escapes_its_header(sub in "\\PC*|[\\x00-\\x7f]*", email in "\\PC*|[\\x00-\\x7f]*", role in ".*") {
            let claims = AccessClaims { sub, email: Some(email), roles: vec![role], ..claims() };
            if let Ok(principal) = Principal::new(&claims, ALWAYS, &[]) {
                for header in IdentityHeader::ALL {
                    let value = principal.value(header);
                    prop_assert!(value.iter().all(u8::is_ascii_graphic), "{:?}", value);
                }
            }
        }
    }
}
