//! Which rule a request falls under, and whether a principal may pass it.
//!
//! Rules are data, tried in order; the first that matches decides. A request that matches none is refused.

use countersign_claims::Reject;

use crate::credential::Accepted;
use crate::principal::Principal;
use crate::request::Field;

use index::Index;

mod index;
pub mod path;

/// What is asked of a request that matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// For logs; unique in a configuration.
    pub name: Box<str>,
    pub matcher: Matcher,
    pub accepted: Accepted,
    pub access: Access,
    /// Pages that may open a WebSocket here; `None` for all. Who is no browser names no page.
    pub origins: Option<Vec<Box<str>>>,
    /// A request with an API key that the issuer does not know goes on with it, as nobody's: the upstream may know it.
    pub unknown_api_key_passes: bool,
    pub mode: Mode,
}

impl Rule {
    /// # Errors
    /// [`Reject::OriginNotAllowed`].
    pub fn admits_origin(&self, origin: Field<'_>) -> Result<(), Reject> {
        let Some(allowed) = &self.origins else { return Ok(()) };
        match origin {
            Field::Absent => Ok(()),
            Field::One(origin) if allowed.iter().any(|allowed| allowed.as_bytes() == origin) => Ok(()),
            _ => Err(Reject::OriginNotAllowed),
        }
    }
}

/// Which requests a rule is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matcher {
    pub path: PathMatch,
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
}

/// Who may pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// No credential is looked at.
    Anyone,
    Authenticated,
    /// Every one of these permissions is needed.
    Permissions(Vec<Box<str>>),
    /// Any one of these roles is enough.
    Roles(Vec<Box<str>>),
}

/// What happens to a request that would be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Enforce,
    /// It passes and is counted. Upstreams learn who is calling if the token verified.
    Observe,
}

/// Up to so many rules, trying each is the quickest way.
const FEW_RULES: usize = 24;

/// The rules of a configuration.
#[derive(Debug, Clone)]
pub struct Policy {
    rules: Vec<Rule>,
    index: Index,
    /// Every query parameter that some rule takes for a credential.
    query_names: Vec<Box<str>>,
}

impl Policy {
    pub fn new(rules: Vec<Rule>) -> Self {
        let mut query_names: Vec<_> =
            rules.iter().flat_map(|rule| rule.accepted.query.iter().cloned()).collect();
        query_names.sort_unstable();
        query_names.dedup();
        Self { index: Index::new(&rules), rules, query_names }
    }

    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    pub fn query_names(&self) -> &[Box<str>] {
        &self.query_names
    }

    /// The first rule that matches.
    ///
    /// # Errors
    /// [`Reject::NoRule`].
    pub fn route(&self, path: &[u8], method: &[u8], websocket: bool) -> Result<&Rule, Reject> {
        let matches = |rule: &Rule| rule.matcher.matches(path, method, websocket);
        let first = if self.rules.len() <= FEW_RULES {
            self.rules.iter().find(|rule| matches(rule))
        } else {
            self.first_of_many(path, matches).map(|(_, rule)| rule)
        };
        first.ok_or(Reject::NoRule)
    }

    /// A rule that can never match and the earlier rule that takes all its requests: both positions, and the latter.
    pub fn never_matching(&self) -> Option<(usize, usize, &Rule)> {
        self.rules.iter().enumerate().find_map(|(at, rule)| {
            let (PathMatch::Exact(path) | PathMatch::Prefix(path)) = &rule.matcher.path;
            let covers = |earlier: &Rule| earlier.matcher.covers(&rule.matcher);
            // Whoever covers a path also matches it, and a rule covers itself.
            let (first, earlier) = self.first_of_many(path.as_bytes(), covers)?;
            (first < at).then_some((at, first, earlier))
        })
    }

    /// As trying every rule in order, at a cost that does not grow with their number.
    fn first_of_many(&self, path: &[u8], matches: impl Fn(&Rule) -> bool) -> Option<(usize, &Rule)> {
        let mut first: Option<(usize, &Rule)> = None;
        self.index.candidates(path, |positions| {
            // A later rule than one that was found cannot win.
            let earlier =
                positions.iter().take_while(|position| first.is_none_or(|(best, _)| **position < best));
            let mut earlier = earlier.filter_map(|position| Some((*position, self.rules.get(*position)?)));
            first = earlier.find(|(_, rule)| matches(rule)).or(first);
        });
        first
    }
}

impl Matcher {
    fn matches(&self, path: &[u8], method: &[u8], websocket: bool) -> bool {
        (websocket || !self.websocket)
            && self.path.matches(path)
            && (self.methods.is_empty() || self.methods.iter().any(|name| name.as_bytes() == method))
    }

    /// Whether this matches whatever `other` matches.
    fn covers(&self, other: &Self) -> bool {
        // A WebSocket handshake is a GET.
        let handshake = [Box::from("GET")];
        let methods = if other.websocket { &handshake[..] } else { &other.methods };
        (other.websocket || !self.websocket)
            && self.path.covers(&other.path)
            && (self.methods.is_empty()
                || (!methods.is_empty() && methods.iter().all(|method| self.methods.contains(method))))
    }
}

