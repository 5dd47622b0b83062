//! What the decision needs of a request, borrowed from the one copy of the header map that the host gave.
//!
//! Reads bytes only: header values are whatever a client sent, and need not be UTF-8.

use countersign_claims::Reject;

use crate::principal::{ClaimHeader, IdentityHeader};

/// Set by Envoy itself, before the filter runs: its own spelling stays, look-alikes go.
const REQUEST_ID: &str = "x-request-id";

const LONGEST_METHOD: usize = 16;

/// A header that should come at most once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Field<'r> {
    #[default]
    Absent,
    One(&'r [u8]),
    Several,
}

impl<'r> Field<'r> {
    fn push(&mut self, value: &'r [u8]) {
        *self = match self {
            Self::Absent => Self::One(value),
            _ => Self::Several,
        };
    }

    /// The value, unless it is absent or was sent more than once.
    pub fn single(self) -> Option<&'r [u8]> {
        match self {
            Self::One(value) => Some(value),
            _ => None,
        }
    }
}

/// The headers of a request that matter here.
#[derive(Debug, Default)]
pub struct RequestView<'r> {
    pub method: Field<'r>,
    /// `:path`: the path and query, as received.
    pub path: Field<'r>,
    pub authority: Field<'r>,
    pub authorization: Field<'r>,
    pub upgrade: Field<'r>,
    pub connection: Field<'r>,
    pub api_key: Field<'r>,
    pub origin: Field<'r>,
    pub content_type: Field<'r>,
    pub content_length: Field<'r>,
    pub transfer_encoding: Field<'r>,
    /// Every `Sec-WebSocket-Protocol`; several lines are one list (RFC 6455 §11.3.4).
    pub protocols: Vec<&'r [u8]>,
    /// Header names that could pass for an identity header upstream, as the host spells them.
    pub spoofed: Vec<&'r [u8]>,
    /// More names that only the edge sets, as the configuration has them.
    pub claim_headers: &'r [ClaimHeader],
}

impl<'r> RequestView<'r> {
    #[cfg(test)]
    pub(crate) fn of(headers: &[(&'r str, &'r str)]) -> Self {
        let mut view = Self::default();
        headers.iter().for_each(|(name, value)| view.add(name.as_bytes(), value.as_bytes()));
        view
    }

    /// Takes notice of a header.
    pub fn add(&mut self, name: &'r [u8], value: &'r [u8]) {
        let field = match name {
            b":path" => &mut self.path,
            b":method" => &mut self.method,
            b":authority" => &mut self.authority,
            b"upgrade" => &mut self.upgrade,
            b"connection" => &mut self.connection,
            b"x-api-key" => &mut self.api_key,
            b"origin" => &mut self.origin,
            b"content-type" => &mut self.content_type,
            b"content-length" => &mut self.content_length,
            b"transfer-encoding" => &mut self.transfer_encoding,
            b"authorization" => &mut self.authorization,
            b"sec-websocket-protocol" => return self.protocols.push(value),
            _ if is_reserved(name, self.claim_headers) && !self.spoofed.contains(&name) => {
                return self.spoofed.push(name);
            }
            _ => return,
        };
        field.push(value);
    }

    /// Whether Envoy will treat this as a WebSocket handshake (RFC 6455 §4.1). The method counts: an `Upgrade`
    /// header on a POST opens no WebSocket and must not open a rule that is meant for one.
    pub fn is_websocket(&self) -> bool {
        self.asks_for_websocket() && self.method.single() == Some(b"GET")
    }

    fn asks_for_websocket(&self) -> bool {
        let upgrade = self.upgrade.single().is_some_and(|v| v.eq_ignore_ascii_case(b"websocket"));
        upgrade && self.connection.single().is_some_and(names_upgrade)
    }

