//! `rules`: which requests, with which credentials, may be made by whom.

use super::InvalidConfig;
use super::json::{Json, Node};
use super::read::plain_text;
use crate::credential::Accepted;
use crate::policy::path::Target;
use crate::policy::{Access, Matcher, Mode, PathMatch, Policy, Rule};
use crate::request::is_method;

/// `api_keys`: they can be exchanged.
pub(super) fn read(node: &Node<'_>, api_keys: bool) -> Result<Policy, InvalidConfig> {
    let mut rules: Vec<Rule> = Vec::new();
    for item in node.items()? {
        let rule = rule(&item)?;
        if rule.accepted.api_key && !api_keys {
            let path = format!("{}.credentials", item.path);
            return Err(InvalidConfig::at(&path, "takes API keys, which needs the field \"api_keys\""));
        }
        if let Some(first) = rules.iter().position(|earlier| earlier.name == rule.name) {
            let reason = format!("is already the name of rules[{first}]");
            return Err(InvalidConfig::at(&format!("{}.name", item.path), &reason));
        }
        rules.push(rule);
    }
    if rules.is_empty() {
        return Err(node.invalid("must have at least one rule: without one, nothing gets through"));
    }
    let policy = Policy::new(rules);
    match policy.never_matching() {
        None => Ok(policy),
        Some((at, first, rule)) => {
            let reason = format!("never matches: rules[{first}] {:?} comes first", rule.name);
            Err(InvalidConfig::at(&format!("{}[{at}]", node.path), &reason))
        }
    }
}

fn rule(node: &Node<'_>) -> Result<Rule, InvalidConfig> {
    let object =
        node.object(&["name", "match", "allow", "credentials", "origins", "unknown_api_key", "mode"])?;
    let name = plain_text(&object.required("name")?)?.into();
    let matcher = matcher(&object.required("match")?)?;
    let access = access(&object.required("allow")?)?;
    let accepted = match (object.optional("credentials"), &access) {
        (None, Access::Anyone) => Accepted::default(),
        (Some(node), Access::Anyone) => {
            return Err(
                node.invalid("must not be given where anyone is allowed: no credential is looked at there")
            );
        }
        (None, _) => Accepted { bearer: true, ..Accepted::default() },
        (Some(node), _) => accepted(&node, matcher.websocket)?,
    };
    let origins = object.optional("origins").map(|node| origins(&node, &matcher, &access)).transpose()?;
    let unknown_api_key_passes =
        object.optional("unknown_api_key").map_or(Ok(false), |node| unknown_api_key(&node, &accepted))?;
    let mode = object.optional("mode").map_or(Ok(Mode::Enforce), |node| mode(&node))?;
    Ok(Rule { name, matcher, accepted, access, origins, unknown_api_key_passes, mode })
}

fn unknown_api_key(node: &Node<'_>, accepted: &Accepted) -> Result<bool, InvalidConfig> {
    match node.text()? {
        _ if !accepted.api_key => Err(node.invalid("needs \"api_key\" among the credentials")),
        "refuse" => Ok(false),
        "pass" => Ok(true),
        _ => Err(node.invalid("must be \"refuse\" or \"pass\"")),
    }
}

/// Of pages, as browsers write them (RFC 6454 §6.2).
fn origins(node: &Node<'_>, matcher: &Matcher, access: &Access) -> Result<Vec<Box<str>>, InvalidConfig> {
    if !matcher.websocket || *access == Access::Anyone {
        let reason = "needs match.upgrade \"websocket\" and a rule that is not for anyone: it keeps pages from opening \
                      WebSockets with the credentials of who reads them";
        return Err(node.invalid(reason));
    }
    let origin = |item: Node<'_>| {
        let text = item.text()?;
        let host = text.strip_prefix("https://").or(text.strip_prefix("http://")).unwrap_or_default();
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._:[]".contains(&b);
        if host.is_empty() || !host.bytes().all(plain) || host.ends_with(':') {
            return Err(item.invalid("must be an origin such as \"https://app.example.com\", in lower case"));
        }
        Ok(text.into())
    };
    let origins = node.items()?.map(origin).collect::<Result<Vec<_>, _>>()?;
    if origins.is_empty() {
        Err(node.invalid("is empty; leave it out for every origin"))
    } else {
        Ok(origins)
    }
}

fn mode(node: &Node<'_>) -> Result<Mode, InvalidConfig> {
    match node.text()? {
        "enforce" => Ok(Mode::Enforce),
        "observe" => Ok(Mode::Observe),
        _ => Err(node.invalid("must be \"enforce\" or \"observe\"")),
    }
}

