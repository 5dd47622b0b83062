//! `rules`: which requests, with which credentials, may be made by whom.

use super::json::{Json, Node};
use super::read::plain_text;
use super::{Findings, InvalidConfig, access};
use crate::credential::Accepted;
use crate::policy::path::Target;
use crate::policy::{Access, HostMatch, Matcher, Mode, PathMatch, Policy, Rule};
use crate::request::{host, is_method};

/// A request's path is looked up as deep as rules go.
const LONGEST_PATH: usize = 1024;

pub(super) fn read(node: &Node<'_>, findings: &mut Findings) -> Option<Policy> {
    let items = findings.keep(node.items())?;
    if items.len() == 0 {
        findings
            .keep::<()>(Err(node.invalid("must have at least one rule: without one, nothing gets through")));
    }
    let mut rules: Vec<Rule> = Vec::new();
    for (position, item) in items.enumerate() {
        let Some(rule) = findings.keep(rule(&item, position)) else { continue };
        if let Some(first) = rules.iter().find(|earlier| earlier.name == rule.name) {
            let reason = format!("is already the name of rules[{}]", first.position);
            findings.keep::<()>(Err(InvalidConfig::at(&format!("{}.name", item.path), &reason)));
        }
        rules.push(rule);
    }
    let policy = Policy::new(rules);
    for (never, first) in policy.never_matching() {
        let reason = format!("never matches: rules[{}] {:?} comes first", first.position, first.name);
        let path = format!("{}[{}]", node.path, never.position);
        findings.keep::<()>(Err(InvalidConfig::at(&path, &reason)));
    }
    Some(policy)
}

fn rule(node: &Node<'_>, position: usize) -> Result<Rule, InvalidConfig> {
    let object = node.object(&["name", "match", "allow", "credentials", "forward_token", "mode"])?;
    let name = plain_text(&object.required("name")?)?.into();
    let matcher = matcher(&object.required("match")?)?;
    let access = access::read(&object.required("allow")?)?;
    if access == Access::Anyone {
        for field in ["credentials", "forward_token"] {
            if let Some(node) = object.optional(field) {
                let reason = "must not be given where anyone is allowed: no credential is looked at there";
                return Err(node.invalid(reason));
            }
        }
    }
    let accepted = match (object.optional("credentials"), &access) {
        (_, Access::Anyone) => Accepted::default(),
        (None, _) => Accepted { bearer: true, ..Accepted::default() },
        (Some(node), _) => accepted(&node, matcher.websocket)?,
    };
    let forward_token = object.optional("forward_token").map_or(Ok(false), |node| node.flag())?;
    let mode = object.optional("mode").map_or(Ok(Mode::Enforce), |node| mode(&node))?;
    Ok(Rule { name, position, matcher, accepted, access, forward_token, mode })
}

fn mode(node: &Node<'_>) -> Result<Mode, InvalidConfig> {
    match node.text()? {
        "enforce" => Ok(Mode::Enforce),
        "observe" => Ok(Mode::Observe),
        _ => Err(node.invalid("must be \"enforce\" or \"observe\"")),
    }
}

fn matcher(node: &Node<'_>) -> Result<Matcher, InvalidConfig> {
    let object = node.object(&["prefix", "path", "host", "methods", "upgrade"])?;
    let path = match (object.optional("prefix"), object.optional("path")) {
        (Some(prefix), None) => PathMatch::prefix(path(&prefix)?),
        (None, Some(exact)) => PathMatch::exact(path(&exact)?),
        _ => return Err(node.invalid("must have either \"prefix\" or \"path\"")),
    };
    let hosts = object.optional("host").map_or(Ok(Vec::new()), |node| hosts(&node))?;
    let websocket = match object.optional("upgrade") {
        None => false,
        Some(node) if node.text()? == "websocket" => true,
        Some(node) => return Err(node.invalid("must be \"websocket\"")),
    };
    let methods = object.optional("methods").map_or(Ok(Vec::new()), |node| methods(&node, websocket))?;
    Ok(Matcher { path, hosts, methods, websocket })
}

/// Compared with decoded paths, so it must itself be a path that a request could have.
fn path<'j>(node: &Node<'j>) -> Result<&'j str, InvalidConfig> {
    let text = node.text()?;
    if text.contains(['%', '?']) || Target::parse(text.as_bytes()).is_err() {
        let reason = "must be a path that starts with \"/\", without \"%\", \"?\", \"#\", \";\", \"\\\", spaces, dot \
                      segments and empty segments: no request could match it";
        return Err(node.invalid(reason));
    }
    if text.len() > LONGEST_PATH {
        return Err(node.invalid(&format!("has more than {LONGEST_PATH} characters")));
    }
    let plain = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let sound = |segment: &str| match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some(name) => plain(name),
        None => !segment.contains(['{', '}']),
    };
    if !text.split('/').all(sound) {
        return Err(node.invalid(
            "must have braces only around a whole segment, as in \"/alerts/{id}\", with a name of letters, digits and \"_\"",
        ));
    }
    Ok(text)
}

/// One host, or a list of at least one.
fn hosts(node: &Node<'_>) -> Result<Vec<HostMatch>, InvalidConfig> {
    let one = |node: &Node<'_>| {
        let text = node.text()?;
        let name = text.strip_prefix("*.").unwrap_or(text);
        let sound = host(name.as_bytes()) == Some(name.as_bytes());
        sound.then(|| HostMatch::read(text)).ok_or_else(|| {
            node.invalid(
                "must be a host without port, such as \"api.example.com\", or \"*.\" and what hosts end in",
            )
        })
    };
    match node.value {
        Json::Array(hosts) if !hosts.is_empty() => node.items()?.map(|item| one(&item)).collect(),
        _ => one(node).map(|host| vec![host]),
    }
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
            ("api_key", _) | (_, Some(("cookie", _))) => {
                return Err(item.invalid("is not available in this version"));
            }
            _ => return Err(item.invalid("must be \"bearer\", \"query:<name>\" or \"subprotocol\"")),
        }
    }
    if accepted == Accepted::default() {
        return Err(node.invalid("is empty, so nobody could pass"));
    }
    Ok(accepted)
}
