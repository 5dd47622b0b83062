//! Claims that upstreams are told of beside who is calling, each in a header of the operator's choice.

use countersign_claims::{AccessClaims, Reject};

use super::header_value;

/// A claim and the header for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimHeader {
    /// In lower case, and none that Envoy, HTTP or the edge has another use for.
    pub name: Box<str>,
    pub claim: Claim,
}

/// What a token says that a header can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    Subject,
    Email,
    Name,
    Roles,
    Scope,
    SessionId,
    ClientId,
    TokenId,
    Methods,
    AuthTime,
    IssuedAt,
    Expires,
}

impl Claim {
    pub const ALL: [Self; 12] = [
        Self::Subject,
        Self::Email,
        Self::Name,
        Self::Roles,
        Self::Scope,
        Self::SessionId,
        Self::ClientId,
        Self::TokenId,
        Self::Methods,
        Self::AuthTime,
        Self::IssuedAt,
        Self::Expires,
    ];

    /// As the token has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Subject => "sub",
            Self::Email => "email",
            Self::Name => "name",
            Self::Roles => "roles",
            Self::Scope => "scope",
            Self::SessionId => "session_id",
            Self::ClientId => "client_id",
            Self::TokenId => "jti",
            Self::Methods => "amr",
            Self::AuthTime => "auth_time",
            Self::IssuedAt => "iat",
            Self::Expires => "exp",
        }
    }

    /// As a header value: printable ASCII, lists joined with commas; empty if the token does not say it.
    ///
    /// # Errors
    /// [`Reject::InvalidClaims`] for control characters.
    pub(super) fn value(self, claims: &AccessClaims) -> Result<String, Reject> {
        let text = |value: &Option<String>| header_value(value.as_deref().unwrap_or_default());
        let number = |value: Option<i64>| Ok(value.map(|number| number.to_string()).unwrap_or_default());
        match self {
            Self::Subject => header_value(&claims.sub),
            Self::Email => text(&claims.email),
            Self::Name => text(&claims.name),
            Self::Roles => list(claims.roles.iter().map(String::as_str)),
            Self::Scope => list(claims.permissions()),
            Self::SessionId => text(&claims.session_id),
            Self::ClientId => text(&claims.client_id),
            Self::TokenId => text(&claims.jti),
            Self::Methods => list(claims.amr.iter().map(String::as_str)),
            Self::AuthTime => number(claims.auth_time),
            Self::IssuedAt => number(claims.iat),
            Self::Expires => number(Some(claims.exp)),
        }
    }
}

fn list<'c>(items: impl Iterator<Item = &'c str>) -> Result<String, Reject> {
    Ok(items.map(header_value).collect::<Result<Vec<_>, _>>()?.join(","))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Principal;
    use super::super::tests::{ALWAYS, claims};
    use super::*;

    fn told(wanted: &[Claim], claims: &AccessClaims) -> Result<Vec<String>, Reject> {
        let headers: Vec<_> =
            wanted.iter().map(|claim| ClaimHeader { name: "x".into(), claim: *claim }).collect();
        let principal = Principal::new(claims, ALWAYS, &headers)?.with_token(b"a.b.c");
        Ok(principal.told_claims().map(|value| String::from_utf8(value.to_vec()).unwrap()).collect())
    }

    #[test]
    fn tells_every_claim_in_the_order_that_is_asked_for() {
        let claims = AccessClaims {
            name: Some("Ada, Countess of Lovelace".into()),
            amr: vec!["pwd".into(), "otp".into()],
            auth_time: Some(-5),
            exp: 90,
            ..claims()
        };
        let expected = [
            ("name", "Ada%2C%20Countess%20of%20Lovelace"),
            ("amr", "pwd,otp"),
            ("auth_time", "-5"),
            ("jti", ""),
            ("scope", "alerts:read,alerts:write"),
            ("roles", "user,admin"),
            ("iat", ""),
            ("exp", "90"),
            ("sub", "u-1"),
            ("email", "ada@example.com"),
            ("session_id", "s-1"),
            ("client_id", ""),
        ];
        let wanted =
            expected.map(|(name, _)| Claim::ALL.into_iter().find(|claim| claim.name() == name).unwrap());
        assert_eq!(told(&wanted, &claims).unwrap(), expected.map(|(_, value)| value));
        assert_eq!(wanted.len(), Claim::ALL.len());
    }

    #[test]
    fn a_control_character_in_a_claim_that_is_told_refuses_the_token() {
        let claims = AccessClaims { name: Some("Ada\r\nx-user-roles: admin".into()), ..claims() };
        assert_eq!(told(&[Claim::Name], &claims), Err(Reject::InvalidClaims));
        assert!(told(&[Claim::Email], &claims).is_ok(), "one that is not told matters to nobody");
    }

    proptest! {
        #[test]
        fn no_claim_becomes_another_header_or_moves_into_anothers_place(
            name in "\\PC*|[\\x00-\\x7f]*", jti in "\\PC*|[\\x00-\\x7f]*", amr in prop::collection::vec("\\PC*", 0..3),
        ) {
            let claims = AccessClaims { name: Some(name), jti: Some(jti), amr, ..claims() };
            if let Ok(values) = told(&Claim::ALL, &claims) {
                prop_assert_eq!(values.len(), Claim::ALL.len());
                prop_assert_eq!(&values[0], "u-1");
                prop_assert!(values.iter().all(|value| value.bytes().all(|b| b.is_ascii_graphic())), "{:?}", values);
            }
        }
    }
}
