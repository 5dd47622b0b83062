//! Reading the document: every field once, with its default and its bounds. `rules` has a file of its own.

use std::time::Duration;

use countersign_claims::Keyring;

use super::json::{Json, Node};
use super::{Config, Findings, InvalidConfig, KeySources, RemoteKeys, duration, headers, rules};
use crate::sync::Pace;
use crate::verdict::Told;

const DEFAULT_CACHE_BYTES: usize = 8 << 20;
const FIELDS: [&str; 12] = [
    "issuer",
    "audiences",
    "clock_skew",
    "keys",
    "cache",
    "forward_authorization",
    "identity_headers",
    "claim_headers",
    "filter_state",
    "rules",
    "revocations",
    "api_keys",
];
/// A VM has less than 4 GiB, the host may have set it a limit, and each worker has a cache.
const MOST_CACHE_BYTES: usize = 256 << 20;

pub(super) fn config(json: &[u8], findings: &mut Findings) -> Option<Config> {
    let document = findings.keep(Json::parse(json))?;
    let root = findings.keep(document.root().object(&FIELDS))?;
    for field in ["revocations", "api_keys"] {
        if let Some(node) = root.optional(field) {
            findings.keep::<()>(Err(node.invalid("is not available in this version")));
        }
    }
    let issuer = findings.keep(root.required("issuer").and_then(|node| Ok(plain_text(&node)?.to_owned())));
    let listed = findings.keep(root.required("audiences").and_then(|node| audiences(&node)));
    let skew = findings.keep(clock_skew(root.optional("clock_skew")));
    let sources = findings.keep(root.required("keys").and_then(|node| keys(&node)));
    let cache = findings.keep(cache_bytes(root.optional("cache")));
    let authorization = root.optional("forward_authorization").map_or(Ok(true), |node| node.flag());
    let authorization = findings.keep(authorization);
    let identity = findings.keep(headers::of_identity(root.optional("identity_headers")));
    let claims = findings.keep(headers::of_claims(root.optional("claim_headers")));
    let state = findings.keep(filter_state(root.optional("filter_state")));
    let policy = findings.keep(root.required("rules")).and_then(|node| rules::read(&node, findings));
    Some(Config {
        issuer: issuer?,
        audiences: listed?,
        clock_skew: skew?,
        keys: sources?,
        cache_bytes: cache?,
        forward_authorization: authorization?,
        identity_headers: identity?,
        claim_headers: claims?,
        filter_state: state?,
        policy: policy?,
    })
}

fn audiences(node: &Node<'_>) -> Result<Vec<String>, InvalidConfig> {
    let audiences =
        node.items()?.map(|item| plain_text(&item).map(str::to_owned)).collect::<Result<Vec<_>, _>>()?;
    if audiences.is_empty() {
        return Err(node.invalid("must name at least one audience"));
    }
    Ok(audiences)
}

fn clock_skew(node: Option<Node<'_>>) -> Result<i64, InvalidConfig> {
    let Some(node) = node else { return Ok(30) };
    let skew = duration::read(&node, Duration::ZERO, Duration::from_secs(600))?;
    if skew.subsec_millis() != 0 {
        return Err(node.invalid("must be whole seconds: token times are"));
    }
    Ok(i64::try_from(skew.as_secs()).unwrap_or_default())
}

fn cache_bytes(node: Option<Node<'_>>) -> Result<usize, InvalidConfig> {
    let Some(node) = node else { return Ok(DEFAULT_CACHE_BYTES) };
    let cache = node.object(&["max_bytes"])?;
    cache.optional("max_bytes").map_or(Ok(DEFAULT_CACHE_BYTES), |node| node.whole(MOST_CACHE_BYTES))
}

fn filter_state(node: Option<Node<'_>>) -> Result<Vec<Told>, InvalidConfig> {
    let Some(node) = node else { return Ok(Told::DEFAULT.into()) };
    one_of_each(&node, &Told::ALL, Told::name)
}

/// A list of some of `all`, by name, none of them twice.
pub(super) fn one_of_each<T: Copy + PartialEq>(
    node: &Node<'_>,
    all: &[T],
    name: fn(T) -> &'static str,
) -> Result<Vec<T>, InvalidConfig> {
    let mut wanted = Vec::new();
    for item in node.items()? {
        let text = item.text()?;
        let Some(found) = all.iter().copied().find(|known| name(*known) == text) else {
            let names = all.iter().map(|known| name(*known)).collect::<Vec<_>>().join("`, `");
            return Err(item.invalid(&format!("is none of `{names}`")));
        };
        if wanted.contains(&found) {
            return Err(item.invalid("is there twice"));
        }
        wanted.push(found);
    }
    Ok(wanted)
}

fn keys(node: &Node<'_>) -> Result<KeySources, InvalidConfig> {
    let keys = node.object(&["inline", "remote"])?;
    let inline = keys.optional("inline").map_or_else(|| Ok(Keyring::default()), |node| inline_keys(&node))?;
    let remote = keys.optional("remote").map(|node| remote_keys(&node)).transpose()?;
    if inline.is_empty() && remote.is_none() {
        return Err(node.invalid("has neither an inline Ed25519 key nor a remote set"));
    }
    Ok(KeySources { inline, remote })
}

/// By the same reader as a set from the issuer, and so by the same rules.
fn inline_keys(node: &Node<'_>) -> Result<Keyring, InvalidConfig> {
    let jwks = serde_json::to_vec(node.value).unwrap_or_default();
    Keyring::from_json(&jwks).map_err(|error| node.invalid(&error.to_string()))
}

fn remote_keys(node: &Node<'_>) -> Result<RemoteKeys, InvalidConfig> {
    let remote = node.object(&["cluster", "authority", "path", "refresh", "timeout", "max_age"])?;
    let cluster = plain_text(&remote.required("cluster")?)?.to_owned();
    let authority = remote.optional("authority").map_or(Ok(&*cluster), |node| plain_text(&node))?.to_owned();
    let node = remote.required("path")?;
    let path = plain_text(&node)?.to_owned();
    if !path.starts_with('/') {
        return Err(node.invalid("must start with \"/\""));
    }
    let duration = |field, default, least, most| {
        remote.optional(field).map_or(Ok(default), |node| duration::read(&node, least, most))
    };
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    let day = Duration::from_secs(86_400);
    let refresh = duration("refresh", minute, second, day)?;
    let timeout = duration("timeout", Duration::from_secs(5), Duration::from_millis(10), minute)?;
    let max_age = remote.optional("max_age").map(|node| {
        let max_age = duration::read(&node, second, day.saturating_mul(365))?;
        // One attempt may fail, and the next comes a moment later.
        let least = refresh.saturating_mul(2);
        if max_age < least {
            let reason = "is less than two refreshes: keys would be dropped while the issuer is well";
            return Err(node.invalid(reason));
        }
        Ok(max_age)
    });
    Ok(RemoteKeys {
        cluster,
        authority,
        path,
        pace: Pace { refresh, timeout },
        max_age: max_age.transpose()?,
    })
}

/// Names that end up in headers, challenges and logs: printable ASCII without spaces and quotes.
pub(super) fn plain_text<'j>(node: &Node<'j>) -> Result<&'j str, InvalidConfig> {
    let text = node.text()?;
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\'));
    plain.then_some(text).ok_or_else(|| {
        node.invalid("must be printable ASCII without spaces, quotes and backslashes, and not empty")
    })
}
