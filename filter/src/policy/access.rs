//! Who may pass a rule: what is asked of a verified caller.

use countersign_claims::Reject;

use crate::principal::Principal;

/// Who may pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// No credential is looked at.
    Anyone,
    /// A verified caller of whom all of this is true.
    Caller(Demands),
}

/// What is asked of a caller; nothing, for every user who is verified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Demands {
    pub callers: Callers,
    pub permissions: Option<Names>,
    pub roles: Option<Names>,
    /// Ways to authenticate (`amr`, RFC 8176), any one of which is enough; empty if it does not matter.
    pub methods: Vec<Box<str>>,
    /// Seconds that may have passed since the user authenticated.
    pub max_age: Option<i64>,
}

/// Which kind of caller may pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Callers {
    /// Users and their API keys. A service never passes for one.
    #[default]
    Users,
    /// The services of these names; all of them if there is none.
    Services(Vec<Box<str>>),
    /// Users, and those services.
    Both(Vec<Box<str>>),
}

impl Callers {
    fn include(&self, principal: &Principal) -> bool {
        match (principal.service(), self) {
            (None, Self::Users | Self::Both(_)) => true,
            (None, Self::Services(_)) | (Some(_), Self::Users) => false,
            (Some(name), Self::Services(names) | Self::Both(names)) => {
                names.is_empty() || names.iter().any(|one| one.as_bytes() == name)
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    All(Vec<Box<str>>),
    Any(Vec<Box<str>>),
}

impl Names {
    fn are_met(&self, held: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::All(names) => names.iter().all(|name| held(name)),
            Self::Any(names) => names.iter().any(|name| held(name)),
        }
    }
}

impl Access {
    /// What is asked of a caller, where one is asked for.
    pub fn demands(&self) -> Option<&Demands> {
        match self {
            Self::Anyone => None,
            Self::Caller(demands) => Some(demands),
        }
    }
}

impl Demands {
    /// `now` tells Unix seconds; `skew` is how many the clocks of issuer and edge may differ.
    ///
    /// # Errors
    /// [`Reject::Forbidden`] if the principal is not of the kind or lacks what the rule asks, and otherwise
    /// [`Reject::StrongerLogin`] or [`Reject::RecentLogin`]: nobody is sent to log in again for what is not his.
    pub fn authorize(&self, principal: &Principal, now: impl Fn() -> i64, skew: i64) -> Result<(), Reject> {
        let met = |names: &Option<Names>, held: &dyn Fn(&str) -> bool| {
            names.as_ref().is_none_or(|names| names.are_met(held))
        };
        if !self.callers.include(principal)
            || !met(&self.permissions, &|name| principal.has_permission(name))
            || !met(&self.roles, &|name| principal.has_role(name))
        {
            return Err(Reject::Forbidden);
        }
        if !self.methods.is_empty() && !self.methods.iter().any(|method| principal.authenticated_by(method)) {
            return Err(Reject::StrongerLogin);
        }
        let recent = self.max_age.is_none_or(|most| {
            let until =
                principal.authenticated_at().map(|then| then.saturating_add(most).saturating_add(skew));
            until.is_some_and(|until| now() <= until)
        });
        recent.then_some(()).ok_or(Reject::RecentLogin)
    }

    /// What a login must be for this rule, as parameters of the challenge (RFC 9470 §3). Names that go in are plain
    /// (see `config/rules.rs`) and break out of no quotes.
    pub(crate) fn login(&self) -> String {
        let mut parameters = String::new();
        if !self.methods.is_empty() {
            parameters.push_str(&format!(", acr_values=\"{}\"", self.methods.join(" ")));
        }
        if let Some(seconds) = self.max_age {
            parameters.push_str(&format!(", max_age=\"{seconds}\""));
        }
        parameters
    }
}

#[cfg(test)]
mod tests {
    use countersign_claims::AccessClaims;

    use super::*;
    use crate::principal::tests::{ALWAYS, claims, service_claims};

    /// With the roles `user` and `admin`.
    fn ada() -> AccessClaims {
        AccessClaims { amr: vec!["pwd".into()], auth_time: Some(1000), ..claims() }
    }

    fn decide(demands: &Demands, claims: &AccessClaims, now: i64) -> Result<(), Reject> {
        let principal = Principal::new(claims, ALWAYS, &[]).unwrap();
        demands.authorize(&principal, || now, 30)
    }

    fn names(names: &[&str]) -> Vec<Box<str>> {
        names.iter().map(|name| (*name).into()).collect()
    }

    #[test]
    fn all_or_any_of_permissions_and_of_roles_and_both_together() {
        let (all, any) = (|n: &[&str]| Some(Names::All(names(n))), |n: &[&str]| Some(Names::Any(names(n))));
        for (permissions, roles, granted) in [
            (None, None, true),
            (all(&["alerts:read", "alerts:write"]), None, true),
            (all(&["alerts:read", "orders:write"]), None, false),
            (any(&["alerts:read", "orders:write"]), None, true),
            (any(&["orders:read", "orders:write"]), None, false),
            (None, all(&["user", "admin"]), true),
            (None, all(&["user", "support"]), false),
            (None, any(&["user", "support"]), true),
            (any(&["alerts:read"]), any(&["support"]), false),
            (any(&["orders:read"]), any(&["user"]), false),
            (any(&["alerts:read"]), any(&["user"]), true),
        ] {
            let demands = Demands { permissions, roles, ..Demands::default() };
            let expected = if granted { Ok(()) } else { Err(Reject::Forbidden) };
            assert_eq!(decide(&demands, &ada(), 1000), expected, "{demands:?}");
        }
    }

    #[test]
    fn a_service_passes_where_services_are_meant_and_nobody_else_passes_for_one() {
        let (services, both) =
            (|n: &[&str]| Callers::Services(names(n)), |n: &[&str]| Callers::Both(names(n)));
        for (callers, user, service) in [
            (Callers::Users, true, false),
            (services(&[]), false, true),
            (services(&["alerts", "ticker"]), false, true),
            (services(&["tick", "ticker2", "service:ticker"]), false, false),
            (both(&[]), true, true),
            (both(&["ticker"]), true, true),
            (both(&["alerts"]), true, false),
        ] {
            let demands = Demands { callers, ..Demands::default() };
            for (claims, passes) in [(ada(), user), (service_claims(), service)] {
                let expected = if passes { Ok(()) } else { Err(Reject::Forbidden) };
                assert_eq!(decide(&demands, &claims, 1000), expected, "{demands:?} {}", claims.sub);
            }
            let permissions = Some(Names::All(names(&["orders:write"])));
            let demands = Demands { permissions, ..demands };
            assert_eq!(decide(&demands, &service_claims(), 1000), Err(Reject::Forbidden), "{demands:?}");
        }
    }

    #[test]
    fn one_of_the_ways_to_authenticate_is_enough_and_a_part_of_a_name_is_none() {
        let demands = Demands { methods: names(&["otp", "hwk"]), ..Demands::default() };
        for (amr, granted) in [
            (&["pwd"][..], false),
            (&[], false),
            (&["pwd", "otp"], true),
            (&["hwk"], true),
            (&["otpx"], false),
            (&["pwd otp"], false),
        ] {
            let claims = AccessClaims { amr: amr.iter().map(ToString::to_string).collect(), ..ada() };
            let expected = if granted { Ok(()) } else { Err(Reject::StrongerLogin) };
            assert_eq!(decide(&demands, &claims, 1000), expected, "{amr:?}");
        }
    }

    #[test]
    fn a_login_is_recent_until_its_age_and_the_skew_have_passed_and_one_without_time_never_is() {
        let demands = Demands { max_age: Some(60), ..Demands::default() };
        assert_eq!(decide(&demands, &ada(), 1090), Ok(()));
        assert_eq!(decide(&demands, &ada(), 1091), Err(Reject::RecentLogin));
        let timeless = AccessClaims { auth_time: None, ..ada() };
        assert_eq!(decide(&demands, &timeless, 1000), Err(Reject::RecentLogin));
        let never = AccessClaims { auth_time: Some(i64::MIN), ..ada() };
        assert_eq!(decide(&demands, &never, 1000), Err(Reject::RecentLogin));
    }

    #[test]
    fn nobody_logs_in_again_for_what_is_not_his() {
        let demands = Demands {
            roles: Some(Names::Any(names(&["support"]))),
            methods: names(&["otp"]),
            max_age: Some(60),
            ..Demands::default()
        };
        assert_eq!(decide(&demands, &ada(), 9999), Err(Reject::Forbidden));
        assert_eq!(demands.login(), r#", acr_values="otp", max_age="60""#);
    }
}