    /// The method, of a request that has one reading: its method is an upper-case word, it is for one host, and if it
    /// asks for an upgrade, there is no body that the upstream would take for what comes after. A WebSocket is asked for
    /// by GET: Envoy opens one by any method, and an upstream that does so too would have a stream that nobody ends.
    ///
    /// # Errors
    /// [`Reject::BadRequest`].
    pub fn sound_method(&self) -> Result<&'r [u8], Reject> {
        let method = self.method.single().filter(|method| is_method(method));
        // HTTP/1 joins two `Host` lines with a comma; no host has one.
        let one_host = match self.authority {
            Field::Absent => true,
            Field::One(authority) => !authority.contains(&b','),
            Field::Several => false,
        };
        let upgrade_with_body = self.upgrade != Field::Absent && self.has_body();
        let odd_handshake = self.asks_for_websocket() && !self.is_websocket();
        method.filter(|_| one_host && !upgrade_with_body && !odd_handshake).ok_or(Reject::BadRequest)
    }

    /// The host that a request is for, without its port and without the dot that may end it; for rules that are for
    /// certain hosts.
    ///
    /// # Errors
    /// [`Reject::BadRequest`] if there is none, or it is not written as one (RFC 9110 §4.2.3): somebody else may read it
    /// as another.
    pub fn sound_host(&self) -> Result<&'r [u8], Reject> {
        self.authority.single().and_then(host).ok_or(Reject::BadRequest)
    }

    /// What to log for the method of a refused request, if it is not fit for that: over HTTP/2 it can be a whole token.
    pub fn method_to_log(&self) -> Option<&'static [u8]> {
        self.method.single().is_some_and(|method| method.len() > LONGEST_METHOD).then_some(b"INVALID")
    }

    /// Whether this asks for an upgrade, of whatever kind and however badly, with more in `Connection` than
    /// `Upgrade`. Of other requests Envoy removes that header by itself.
    pub fn nominates_headers(&self) -> bool {
        self.upgrade != Field::Absent
            && match self.connection {
                Field::Absent => false,
                Field::One(list) => names_upgrade(list) && !list.eq_ignore_ascii_case(b"upgrade"),
                Field::Several => true,
            }
    }

    fn has_body(&self) -> bool {
        self.transfer_encoding != Field::Absent
            || !matches!(self.content_length, Field::Absent | Field::One(b"0"))
    }

    /// Whether Envoy answers in gRPC: for `application/grpc`, alone or with a `+` suffix, and nothing else.
    pub fn is_grpc(&self) -> bool {
        self.content_type
            .single()
            .and_then(|value| value.strip_prefix(b"application/grpc"))
            .is_some_and(|rest| matches!(rest, [] | [b'+', ..]))
    }
}