fn matcher(node: &Node<'_>) -> Result<Matcher, InvalidConfig> {
    let object = node.object(&["prefix", "path", "methods", "upgrade"])?;
    let path = match (object.optional("prefix"), object.optional("path")) {
        (Some(prefix), None) => PathMatch::Prefix(path(&prefix)?),
        (None, Some(exact)) => PathMatch::Exact(path(&exact)?),
        _ => return Err(node.invalid("must have either \"prefix\" or \"path\"")),
    };
    let websocket = match object.optional("upgrade") {
        None => false,
        Some(node) if node.text()? == "websocket" => true,
        Some(node) => return Err(node.invalid("must be \"websocket\"")),
    };
    let methods = object.optional("methods").map_or(Ok(Vec::new()), |node| methods(&node, websocket))?;
    Ok(Matcher { path, methods, websocket })
}

/// Compared with decoded paths, so it must itself be a path that a request could have.
fn path(node: &Node<'_>) -> Result<Box<str>, InvalidConfig> {
    let text = node.text()?;
    if text.contains(['%', '?']) || Target::parse(text.as_bytes()).is_err() {
        let reason = "must be a path that starts with \"/\", without \"%\", \"?\", \"#\", \";\", \"\\\", spaces, dot \
                      segments and empty segments: no request could match it";
        return Err(node.invalid(reason));
    }
    Ok(text.into())
}

fn methods(node: &Node<'_>, websocket: bool) -> Result<Vec<Box<str>>, InvalidConfig> {
    let mut methods = Vec::new();
    for item in node.items()? {
        let method = item.text()?;
        if !is_method(method.as_bytes()) {
            let reason = "must be a method name in upper case, of at most 16 letters, such as \"GET\"";
            return Err(item.invalid(reason));
        }
        methods.push(Box::from(method));
    }
    // What may be read may be asked for without its content (RFC 9110 §9.3.2).
    if methods.iter().any(|name| &**name == "GET") && !methods.iter().any(|name| &**name == "HEAD") {
        methods.push("HEAD".into());
    }
    if methods.is_empty() {
        return Err(node.invalid("is empty, so nothing matches; leave it out for every method"));
    }
    if websocket && !methods.contains(&Box::from("GET")) {
        return Err(node.invalid("must have \"GET\": a WebSocket handshake is always one"));
    }
    Ok(methods)
}

fn accepted(node: &Node<'_>, websocket: bool) -> Result<Accepted, InvalidConfig> {
    let mut accepted = Accepted::default();
    for item in node.items()? {
        let kind = item.text()?;
        match (kind, kind.split_once(':')) {
            ("bearer", _) => accepted.bearer = true,
            ("subprotocol", _) if websocket => accepted.subprotocol = true,
            ("subprotocol", _) => return Err(item.invalid("needs match.upgrade \"websocket\"")),
            (_, Some(("query", name))) => {
                let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
                if name.is_empty() || !name.bytes().all(plain) {
                    let reason =
                        "must have a parameter name after \"query:\", of letters, digits and \"-_.~\"";
                    return Err(item.invalid(reason));
                }
                accepted.query.push(name.into());
            }
            ("api_key", _) => accepted.api_key = true,
            (_, Some(("cookie", _))) => {
                return Err(item.invalid("is not available in this version"));
            }
            _ => {
                return Err(
                    item.invalid("must be \"bearer\", \"query:<name>\", \"subprotocol\" or \"api_key\"")
                );
            }
        }
    }
    if accepted == Accepted::default() {
        return Err(node.invalid("is empty, so nobody could pass"));
    }
    Ok(accepted)
}

fn access(node: &Node<'_>) -> Result<Access, InvalidConfig> {
    let unknown = || {
        node.invalid(
            "must be \"anyone\", \"authenticated\", {\"permission\": …} or {\"role\": …}, with one name or a list of names",
        )
    };
    match node.value {
        Json::Text(word) if word == "anyone" => Ok(Access::Anyone),
        Json::Text(word) if word == "authenticated" => Ok(Access::Authenticated),
        Json::Object(_) => {
            let object = node.object(&["permission", "role"])?;
            match (object.optional("permission"), object.optional("role")) {
                (Some(permissions), None) => names(&permissions).map(Access::Permissions),
                (None, Some(roles)) => names(&roles).map(Access::Roles),
                _ => Err(unknown()),
            }
        }
        _ => Err(unknown()),
    }
}

/// One name, or a list of at least one.
fn names(node: &Node<'_>) -> Result<Vec<Box<str>>, InvalidConfig> {
    let name = |node: &Node<'_>| match node.value {
        Json::Text(name) if !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b',') => {
            Ok(Box::from(name.as_str()))
        }
        _ => {
            Err(node
                .invalid("must be a name, or a list of names, of printable ASCII without spaces and commas"))
        }
    };
    match node.value {
        Json::Array(names) if !names.is_empty() => node.items()?.map(|item| name(&item)).collect(),
        _ => name(node).map(|name| vec![name]),
    }
}
