//! Requests as Envoy hands them to the module, and what became of them.

use std::collections::BTreeMap;

/// Header names and values in order. Names are in lower case, as in Envoy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, Vec<u8>)>);

impl Headers {
    /// The only value of a header, as text.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.values(name);
        let value = values.next()?;
        assert!(values.next().is_none(), "{name} is there more than once");
        Some(std::str::from_utf8(value).expect("a value that is text"))
    }

    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.0
            .iter()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_slice())
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    }

    pub(super) fn replace(&mut self, name: &str, value: &[u8]) {
        match self.0.iter().position(|(known, _)| known.eq_ignore_ascii_case(name)) {
            Some(at) => {
                self.0[at].1 = value.to_vec();
                let mut position = 0..;
                self.0.retain(|(known, _)| position.next() <= Some(at) || !known.eq_ignore_ascii_case(name));
            }
            None => self.add(name, value),
        }
    }

    pub(super) fn add(&mut self, name: &str, value: &[u8]) {
        self.0.push((name.to_ascii_lowercase(), value.to_vec()));
    }
}

/// A request as it arrives.
#[derive(Debug, Clone)]
pub struct Request {
    pub(super) headers: Headers,
    pub(super) trailers: Headers,
}

impl Request {
    pub fn new(method: &str, path: impl AsRef<[u8]>) -> Self {
        Self::bare()
            .raw(":method", method)
            .raw(":path", path)
            .raw(":scheme", "http")
            .raw(":authority", "edge.example")
            .raw("user-agent", "test")
            .raw("x-request-id", "from-envoy")
    }

    pub fn get(path: impl AsRef<[u8]>) -> Self {
        Self::new("GET", path)
    }

    /// A WebSocket handshake.
    pub fn websocket(path: impl AsRef<[u8]>) -> Self {
        Self::get(path)
            .header("Connection", "keep-alive, Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
    }

    /// A request without any header, not even those that Envoy guarantees.
    pub fn bare() -> Self {
        Self { headers: Headers::default(), trailers: Headers::default() }
    }

    /// Adds a header as a client sends it: Envoy folds the name's case and joins a repeated `Authorization`.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let joined =
            name.eq_ignore_ascii_case("authorization").then(|| self.headers.values(name).next()).flatten();
        match joined.map(|first| [first, value.as_ref()].join(&b","[..])) {
            Some(both) => self.headers.replace(name, &both),
            None => self.headers.add(name, value.as_ref()),
        }
        self
    }

    /// Adds a header just as given.
    #[must_use]
    pub fn raw(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.0.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Adds a trailer: what HTTP/2 and chunked requests may send after their body.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.trailers.add(name, value.as_ref());
        self
    }

    #[must_use]
    pub fn bearer(self, token: impl AsRef<str>) -> Self {
        self.header("Authorization", format!("Bearer {}", token.as_ref()))
    }
}

/// What became of a request.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The request's headers when the module was done with them: what logs see, and the upstream if there was no
    /// refusal.
    pub headers: Headers,
    /// The request's trailers, if it was forwarded.
    pub trailers: Headers,
    pub refusal: Option<Refusal>,
    pub filter_state: BTreeMap<String, String>,
    /// What deciding took, in WebAssembly instructions: the same on every machine.
    pub cost: u64,
    /// How often the module called the host for it.
    pub host_calls: u32,
}

impl Outcome {
    /// All of it that anybody outside can see.
    pub(super) fn seen(&self) -> impl PartialEq + std::fmt::Debug {
        let Self { headers, trailers, refusal, filter_state, cost: _, host_calls } = self.clone();
        (headers, trailers, refusal, filter_state, host_calls)
    }

    /// The headers that the upstream got.
    pub fn upstream(&self) -> &Headers {
        assert!(self.refusal.is_none(), "refused: {:?}", self.refusal);
        &self.headers
    }

    pub fn refused(&self) -> &Refusal {
        self.refusal.as_ref().expect("the request is refused")
    }

    /// The reason of the refusal, or `forwarded`.
    pub fn reason(&self) -> String {
        self.refusal.as_ref().map_or_else(|| "forwarded".into(), Refusal::reason)
    }
}

/// An answer that the module gave instead of the upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    pub status: i32,
    /// Why, for access logs.
    pub details: String,
    pub headers: Headers,
    pub body: Vec<u8>,
    /// −1 if the host is to choose.
    pub grpc_status: i32,
}

impl Refusal {
    pub fn problem(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a body that is JSON")
    }

    pub fn reason(&self) -> String {
        self.problem()["reason"].as_str().expect("a reason").to_owned()
    }
}
