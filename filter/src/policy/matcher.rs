//! Which requests a rule is for: its path, its hosts, its methods, handshakes or all.

/// All that rules are matched on.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'r> {
    /// Percent-decoded, and begins with a slash.
    pub path: &'r [u8],
    /// Without port; empty where no rule asks for it.
    pub host: &'r [u8],
    pub method: &'r [u8],
    /// It is a WebSocket handshake.
    pub websocket: bool,
}

/// Which requests a rule is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matcher {
    pub path: PathMatch,
    /// Empty means every host.
    pub hosts: Vec<HostMatch>,
    /// Method names as sent; empty means every method.
    pub methods: Vec<Box<str>>,
    /// Only WebSocket handshakes.
    pub websocket: bool,
}

/// Compared byte by byte with the percent-decoded path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    Exact(Box<str>),
    /// Whole segments: `/alerts` is a prefix of `/alerts` and `/alerts/7`, not of `/alertsx`.
    Prefix(Box<str>),
    Template(Template),
}

/// A path, or a prefix, with parameters: `/alerts/{id}`. A parameter is one whole segment that is not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: Box<str>,
    /// What stands before, between and after the parameters.
    literals: Vec<Box<str>>,
    prefix: bool,
}

/// Compared without regard to case, as hosts are (RFC 9110 §4.2.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostMatch {
    /// In lower case.
    Exact(Box<str>),
    /// Every host that ends in this, which begins with a dot, and has something before it: `*.example.com`.
    Below(Box<str>),
}

impl Matcher {
    pub(super) fn matches(&self, asked: &Asked<'_>) -> bool {
        (asked.websocket || !self.websocket)
            && self.path.matches(asked.path)
            && (self.methods.is_empty() || self.methods.iter().any(|name| name.as_bytes() == asked.method))
            && (self.hosts.is_empty() || self.hosts.iter().any(|host| host.matches(asked.host)))
    }

    /// Whether this matches whatever `other` matches.
    pub(super) fn covers(&self, other: &Self) -> bool {
        // A WebSocket handshake is a GET.
        let handshake = [Box::from("GET")];
        let methods = if other.websocket { &handshake[..] } else { &other.methods };
        (other.websocket || !self.websocket)
            && self.path.covers(&other.path)
            && covers_each(&self.methods, methods, |one, other| one == other)
            && covers_each(&self.hosts, &other.hosts, HostMatch::covers)
    }
}

/// Whether each of `others` is covered by one of `these`; none at all stands for everything there is.
fn covers_each<T>(these: &[T], others: &[T], covers: impl Fn(&T, &T) -> bool) -> bool {
    let covered = |other| these.iter().any(|one| covers(one, other));
    these.is_empty() || (!others.is_empty() && others.iter().all(covered))
}

impl PathMatch {
    /// The whole path; parameters are segments in braces.
    pub fn exact(text: &str) -> Self {
        Template::read(text, false).map_or_else(|| Self::Exact(text.into()), Self::Template)
    }

    /// Everything at or below a path; parameters are segments in braces.
    pub fn prefix(text: &str) -> Self {
        Template::read(text, true).map_or_else(|| Self::Prefix(text.into()), Self::Template)
    }

    /// As it is configured. Read as a request's path it matches itself, and what else matches it has a parameter
    /// wherever it has one, because no configured segment but a parameter begins with a brace.
    pub fn text(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Prefix(text) | Self::Template(Template { text, .. }) => text,
        }
    }

    pub fn is_prefix(&self) -> bool {
        match self {
            Self::Exact(_) => false,
            Self::Prefix(_) => true,
            Self::Template(template) => template.prefix,
        }
    }

    fn covers(&self, other: &Self) -> bool {
        (self.is_prefix() || !other.is_prefix()) && self.matches(other.text().as_bytes())
    }

    pub(super) fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => exact.as_bytes() == path,
            Self::Prefix(prefix) => {
                path.strip_prefix(prefix.as_bytes()).is_some_and(|rest| ends(prefix, rest))
            }
            Self::Template(template) => template.matches(path),
        }
    }
}

/// Whether a prefix ends at a segment, given what comes after it.
fn ends(prefix: &str, rest: &[u8]) -> bool {
    prefix.ends_with('/') || matches!(rest, [] | [b'/', ..])
}

/// Whether a segment of a configured path stands for any one segment.
pub(super) fn is_parameter(segment: &[u8]) -> bool {
    segment.starts_with(b"{")
}

impl Template {
    /// A path with at least one parameter.
    fn read(text: &str, prefix: bool) -> Option<Self> {
        let mut literals = vec![String::new()];
        for (at, segment) in text.split('/').enumerate() {
            let literal = literals.last_mut()?;
            if at > 0 {
                literal.push('/');
            }
            if is_parameter(segment.as_bytes()) {
                literals.push(String::new());
            } else {
                literal.push_str(segment);
            }
        }
        let literals: Vec<_> = literals.into_iter().map(String::into_boxed_str).collect();
        (literals.len() > 1).then(|| Self { text: text.into(), literals, prefix })
    }

