//! What a caller may do: roles, and the permissions that the configuration grants to each. A role that the
//! configuration does not know grants nothing.

use crate::config::Roles;

/// The role that every registered user has.
pub const USER: &str = "user";

/// The role for which `is_admin` is shown.
pub const ADMIN: &str = "admin";

impl Roles {
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
