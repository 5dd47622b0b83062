//! `revocations` and `api_keys`: what the issuer's internal listener is asked for.

use std::time::Duration;

use super::json::{Node, Object};
use super::read::plain_text;
use super::{InvalidConfig, KeyExchange, RevocationFeed, Service, WhenStale, duration};

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(super) fn revocation_feed(node: &Node<'_>) -> Result<RevocationFeed, InvalidConfig> {
    let object = node.object(&["cluster", "authority", "path", "max_staleness", "when_stale"])?;
    let service = service(&object)?;
    let node = object.optional("max_staleness");
    // An answer may take twenty seconds where there is nothing to say.
    let max_staleness =
        node.map_or(Ok(seconds(300)), |node| duration::read(&node, seconds(60), seconds(86_400)))?;
    let when_stale =
        object.optional("when_stale").map_or(Ok(WhenStale::Allow), |node| match node.text()? {
            "allow" => Ok(WhenStale::Allow),
            "refuse" => Ok(WhenStale::Refuse),
            _ => Err(node.invalid("must be \"allow\" or \"refuse\"")),
        })?;
    Ok(RevocationFeed { service, max_staleness, when_stale })
}

pub(super) fn key_exchange(node: &Node<'_>) -> Result<KeyExchange, InvalidConfig> {
    let object = node.object(&["cluster", "authority", "path", "cache", "timeout"])?;
    let service = service(&object)?;
    let read = |field, default, least, most| {
        object.optional(field).map_or(Ok(default), |node| duration::read(&node, least, most))
    };
    let cache = read("cache", seconds(60), seconds(1), seconds(3600))?;
    let timeout = read("timeout", seconds(2), Duration::from_millis(10), seconds(30))?;
    Ok(KeyExchange { service, cache: i64::try_from(cache.as_secs()).unwrap_or_default(), timeout })
}

/// A place in a cluster, of an object that has these three among its fields.
pub(super) fn service(object: &Object<'_>) -> Result<Service, InvalidConfig> {
    let cluster = plain_text(&object.required("cluster")?)?.to_owned();
    let authority = object.optional("authority").map_or(Ok(&*cluster), |node| plain_text(&node))?.to_owned();
    let node = object.required("path")?;
    let path = plain_text(&node)?.to_owned();
    if !path.starts_with('/') {
        return Err(node.invalid("must start with \"/\""));
    }
    Ok(Service { cluster, authority, path })
}
