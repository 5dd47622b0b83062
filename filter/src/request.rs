//! What the decision needs of a request, borrowed from the one copy of the header map that the host gave.
//!
//! Reads bytes only: header values are whatever a client sent, and need not be UTF-8.

/// The names that only the edge sets, in the spelling that upstreams read.
pub const IDENTITY_HEADERS: [&str; 5] =
    ["x-user-id", "x-user-email", "x-user-roles", "x-session-id", "x-auth-method"];

/// Set by Envoy itself, before the filter runs: its own spelling stays, look-alikes go.
const REQUEST_ID: &str = "x-request-id";

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
    pub authorization: Field<'r>,
    pub upgrade: Field<'r>,
    pub connection: Field<'r>,
    pub content_type: Field<'r>,
    /// Every `Sec-WebSocket-Protocol`; several lines are one list (RFC 6455 §11.3.4).
    pub protocols: Vec<&'r [u8]>,
    /// Header names that could pass for an identity header upstream, as the host spells them.
    pub spoofed: Vec<&'r str>,
}

impl<'r> RequestView<'r> {
    pub fn read(headers: impl IntoIterator<Item = (&'r str, &'r [u8])>) -> Self {
        let mut view = Self::default();
        for (name, value) in headers {
            match name {
                ":path" => view.path.push(value),
                ":method" => view.method.push(value),
                "authorization" => view.authorization.push(value),
                "upgrade" => view.upgrade.push(value),
                "connection" => view.connection.push(value),
                "content-type" => view.content_type.push(value),
                "sec-websocket-protocol" => view.protocols.push(value),
                _ if is_reserved(name) && !view.spoofed.contains(&name) => view.spoofed.push(name),
                _ => {}
            }
        }
        view
    }

    /// Whether Envoy will treat this as a WebSocket handshake (RFC 6455 §4.1). The method counts: an `Upgrade`
    /// header on a POST opens no WebSocket and must not open a rule that is meant for one.
    pub fn is_websocket(&self) -> bool {
        let upgrade = self.upgrade.single().is_some_and(|v| v.eq_ignore_ascii_case(b"websocket"));
        upgrade
            && self.method.single() == Some(b"GET")
            && self.connection.single().is_some_and(|list| {
                list.split(|b| *b == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
            })
    }

    /// Whether Envoy answers in gRPC: `application/grpc`, alone or with a `+` suffix or parameters.
    pub fn is_grpc(&self) -> bool {
        self.content_type
            .single()
            .and_then(|value| value.strip_prefix(b"application/grpc"))
            .is_some_and(|rest| rest.first().is_none_or(|b| matches!(b, b'+' | b';' | b' ')))
    }
}

/// Whether an upstream could take `name` for a header that only the edge sets: CGI-like servers fold case, and
/// make one character of all that are neither letters nor digits.
pub fn is_reserved(name: &str) -> bool {
    // Most names leave here.
    if !matches!(name.as_bytes(), [b'x' | b'X', separator, ..] if !separator.is_ascii_alphanumeric()) {
        return false;
    }
    let folds_to = |reserved: &str| {
        name.len() == reserved.len()
            && name.bytes().zip(reserved.bytes()).all(|(seen, reserved)| {
                seen.eq_ignore_ascii_case(&reserved) || (reserved == b'-' && !seen.is_ascii_alphanumeric())
            })
    };
    IDENTITY_HEADERS.into_iter().any(folds_to) || (name != REQUEST_ID && folds_to(REQUEST_ID))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view<'r>(headers: &[(&'r str, &'r str)]) -> RequestView<'r> {
        RequestView::read(headers.iter().map(|(name, value)| (*name, value.as_bytes())))
    }

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
        assert_eq!(view(&headers).spoofed, spellings);
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
        assert!(view(&headers).spoofed.is_empty());
    }

    #[test]
    fn names_a_repeated_spoof_once() {
        assert_eq!(view(&[("x-user-id", "a"), ("x-user-id", "b")]).spoofed, ["x-user-id"]);
    }

    #[test]
    fn an_upgrade_header_alone_is_no_websocket() {
        let handshake = [(":method", "GET"), ("upgrade", "WebSocket"), ("connection", "keep-alive, Upgrade")];
        assert!(view(&handshake).is_websocket());
        let [method, upgrade, connection] = handshake;
        assert!(!view(&[(":method", "POST"), upgrade, connection]).is_websocket());
        assert!(!view(&[method, upgrade]).is_websocket());
        assert!(!view(&[method, connection]).is_websocket());
        assert!(!view(&[method, ("upgrade", "h2c"), connection]).is_websocket());
        assert!(!view(&[method, upgrade, upgrade, connection]).is_websocket());
    }

    #[test]
    fn knows_grpc_as_envoy_does() {
        for (content_type, grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(view(&[("content-type", content_type)]).is_grpc(), grpc, "{content_type}");
        }
    }
}