/// Whether `upgrade` is among the tokens of a `Connection` header.
fn names_upgrade(list: &[u8]) -> bool {
    list.split(|b| *b == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
}

/// The host of an authority: a name, an IPv4 address, or an IPv6 address in brackets, and perhaps a port.
pub(crate) fn host(authority: &[u8]) -> Option<&[u8]> {
    let is_port = |rest: &[u8]| match rest {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if let Some(address) = authority.strip_prefix(b"[") {
        let end = address.iter().position(|b| *b == b']')?;
        let (address, rest) = address.split_at_checked(end)?;
        let sound = !address.is_empty()
            && address.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'))
            && is_port(rest.get(1..)?);
        return authority.get(..end.checked_add(2)?).filter(|_| sound);
    }
    let end = authority.iter().position(|b| *b == b':').unwrap_or(authority.len());
    let (name, port) = authority.split_at_checked(end)?;
    let name = name.strip_suffix(b".").unwrap_or(name);
    let is_label = |label: &[u8]| {
        !label.is_empty() && label.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    (is_port(port) && name.split(|b| *b == b'.').all(is_label)).then_some(name)
}

/// Method names are compared with case (RFC 9110 §9.1), and all that are in use are upper case: a server that takes
/// `delete` for `DELETE` would do what a rule for `DELETE` was not asked about.
pub fn is_method(name: &[u8]) -> bool {
    matches!(name.len(), 1..=LONGEST_METHOD)
        && name.iter().all(|b| b.is_ascii_uppercase() || matches!(b, b'-' | b'_'))
}

/// Whether a trailer of this name has to go. Some servers make one map of headers and trailers, where it would be what
/// the edge has removed, or set.
pub fn is_reserved_trailer(name: &[u8], claim_headers: &[ClaimHeader]) -> bool {
    is_reserved(name, claim_headers)
        || name.eq_ignore_ascii_case(REQUEST_ID.as_bytes())
        || name.eq_ignore_ascii_case(b"authorization")
}

/// Whether an upstream could take `name` for a header that only the edge sets.
fn is_reserved(name: &[u8], claim_headers: &[ClaimHeader]) -> bool {
    claim_headers.iter().any(|header| could_be_read_as(name, &header.name)) || is_identity(name)
}

/// Whether an upstream could take `name` for one of the headers that every edge keeps for itself.
pub fn is_identity(name: &[u8]) -> bool {
    // Most names leave here.
    if !matches!(name, [b'x' | b'X', separator, ..] if !separator.is_ascii_alphanumeric())
        || name == REQUEST_ID.as_bytes()
    {
        return false;
    }
    could_be_read_as(name, REQUEST_ID)
        || IdentityHeader::ALL.iter().any(|header| could_be_read_as(name, header.name()))
}

/// CGI-like servers fold case, and make one character of all that are neither letters nor digits.
fn could_be_read_as(name: &[u8], reserved: &str) -> bool {
    name.len() == reserved.len()
        && name.iter().zip(reserved.bytes()).all(|(seen, reserved)| {
            seen.eq_ignore_ascii_case(&reserved)
                || !(seen.is_ascii_alphanumeric() || reserved.is_ascii_alphanumeric())
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::principal::Claim;

    #[test]
    fn sees_every_spelling_of_an_identity_header() {
        let spellings = [
            "x-user-id",
            "X-User-Id",
            "x_user_id",
            "x-user_id",
            "X_USER-ID",
            "x.user.id",
            "x!user~id",
            "x_request_id",
            "x.request-id",
            "X-Request-ID",
        ];
        let headers: Vec<_> = spellings.iter().map(|name| (*name, "mallory")).collect();
        assert_eq!(RequestView::of(&headers).spoofed, spellings.map(str::as_bytes));
    }

    #[test]
    fn leaves_other_headers_alone() {
        let names = [
            "x-request-id",
            "x-user",
            "x-user-idx",
            "user-id",
            "x-user-agent",
            "xauserbid",
            "x0user1id",
            "x",
        ];
        let headers: Vec<_> = names.iter().map(|name| (*name, "")).collect();
        assert!(RequestView::of(&headers).spoofed.is_empty());
    }

    #[test]
    fn names_a_repeated_spoof_once() {
        assert_eq!(RequestView::of(&[("x-user-id", "a"), ("x-user-id", "b")]).spoofed, [b"x-user-id"]);
    }

    #[test]
    fn an_upgrade_header_alone_is_no_websocket() {
        let handshake = [(":method", "GET"), ("upgrade", "WebSocket"), ("connection", "keep-alive, Upgrade")];
        assert!(RequestView::of(&handshake).is_websocket());
        let [method, upgrade, connection] = handshake;
        assert!(!RequestView::of(&[(":method", "POST"), upgrade, connection]).is_websocket());
        assert!(!RequestView::of(&[method, upgrade]).is_websocket());
        assert!(!RequestView::of(&[method, connection]).is_websocket());
        assert!(!RequestView::of(&[method, ("upgrade", "h2c"), connection]).is_websocket());
        assert!(!RequestView::of(&[method, upgrade, upgrade, connection]).is_websocket());
    }

    #[test]
    fn an_upgrade_nominates_no_other_header() {
        let nominates = |headers: &[(&str, &str)]| RequestView::of(headers).nominates_headers();
        let upgrade = ("upgrade", "websocket");
        assert!(nominates(&[upgrade, ("connection", "upgrade, x-user-id")]));
        assert!(nominates(&[upgrade, upgrade, ("connection", "x-user-id,Upgrade")]));
        assert!(nominates(&[upgrade, ("connection", "upgrade"), ("connection", "x-user-id")]));
        assert!(!nominates(&[upgrade, ("connection", "Upgrade")]) && !nominates(&[upgrade]));
        assert!(!nominates(&[upgrade, ("connection", "keep-alive")]), "it does not become one");
        assert!(!nominates(&[("connection", "upgrade, x-user-id")]));
    }

    #[test]
    fn sees_every_spelling_of_a_header_for_a_claim() {
        let own = [ClaimHeader { name: "tenant-name".into(), claim: Claim::Name }];
        let mut view = RequestView { claim_headers: &own, ..RequestView::default() };
        let spellings = ["tenant-name", "Tenant_Name", "TENANT.NAME"];
        for name in spellings.into_iter().chain(["tenant-names", "tenantname", "x-tenant-name"]) {
            view.add(name.as_bytes(), b"mallory");
        }
        assert_eq!(view.spoofed, spellings.map(str::as_bytes));
    }

    #[test]
    fn a_host_is_read_without_port_and_in_one_way() {
        for (authority, expected) in [
            ("edge.example", Some("edge.example")),
            ("Edge.Example:8080", Some("Edge.Example")),
            ("edge.example.", Some("edge.example")),
            ("edge.example.:443", Some("edge.example")),
            ("127.0.0.1:8080", Some("127.0.0.1")),
            ("[::1]", Some("[::1]")),
            ("[::1]:8080", Some("[::1]")),
            ("a_b.internal:", Some("a_b.internal")),
            ("", None),
            (".", None),
            (".edge.example", None),
            ("edge..example", None),
            ("edge.example..", None),
            ("user@edge.example", None),
            ("edge.example:80:80", None),
            ("edge.example:x", None),
            ("edge.example/x", None),
            ("edge%2eexample", None),
            ("ädge.example", None),
            ("[::1", None),
            ("[]", None),
            ("[::1]x", None),
            ("[x]", None),
        ] {
            let headers = [(":authority", authority)];
            let host =
                RequestView::of(&headers).sound_host().ok().map(|host| std::str::from_utf8(host).unwrap());
            assert_eq!(host, expected, "{authority}");
        }
        assert_eq!(RequestView::of(&[]).sound_host(), Err(Reject::BadRequest));
    }

    #[test]
    fn a_method_is_a_short_word_in_upper_case() {
        for method in ["GET", "BREW", "M-SEARCH", "VERSION-CONTROL", "BASELINE-CONTROL"] {
            assert!(is_method(method.as_bytes()), "{method}");
        }
        for method in
            ["", "get", "Get", "delete", "GET ", "G.T", "GET1", "UPDATEREDIRECTREF", "eyJhbGciOiJFZERTQSJ9"]
        {
            assert!(!is_method(method.as_bytes()), "{method}");
        }
    }

    #[test]
    fn a_request_is_for_one_host_and_an_upgrade_has_no_body() {
        let sound = |more: &[(&str, &str)]| {
            let headers = [&[(":method", "GET"), (":authority", "edge.example")], more].concat();
            RequestView::of(&headers).sound_method() == Ok(b"GET")
        };
        let upgrade = ("upgrade", "websocket");
        assert!(sound(&[]) && sound(&[upgrade]) && sound(&[upgrade, ("content-length", "0")]));
        assert!(sound(&[("content-length", "5")]) && sound(&[("transfer-encoding", "chunked")]));
        assert!(!sound(&[(":authority", "edge.example")]) && !sound(&[(":method", "GET")]));
        assert!(!sound(&[upgrade, ("content-length", "5")]));
        assert!(!sound(&[upgrade, ("content-length", "0"), ("content-length", "0")]));
        assert!(!sound(&[upgrade, ("transfer-encoding", "chunked")]));
        let joined = [(":method", "GET"), (":authority", "edge.example,elsewhere.example")];
        assert_eq!(RequestView::of(&joined).sound_method(), Err(Reject::BadRequest));
    }

    #[test]
    fn knows_grpc_as_envoy_does() {
        for (content_type, grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc+", true),
            ("application/grpc-web", false),
            ("application/grpc;charset=utf-8", false),
            ("application/grpc ", false),
            ("application/grpcx", false),
            ("APPLICATION/GRPC", false),
            ("application/json", false),
        ] {
            assert_eq!(RequestView::of(&[("content-type", content_type)]).is_grpc(), grpc, "{content_type}");
        }
    }
}
