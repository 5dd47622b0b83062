//! Who makes a request, in the form in which upstreams are told: header values that are ready to be set.
//!
//! A claim that could change the meaning of a header (a line break, a comma in a role) never becomes one.

use countersign_claims::{AccessClaims, Reject, Window};

/// How a principal authenticated at the edge: the value of `x-auth-method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMethod {
    Jwt,
}

impl AuthMethod {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
        }
    }
}

/// A verified caller.
#[derive(Debug, PartialEq, Eq)]
pub struct Principal {
    user_id: Box<str>,
    email: Option<Box<str>>,
    /// Joined with commas; no role has one in it.
    roles: Box<str>,
    session_id: Option<Box<str>>,
    /// Separated by spaces.
    permissions: Box<str>,
    method: AuthMethod,
    window: Window,
}

impl Principal {
    /// # Errors
    /// [`Reject::InvalidClaims`] if `sub`, `session_id` or a role is not printable ASCII without spaces and commas, or
    /// `email` has control characters.
    pub fn new(claims: &AccessClaims, window: Window) -> Result<Self, Reject> {
        let plain = |value: &str| {
            let plain = !value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic() && b != b',');
            plain.then_some(()).ok_or(Reject::InvalidClaims)
        };
        plain(&claims.sub)?;
        claims.session_id.as_deref().map_or(Ok(()), plain)?;
        claims.roles.iter().try_for_each(|role| plain(role))?;
        let email =
            claims.email.as_deref().filter(|email| !email.is_empty()).map(header_value).transpose()?;
        Ok(Self {
            user_id: claims.sub.as_str().into(),
            email,
            roles: claims.roles.join(",").into(),
            session_id: claims.session_id.as_deref().map(Into::into),
            permissions: claims.scope.as_deref().unwrap_or_default().into(),
            method: AuthMethod::Jwt,
            window,
        })
    }

    /// The identity headers and their values. A header whose claim is absent is not set.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("x-user-id", Some(&*self.user_id)),
            ("x-user-email", self.email.as_deref()),
            ("x-user-roles", Some(&*self.roles).filter(|roles| !roles.is_empty())),
            ("x-session-id", self.session_id.as_deref()),
            ("x-auth-method", Some(self.method.as_str())),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }

    pub fn has_role(&self, role: &str) -> bool {
        self.roles.split(',').any(|held| held == role)
    }

    pub fn has_permission(&self, permission: &str) -> bool {
        self.permissions.split_ascii_whitespace().any(|granted| granted == permission)
    }

    /// When this principal's credential is valid.
    pub fn window(&self) -> Window {
        self.window
    }

    /// Heap memory held, in bytes, without the allocator's own.
    pub fn heap_bytes(&self) -> usize {
        [
            Some(&self.user_id),
            self.email.as_ref(),
            Some(&self.roles),
            self.session_id.as_ref(),
            Some(&self.permissions),
        ]
        .into_iter()
        .flatten()
        .fold(0, |sum, text| sum.saturating_add(text.len()))
    }
}

/// An e-mail address as a header value. Plain addresses stand as they are; what is not printable ASCII, and `%`
/// and `,`, is percent-encoded (RFC 3986 §2.1), so that an internationalised address (RFC 6531) survives every
/// server's idea of header encoding.
fn header_value(email: &str) -> Result<Box<str>, Reject> {
    if email.chars().any(char::is_control) {
        return Err(Reject::InvalidClaims);
    }
    let mut value = String::with_capacity(email.len());
    for byte in email.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'%' | b',') {
            value.push(char::from(byte));
        } else {
            value.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(value.into())
}

#[cfg(test)]
mod tests {
    use countersign_claims::Audience;
    use proptest::prelude::*;

    use super::*;

    const ALWAYS: Window = Window { from: i64::MIN, until: i64::MAX };

    fn claims() -> AccessClaims {
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
            email: Some("ada@example.com".into()),
            name: None,
            roles: vec!["user".into(), "admin".into()],
            scope: Some("alerts:read alerts:write".into()),
            amr: vec![],
            auth_time: None,
        }
    }

    fn headers(claims: &AccessClaims) -> Result<Vec<(String, String)>, Reject> {
        let principal = Principal::new(claims, ALWAYS)?;
        Ok(principal.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    #[test]
    fn tells_upstreams_who_is_calling() {
        let expected = [
            ("x-user-id", "u-1"),
            ("x-user-email", "ada@example.com"),
            ("x-user-roles", "user,admin"),
            ("x-session-id", "s-1"),
            ("x-auth-method", "jwt"),
        ];
        let expected: Vec<_> = expected.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        assert_eq!(headers(&claims()), Ok(expected));
    }

    #[test]
    fn sets_no_header_for_a_claim_that_is_absent() {
        let bare = AccessClaims { session_id: None, email: None, roles: vec![], ..claims() };
        let names: Vec<_> = headers(&bare).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["x-user-id", "x-auth-method"]);
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
            assert!(headers(&claims).unwrap().contains(&("x-user-email".into(), value.into())));
        }
    }

    #[test]
    fn a_role_is_not_a_part_of_another() {
        let principal = Principal::new(&claims(), ALWAYS).unwrap();
        assert!(principal.has_role("admin") && principal.has_permission("alerts:write"));
        assert!(!principal.has_role("adm") && !principal.has_role("user,admin") && !principal.has_role(""));
        assert!(!principal.has_permission("alerts") && !principal.has_permission(""));
        let nobody = Principal::new(&AccessClaims { roles: vec![], ..claims() }, ALWAYS).unwrap();
        assert!(!nobody.has_role("admin"));
    }

    proptest! {
        #[test]
        fn no_claim_escapes_its_header(sub in "\\PC*|[\\x00-\\x7f]*", email in "\\PC*|[\\x00-\\x7f]*", role in ".*") {
            let claims = AccessClaims { sub, email: Some(email), roles: vec![role], ..claims() };
            if let Ok(principal) = Principal::new(&claims, ALWAYS) {
                for (_, value) in principal.headers() {
                    prop_assert!(value.bytes().all(|b| b.is_ascii_graphic()), "{}", value);
                }
            }
        }
    }
}
