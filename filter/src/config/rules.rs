//! `rules`: which requests, with which credentials, may be made by whom.

use serde::Deserialize;
use serde_json::Value;

use super::InvalidConfig;
use super::document::plain_text;
use crate::credential::Accepted;
use crate::policy::path::Target;
use crate::policy::{Access, Matcher, Mode, PathMatch, Rule};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleDocument {
    name: String,
    #[serde(rename = "match")]
    matcher: MatchDocument,
    credentials: Option<Vec<String>>,
    /// Read by hand: of an enum that may be a string or an object, serde reports only that nothing fits.
    allow: Value,
    #[serde(default)]
    mode: ModeDocument,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MatchDocument {
    prefix: Option<String>,
    path: Option<String>,
    methods: Option<Vec<String>>,
    upgrade: Option<UpgradeDocument>,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum UpgradeDocument {
    Websocket,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ModeDocument {
    #[default]
    Enforce,
    Observe,
}

pub(super) fn validate(documents: Vec<RuleDocument>) -> Result<Vec<Rule>, InvalidConfig> {
    if documents.is_empty() {
        return Err(InvalidConfig::at(
            "rules",
            "must have at least one rule: without one, nothing gets through",
        ));
    }
    let mut rules: Vec<Rule> = Vec::with_capacity(documents.len());
    for (at, document) in documents.into_iter().enumerate() {
        let path = format!("rules[{at}]");
        let rule = document.validate(&path)?;
        if let Some(first) = rules.iter().position(|earlier| earlier.name == rule.name) {
            return Err(InvalidConfig::at(
                format!("{path}.name"),
                format!("is already the name of rules[{first}]"),
            ));
        }
        rules.push(rule);
    }
    Ok(rules)
}

impl RuleDocument {
    fn validate(self, path: &str) -> Result<Rule, InvalidConfig> {
        plain_text(&format!("{path}.name"), &self.name)?;
        let matcher = self.matcher.validate(&format!("{path}.match"))?;
        let access = access(&format!("{path}.allow"), &self.allow)?;
        let credentials_path = format!("{path}.credentials");
        let accepted = match (self.credentials, &access) {
            (None, Access::Anyone) => Accepted::default(),
            (Some(_), Access::Anyone) => {
                let reason = "must not be given where anyone is allowed: no credential is looked at there";
                return Err(InvalidConfig::at(credentials_path, reason));
            }
            (None, _) => Accepted { bearer: true, ..Accepted::default() },
            (Some(kinds), _) => accepted(&credentials_path, &kinds, matcher.websocket)?,
        };
        let mode = match self.mode {
            ModeDocument::Enforce => Mode::Enforce,
            ModeDocument::Observe => Mode::Observe,
        };
        Ok(Rule { name: self.name.into(), matcher, accepted, access, mode })
    }
}

impl MatchDocument {
    fn validate(self, path: &str) -> Result<Matcher, InvalidConfig> {
        let (field, text, path_match): (_, _, fn(Box<str>) -> PathMatch) = match (self.prefix, self.path) {
            (Some(prefix), None) => ("prefix", prefix, PathMatch::Prefix),
            (None, Some(exact)) => ("path", exact, PathMatch::Exact),
            _ => return Err(InvalidConfig::at(path, "must have either \"prefix\" or \"path\"")),
        };
        // Compared with decoded paths, so it must itself be a path that a request could have.
        let plain = text.bytes().all(|b| !matches!(b, b'%' | b'?'));
        if !plain || Target::parse(text.as_bytes()).is_err() {
            let reason = "must be a path that starts with \"/\", without \"%\", \"?\", \"#\", \";\", \"\\\", spaces, dot \
                          segments and empty segments: no request could match it";
            return Err(InvalidConfig::at(format!("{path}.{field}"), reason));
        }
        let mut methods = Vec::<Box<str>>::new();
        for (at, method) in self.methods.iter().flatten().enumerate() {
            if method.is_empty()
                || !method.bytes().all(|b| b.is_ascii_uppercase() || matches!(b, b'-' | b'_'))
            {
                let reason =
                    format!("{method:?} is not a method name such as \"GET\"; methods are in upper case");
                return Err(InvalidConfig::at(format!("{path}.methods[{at}]"), reason));
            }
            methods.push(method.as_str().into());
        }
        if self.methods.is_some() && methods.is_empty() {
            return Err(InvalidConfig::at(
                format!("{path}.methods"),
                "is empty, so nothing matches; leave it out for every method",
            ));
        }
        let websocket = self.upgrade == Some(UpgradeDocument::Websocket);
        if websocket && !methods.is_empty() && !methods.contains(&"GET".into()) {
            return Err(InvalidConfig::at(
                format!("{path}.methods"),
                "a WebSocket handshake is always a GET",
            ));
        }
        Ok(Matcher { path: path_match(text.into()), methods, websocket })
    }
}

fn accepted(path: &str, kinds: &[String], websocket: bool) -> Result<Accepted, InvalidConfig> {
    let mut accepted = Accepted::default();
    for (at, kind) in kinds.iter().enumerate() {
        let path = format!("{path}[{at}]");
        match (kind.as_str(), kind.split_once(':')) {
            ("bearer", _) => accepted.bearer = true,
            ("subprotocol", _) if !websocket => {
                return Err(InvalidConfig::at(path, "\"subprotocol\" needs match.upgrade \"websocket\""));
            }
            ("subprotocol", _) => accepted.subprotocol = true,
            (_, Some(("query", name))) => {
                let plain = !name.is_empty()
                    && name
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~'));
                if !plain {
                    let reason =
                        "\"query:\" must be followed by a parameter name of letters, digits and \"-_.~\"";
                    return Err(InvalidConfig::at(path, reason));
                }
                accepted.query.push(name.into());
            }
            ("api_key", _) | (_, Some(("cookie", _))) => {
                return Err(InvalidConfig::at(path, format!("{kind:?} is not available in this version")));
            }
            _ => {
                let reason = format!("{kind:?} is none of \"bearer\", \"query:<name>\", \"subprotocol\"");
                return Err(InvalidConfig::at(path, reason));
            }
        }
    }
    if accepted == Accepted::default() {
        return Err(InvalidConfig::at(path, "is empty, so nobody could pass"));
    }
    Ok(accepted)
}

fn access(path: &str, allow: &Value) -> Result<Access, InvalidConfig> {
    let unknown = || {
        InvalidConfig::at(
            path,
            "must be \"anyone\", \"authenticated\", {\"permission\": …} or {\"role\": …}, with one name or a list of names",
        )
    };
    match allow {
        Value::String(word) if word == "anyone" => Ok(Access::Anyone),
        Value::String(word) if word == "authenticated" => Ok(Access::Authenticated),
        Value::Object(object) => {
            let mut fields = object.iter();
            let (Some((field, value)), None) = (fields.next(), fields.next()) else { return Err(unknown()) };
            let names = || names(&format!("{path}.{field}"), value);
            match field.as_str() {
                "permission" => Ok(Access::Permissions(names()?)),
                "role" => Ok(Access::Roles(names()?)),
                _ => Err(unknown()),
            }
        }
        _ => Err(unknown()),
    }
}

/// One name, or a list of at least one.
fn names(path: &str, value: &Value) -> Result<Vec<Box<str>>, InvalidConfig> {
    let invalid = || {
        let reason = "must be a name, or a list of names, of printable ASCII without spaces and commas";
        InvalidConfig::at(path, reason)
    };
    let listed = match value {
        Value::Array(names) if !names.is_empty() => names.as_slice(),
        Value::Array(_) => return Err(invalid()),
        one => std::slice::from_ref(one),
    };
    let name = |value: &Value| match value {
        Value::String(name)
            if !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b',') =>
        {
            Ok(name.as_str().into())
        }
        _ => Err(invalid()),
    };
    listed.iter().map(name).collect()
}