impl PathMatch {
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(_), Self::Prefix(_)) => false,
            (_, Self::Exact(path) | Self::Prefix(path)) => self.matches(path.as_bytes()),
        }
    }

    fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => exact.as_bytes() == path,
            Self::Prefix(prefix) => path
                .strip_prefix(prefix.as_bytes())
                .is_some_and(|rest| prefix.ends_with('/') || matches!(rest, [] | [b'/', ..])),
        }
    }
}

impl Access {
    /// # Errors
    /// [`Reject::Forbidden`] if the principal lacks what the rule asks.
    pub fn authorize(&self, principal: &Principal) -> Result<(), Reject> {
        let granted = match self {
            Self::Anyone | Self::Authenticated => true,
            Self::Permissions(all) => all.iter().all(|permission| principal.has_permission(permission)),
            Self::Roles(any) => any.iter().any(|role| principal.has_role(role)),
        };
        granted.then_some(()).ok_or(Reject::Forbidden)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(name: &str, path: PathMatch, methods: &[&str], websocket: bool) -> Rule {
        let methods = methods.iter().map(|name| (*name).into()).collect();
        Rule {
            name: name.into(),
            matcher: Matcher { path, methods, websocket },
            accepted: Accepted::default(),
            access: Access::Authenticated,
            origins: None,
            unknown_api_key_passes: false,
            mode: Mode::Enforce,
        }
    }

    fn prefix(prefix: &str) -> PathMatch {
        PathMatch::Prefix(prefix.into())
    }

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
            assert_eq!(prefix(rule).matches(path.as_bytes()), matches, "{rule} {path}");
        }
    }

    #[test]
    fn an_exact_path_is_only_itself() {
        let exact = PathMatch::Exact("/healthz".into());
        assert!(exact.matches(b"/healthz"));
        assert!(!exact.matches(b"/healthz/") && !exact.matches(b"/healthz/x") && !exact.matches(b"/health"));
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let policy = Policy::new(vec![
            rule("stream", prefix("/api/"), &["GET"], true),
            rule("admin", prefix("/api/admin"), &[], false),
            rule("read", prefix("/api/"), &["GET", "HEAD"], false),
        ]);
        let route = |path: &str, method: &str, websocket| {
            policy.route(path.as_bytes(), method.as_bytes(), websocket).map(|rule| &*rule.name)
        };
        assert_eq!(route("/api/admin", "GET", true), Ok("stream"));
        assert_eq!(route("/api/admin", "GET", false), Ok("admin"));
        assert_eq!(route("/api/admin/x", "BREW", false), Ok("admin"));
        assert_eq!(route("/api/x", "HEAD", false), Ok("read"));
        assert_eq!(route("/api/x", "get", false), Err(Reject::NoRule));
        assert_eq!(route("/api/x", "POST", false), Err(Reject::NoRule));
        assert_eq!(route("/other", "GET", false), Err(Reject::NoRule));
    }

    fn path() -> impl Strategy<Value = String> {
        "/((a|b|ab)(/(a|b|ab)){0,3}/?)?"
    }

    fn matcher() -> impl Strategy<Value = Matcher> {
        let methods = prop::collection::vec(prop::sample::select(vec!["GET", "POST", "PUT"]), 0..3);
        (path(), any::<bool>(), methods, any::<bool>()).prop_map(|(path, exact, mut methods, websocket)| {
            let path = path.into();
            let path = if exact { PathMatch::Exact(path) } else { PathMatch::Prefix(path) };
            if websocket && !methods.is_empty() {
                methods.push("GET");
            }
            rule("", path, &methods, websocket).matcher
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn a_matcher_covers_another_exactly_if_no_request_tells_them_apart(one in matcher(), other in matcher()) {
            let (PathMatch::Exact(path) | PathMatch::Prefix(path)) = &other.path;
            let paths = ["", "x", "/x"].map(|more| format!("{path}{more}"));
            let requests = ["GET", "POST", "PUT", "BREW"].map(|method| (method, false)).into_iter().chain([("GET", true)]);
            let told_apart = requests.into_iter().any(|(method, websocket)| paths.iter().any(|path| {
                let matches = |m: &Matcher| m.matches(path.as_bytes(), method.as_bytes(), websocket);
                matches(&other) && !matches(&one)
            }));
            prop_assert_eq!(one.covers(&other), !told_apart);
        }

        #[test]
        fn the_index_misses_no_rule_and_keeps_their_order(
            rules in prop::collection::vec((path(), any::<bool>(), any::<bool>(), any::<bool>()), 0..12),
            requests in prop::collection::vec((path(), any::<bool>(), any::<bool>()), 1..8),
        ) {
            let rules = rules.into_iter().enumerate().map(|(at, (path, exact, get, websocket))| {
                let path = path.into();
                let path = if exact { PathMatch::Exact(path) } else { PathMatch::Prefix(path) };
                rule(&at.to_string(), path, if get { &["GET"] } else { &[] }, websocket)
            });
            let policy = Policy::new(rules.collect());
            for (path, get, websocket) in requests {
                let method: &[u8] = if get { b"GET" } else { b"POST" };
                let matches = |rule: &Rule| rule.matcher.matches(path.as_bytes(), method, websocket);
                let expected = policy.rules.iter().find(|rule| matches(rule));
                let found = policy.first_of_many(path.as_bytes(), matches);
                prop_assert_eq!(found.map(|(_, rule)| &rule.name), expected.map(|rule| &rule.name), "{}", path);
            }
        }
    }
}
