//! What a caller may do: roles, and the permissions that the configuration grants to each. A role that the
//! configuration does not know grants nothing.

pub mod http;

use crate::config::Roles;

/// The role that every registered user has.
pub const USER: &str = "user";

/// The role for which `is_admin` is shown.
pub const ADMIN: &str = "admin";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no role {role:?}; the configuration has {known}")]
pub struct UnknownRole {
    role: String,
    known: String,
}

/// How long, in seconds, a service may go by what it was told about a user.
pub const DECISION_LIFETIME: i64 = 30;

/// What a service may ask in one call.
pub const MOST_CHECKS: usize = 100;

/// Whether someone may do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Granted,
    NotGranted,
    /// No role grants it to anyone.
    UnknownPermission,
    UnknownUser,
    /// The account is closed, or its address not verified where it has to be.
    UserInactive,
}

impl Decision {
    /// For programs; stable.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::NotGranted => "not_granted",
            Self::UnknownPermission => "unknown_permission",
            Self::UnknownUser => "unknown_user",
            Self::UserInactive => "user_inactive",
        }
    }
}

impl Roles {
    /// Whether someone with these roles may do what needs `permission`.
    pub fn decide(&self, roles: &[String], permission: &str) -> Decision {
        if self.permissions(roles).contains(&permission) {
            Decision::Granted
        } else if self.all_permissions().contains(&permission) {
            Decision::NotGranted
        } else {
            Decision::UnknownPermission
        }
    }

    /// What `roles` grant together, each permission once.
    pub fn permissions(&self, roles: &[String]) -> Vec<&str> {
        let mut granted = Vec::new();
        for permission in roles.iter().filter_map(|role| self.0.get(role)).flatten() {
            if !granted.contains(&permission.as_str()) {
                granted.push(permission.as_str());
            }
        }
        granted
    }

    pub fn knows(&self, role: &str) -> bool {
        self.0.contains_key(role)
    }

    /// The roles without repetition.
    ///
    /// # Errors
    /// [`UnknownRole`] if the configuration does not know one.
    pub fn check(&self, roles: &[String]) -> Result<Vec<String>, UnknownRole> {
        let mut known: Vec<String> = Vec::new();
        for role in roles {
            if !self.knows(role) {
                return Err(UnknownRole {
                    role: role.clone(),
                    known: self.names().collect::<Vec<_>>().join(", "),
                });
            }
            if !known.contains(role) {
                known.push(role.clone());
            }
        }
        Ok(known)
    }

    /// Every role, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Every permission that some role grants, sorted.
    pub fn all_permissions(&self) -> Vec<&str> {
        let mut all: Vec<&str> = self.0.values().flatten().map(String::as_str).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn roles_add_up_and_unknown_ones_grant_nothing() {
        let table = |name: &str, permissions: &[&str]| {
            (name.to_owned(), permissions.iter().map(|p| (*p).to_owned()).collect())
        };
        let roles = Roles(BTreeMap::from([table("user", &["a", "b"]), table("admin", &["b", "c"])]));
        let granted = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            roles.permissions(&names).join(" ")
        };
        assert_eq!(granted(&["user", "admin"]), "a b c");
        assert_eq!(granted(&["root"]), "");
        assert_eq!(granted(&[]), "");
    }
}