    fn matches(&self, path: &[u8]) -> bool {
        let mut literals = self.literals.iter();
        let first = literals.next().and_then(|first| path.strip_prefix(first.as_bytes()));
        let rest = literals.try_fold(first, |rest, literal| {
            let rest = rest?;
            let end = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
            let after = rest.get(end..).filter(|_| end > 0)?;
            Some(after.strip_prefix(literal.as_bytes()))
        });
        let Some(Some(rest)) = rest else { return false };
        rest.is_empty() || (self.prefix && ends(&self.text, rest))
    }
}

impl HostMatch {
    /// A host name, or `*.` and what it ends in.
    pub fn read(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        match text.strip_prefix('*') {
            Some(suffix) => Self::Below(suffix.into()),
            None => Self::Exact(text.into()),
        }
    }

    fn matches(&self, host: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => host.eq_ignore_ascii_case(exact.as_bytes()),
            Self::Below(suffix) => {
                host.len().checked_sub(suffix.len()).and_then(|at| host.split_at_checked(at)).is_some_and(
                    |(start, end)| !start.is_empty() && end.eq_ignore_ascii_case(suffix.as_bytes()),
                )
            }
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Exact(host)) => self.matches(host.as_bytes()),
            (Self::Below(suffix), Self::Below(longer)) => longer.ends_with(&**suffix),
            (Self::Exact(_), Self::Below(_)) => false,
        }
    }
}

/// As it is configured.
impl std::fmt::Display for HostMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Below(suffix) => write!(f, "*{suffix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_at_a_segment() {
        for (rule, path, matches) in [
            ("/alerts", "/alerts", true),
            ("/alerts", "/alerts/", true),
            ("/alerts", "/alerts/7", true),
            ("/alerts", "/alertsx", false),
            ("/alerts", "/Alerts", false),
            ("/alerts", "/", false),
            ("/ws/", "/ws/", true),
            ("/ws/", "/ws/quotes", true),
            ("/ws/", "/ws", false),
            ("/", "/", true),
            ("/", "/anything/at/all", true),
        ] {
            assert_eq!(PathMatch::prefix(rule).matches(path.as_bytes()), matches, "{rule} {path}");
        }
    }

    #[test]
    fn an_exact_path_is_only_itself() {
        let exact = PathMatch::exact("/healthz");
        assert!(exact.matches(b"/healthz"));
        assert!(!exact.matches(b"/healthz/") && !exact.matches(b"/healthz/x") && !exact.matches(b"/health"));
    }

    #[test]
    fn a_parameter_is_one_segment_that_is_not_empty() {
        for (rule, path, exact, prefix) in [
            ("/alerts/{id}", "/alerts/7", true, true),
            ("/alerts/{id}", "/alerts/{id}", true, true),
            ("/alerts/{id}", "/alerts/", false, false),
            ("/alerts/{id}", "/alerts", false, false),
            ("/alerts/{id}", "/alerts/7/", false, true),
            ("/alerts/{id}", "/alerts/7/notes", false, true),
            ("/alerts/{id}", "/alertsx/7", false, false),
            ("/{a}/{b}", "/1/2", true, true),
            ("/{a}/{b}", "/1", false, false),
            ("/{a}/{b}", "/1/", false, false),
            ("/{a}/{b}", "/1/2/3", false, true),
            ("/a/{id}/notes", "/a/7/notes", true, true),
            ("/a/{id}/notes", "/a/7/notesx", false, false),
            ("/a/{id}/notes", "/a/7/notes/1", false, true),
            ("/a/{id}/", "/a/7/", true, true),
            ("/a/{id}/", "/a/7", false, false),
            ("/a/{id}/", "/a/7/x", false, true),
            ("/{any}", "/", false, false),
        ] {
            let matches = |pattern: PathMatch| pattern.matches(path.as_bytes());
            assert_eq!(matches(PathMatch::exact(rule)), exact, "path {rule} {path}");
            assert_eq!(matches(PathMatch::prefix(rule)), prefix, "prefix {rule} {path}");
        }
    }

    #[test]
    fn a_host_is_compared_without_case_and_a_star_is_at_least_one_label() {
        for (rule, host, matches) in [
            ("api.example.com", "api.example.com", true),
            ("api.example.com", "API.Example.COM", true),
            ("API.example.com", "api.example.com", true),
            ("api.example.com", "xapi.example.com", false),
            ("api.example.com", "api.example.com.evil", false),
            ("api.example.com", "", false),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "A.B.EXAMPLE.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "badexample.com", false),
        ] {
            assert_eq!(HostMatch::read(rule).matches(host.as_bytes()), matches, "{rule} {host}");
        }
    }
}
