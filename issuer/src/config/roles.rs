//! Roles: the permissions that each grants, and wildcards that stand for those which the configuration knows.

use std::collections::{BTreeMap, BTreeSet};

use super::reader::Reader;

/// Which permissions each role grants: each of them by its whole name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles(pub BTreeMap<String, Vec<String>>);

pub(super) fn roles(reader: &mut Reader) -> Roles {
    let default = ["positions:read", "quotes:read", "alerts:read", "alerts:write"].map(String::from).to_vec();
    let mut roles = BTreeMap::from([("user".to_owned(), default.clone()), ("admin".to_owned(), default)]);
    let mut section = reader.section("roles");
    let mut sound = true;
    for name in section.names() {
        let Some(permissions) = section.named::<Vec<String>>(&name) else {
            sound = false;
            continue;
        };
        if !is_name(&name) {
            section.error(&name, "a role is 1 to 64 of a-z, 0-9, '_', '-' and '.'");
        }
        if permissions.is_empty() {
            section.error(&name, "grants nothing; name at least one permission");
        }
        if let Some(odd) = permissions.iter().find(|permission| !is_scope(permission)) {
            let rule = "cannot be a permission: printable ASCII without spaces or quotes";
            section.error(&name, format!("{odd:?} {rule}"));
        }
        if let Some(odd) = permissions.iter().find(|text| text.contains('*') && wildcard(text).is_none()) {
            let rule =
                "cannot be a wildcard: '*' stands alone or at the end, after a ':', as in \"alerts:*\"";
            section.error(&name, format!("{odd:?} {rule}"));
        }
        roles.insert(name, permissions);
    }
    let roles = Roles::expand(&roles).unwrap_or_else(|Vain { role, wildcard }| {
        if sound {
            section.error(role, format!("{wildcard:?} fits no permission that a role names"));
        }
        Roles(BTreeMap::new())
    });
    section.finish();
    roles
}

/// Roles travel in a comma-separated header and a space-separated column.
fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.".contains(&b))
}

/// RFC 6749 §3.3: what a scope token may hold.
pub(super) fn is_scope(permission: &str) -> bool {
    !permission.is_empty() && permission.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
}

/// What the permissions begin with that a wildcard stands for; `None` if it is none.
fn wildcard(permission: &str) -> Option<&str> {
    let beginning = permission.strip_suffix('*')?;
    let whole = beginning.is_empty() || beginning.ends_with(':');
    (whole && !beginning.contains('*')).then_some(beginning)
}

/// A wildcard that stands for nothing.
struct Vain<'r> {
    role: &'r str,
    wildcard: &'r str,
}

impl Roles {
    /// With each wildcard replaced by the permissions that it stands for: those that some role names whole, sorted.
    fn expand(written: &BTreeMap<String, Vec<String>>) -> Result<Self, Vain<'_>> {
        let known: BTreeSet<&String> =
            written.values().flatten().filter(|permission| !permission.contains('*')).collect();
        let mut roles = BTreeMap::new();
        for (role, permissions) in written {
            let mut granted: Vec<String> = Vec::new();
            for permission in permissions {
                let meant: Vec<&String> = match wildcard(permission) {
                    None => vec![permission],
                    Some(beginning) => {
                        known.iter().copied().filter(|known| known.starts_with(beginning)).collect()
                    }
                };
                if meant.is_empty() {
                    return Err(Vain { role, wildcard: permission });
                }
                for permission in meant {
                    if !granted.contains(permission) {
                        granted.push(permission.clone());
                    }
                }
            }
            roles.insert(role.clone(), granted);
        }
        Ok(Self(roles))
    }
}
