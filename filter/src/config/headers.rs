//! `identity_headers` and `claim_headers`: what upstreams are told, and by which names.

use super::InvalidConfig;
use super::json::Node;
use super::read::one_of_each;
use crate::principal::{Claim, ClaimHeader, IdentityHeader};
use crate::request::is_identity;

/// Headers that HTTP, Envoy or the edge has another use for: hop by hop (RFC 9110 §7.6.1), about the body or the
/// connection, credentials.
const TAKEN: [&str; 18] = [
    "authorization",
    "connection",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "origin",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-api-key",
    "x-service-token",
];
const TAKEN_PREFIXES: [&str; 7] =
    ["access-control-", "content-", "grpc-", "proxy-", "sec-", "x-envoy-", "x-forwarded-"];

pub(super) fn of_identity(node: Option<Node<'_>>) -> Result<Vec<IdentityHeader>, InvalidConfig> {
    let Some(node) = node else { return Ok(IdentityHeader::ALL.into()) };
    one_of_each(&node, &IdentityHeader::ALL, IdentityHeader::name)
}

pub(super) fn of_claims(node: Option<Node<'_>>) -> Result<Vec<ClaimHeader>, InvalidConfig> {
    let Some(node) = node else { return Ok(Vec::new()) };
    let mut headers: Vec<ClaimHeader> = Vec::new();
    for item in node.items()? {
        let object = item.object(&["name", "claim"])?;
        let node = object.required("name")?;
        let name = name(&node)?;
        if headers.iter().any(|header| header.name == name) {
            return Err(node.invalid("is there twice"));
        }
        let node = object.required("claim")?;
        let text = node.text()?;
        let Some(claim) = Claim::ALL.into_iter().find(|claim| claim.name() == text) else {
            let names = Claim::ALL.map(Claim::name).join("`, `");
            return Err(node.invalid(&format!("is none of `{names}`")));
        };
        headers.push(ClaimHeader { name, claim });
    }
    Ok(headers)
}

fn name(node: &Node<'_>) -> Result<Box<str>, InvalidConfig> {
    let name = node.text()?.to_ascii_lowercase();
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err(node.invalid("must be a header name of letters, digits and \"-\""));
    }
    if is_identity(name.as_bytes()) || name == "x-request-id" {
        return Err(node.invalid("is a header that the edge sets itself"));
    }
    if TAKEN.contains(&&*name) || TAKEN_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return Err(node.invalid("is a header that HTTP, Envoy or the edge has another use for"));
    }
    Ok(name.into())
}
