//! Reading the document: every field once, with its default and its bounds. `rules` has a file of its own.

use std::time::Duration;

use countersign_claims::Keyring;

use super::json::{Json, Node};
use super::{Config, InvalidConfig, KeySources, RemoteKeys, Service, duration, rules, services};
use crate::principal::IdentityHeader;
use crate::sync::Pace;

const DEFAULT_CACHE_BYTES: usize = 8 << 20;
const FIELDS: [&str; 10] = [
    "issuer",
    "audiences",
    "clock_skew",
    "keys",
    "cache",
    "forward_authorization",
    "identity_headers",
    "rules",
    "revocations",
    "api_keys",
];
/// A VM has less than 4 GiB, the host may have set it a limit, and each worker has a cache.
const MOST_CACHE_BYTES: usize = 256 << 20;

pub(super) fn config(json: &[u8]) -> Result<Config, InvalidConfig> {
    let document = Json::parse(json)?;
    let root = document.root().object(&FIELDS)?;
    let api_keys = root.optional("api_keys").map(|node| services::key_exchange(&node)).transpose()?;
    Ok(Config {
        issuer: plain_text(&root.required("issuer")?)?.to_owned(),
        audiences: audiences(&root.required("audiences")?)?,
        clock_skew: clock_skew(root.optional("clock_skew"))?,
        keys: keys(&root.required("keys")?)?,
        revocations: root.optional("revocations").map(|node| services::revocation_feed(&node)).transpose()?,
        cache_bytes: cache_bytes(root.optional("cache"))?,
        forward_authorization: root.optional("forward_authorization").map_or(Ok(true), |node| node.flag())?,
        identity_headers: identity_headers(root.optional("identity_headers"))?,
        policy: rules::read(&root.required("rules")?, api_keys.is_some())?,
        api_keys,
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

fn identity_headers(node: Option<Node<'_>>) -> Result<Vec<IdentityHeader>, InvalidConfig> {
    let Some(node) = node else { return Ok(IdentityHeader::ALL.into()) };
    let mut wanted = Vec::new();
    for item in node.items()? {
        let name = item.text()?;
        let Some(header) = IdentityHeader::ALL.into_iter().find(|header| header.name() == name) else {
            let names = IdentityHeader::ALL.map(IdentityHeader::name).join("`, `");
            return Err(item.invalid(&format!("is not an identity header; these are `{names}`")));
        };
        if wanted.contains(&header) {
            return Err(item.invalid("is there twice"));
        }
        wanted.push(header);
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
    let remote = node.object(&["cluster", "authority", "path", "refresh", "timeout"])?;
    let Service { cluster, authority, path } = services::service(&remote)?;
    let duration = |field, default, least, most| {
        remote.optional(field).map_or(Ok(default), |node| duration::read(&node, least, most))
    };
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    let refresh = duration("refresh", minute, second, Duration::from_secs(86_400))?;
    let timeout = duration("timeout", Duration::from_secs(5), Duration::from_millis(10), minute)?;
    Ok(RemoteKeys { cluster, authority, path, pace: Pace { refresh, timeout } })
}

/// Names that end up in headers, challenges and logs: printable ASCII without spaces and quotes.
pub(super) fn plain_text<'j>(node: &Node<'j>) -> Result<&'j str, InvalidConfig> {
    let text = node.text()?;
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\'));
    plain.then_some(text).ok_or_else(|| {
        node.invalid("must be printable ASCII without spaces, quotes and backslashes, and not empty")
    })
}
