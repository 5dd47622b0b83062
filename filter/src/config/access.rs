//! `allow`: who may pass a rule.

use std::time::Duration;

use super::json::{Json, Node, Object};
use super::{InvalidConfig, duration};
use crate::policy::{Access, Callers, Demands, Names};

/// A login that is older than a year is none.
const LONGEST_AGE: Duration = Duration::from_secs(365 * 86_400);

pub(super) fn read(node: &Node<'_>) -> Result<Access, InvalidConfig> {
    let unknown = || {
        node.invalid(
            "must be \"anyone\", \"authenticated\", or an object with at least one of \"permission\", \"role\", \"amr\", \
             \"max_age\" and \"service\"",
        )
    };
    match node.value {
        Json::Text(word) if word == "anyone" => Ok(Access::Anyone),
        Json::Text(word) if word == "authenticated" => Ok(Access::Caller(Demands::default())),
        Json::Object(_) => {
            let object = node.object(&["permission", "role", "amr", "max_age", "service", "user"])?;
            let permissions = object.optional("permission").map(|node| some_or_all(&node, Names::All));
            let roles = object.optional("role").map(|node| some_or_all(&node, Names::Any));
            let methods = object.optional("amr").map_or(Ok(Vec::new()), |node| names(&node))?;
            let demands = Demands {
                callers: callers(&object)?,
                permissions: permissions.transpose()?,
                roles: roles.transpose()?,
                methods,
                max_age: object.optional("max_age").map(|node| max_age(&node)).transpose()?,
            };
            if demands == Demands::default() { Err(unknown()) } else { Ok(Access::Caller(demands)) }
        }
        _ => Err(unknown()),
    }
}

/// `service`: true, a name or a list of names; with `user`, users as well.
fn callers(object: &Object<'_>) -> Result<Callers, InvalidConfig> {
    let user = object.optional("user");
    let Some(service) = object.optional("service") else {
        let needs = |node: Node<'_>| node.invalid("needs \"service\" beside it; left out, users are meant");
        return user.map_or(Ok(Callers::Users), |node| Err(needs(node)));
    };
    if let Some(node) = ["role", "amr", "max_age"].into_iter().find_map(|field| object.optional(field)) {
        let reason = "must not be given beside \"service\": a service has no role and did not log in";
        return Err(node.invalid(reason));
    }
    let services = match service.value {
        Json::Bool(_) => must_be_true(&service).map(|()| Vec::new())?,
        _ => names(&service)?,
    };
    match user {
        Some(node) => must_be_true(&node).map(|()| Callers::Both(services)),
        None => Ok(Callers::Services(services)),
    }
}

fn must_be_true(node: &Node<'_>) -> Result<(), InvalidConfig> {
    if node.flag()? { Ok(()) } else { Err(node.invalid("must be true, or be left out")) }
}

/// Names as [`names`] reads them, or an object that says how many of them are needed.
fn some_or_all(node: &Node<'_>, usual: fn(Vec<Box<str>>) -> Names) -> Result<Names, InvalidConfig> {
    let Json::Object(_) = node.value else { return names(node).map(usual) };
    let object = node.object(&["all", "any"])?;
    match (object.optional("all"), object.optional("any")) {
        (Some(all), None) => names(&all).map(Names::All),
        (None, Some(any)) => names(&any).map(Names::Any),
        _ => Err(node.invalid("must have either \"all\" or \"any\"")),
    }
}

/// One name, or a list of at least one. They may stand in a challenge, inside quotes.
fn names(node: &Node<'_>) -> Result<Vec<Box<str>>, InvalidConfig> {
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b',' | b'"' | b'\\');
    let name = |node: &Node<'_>| {
        match node.value {
        Json::Text(name) if !name.is_empty() && name.bytes().all(plain) => Ok(Box::from(name.as_str())),
        _ => Err(node.invalid(
            "must be a name, or a list of names, of printable ASCII without spaces, commas, quotes and backslashes",
        )),
    }
    };
    match node.value {
        Json::Array(names) if !names.is_empty() => node.items()?.map(|item| name(&item)).collect(),
        _ => name(node).map(|name| vec![name]),
    }
}

fn max_age(node: &Node<'_>) -> Result<i64, InvalidConfig> {
    let max_age = duration::read(node, Duration::from_secs(1), LONGEST_AGE)?;
    if max_age.subsec_millis() != 0 {
        return Err(node.invalid("must be whole seconds: token times are"));
    }
    Ok(i64::try_from(max_age.as_secs()).unwrap_or(i64::MAX))
}
