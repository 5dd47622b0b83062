//! Which rule a request falls under, and whether a principal may pass it.
//!
//! Rules are data, tried in order; the first that matches decides. A request that matches none is refused.

use countersign_claims::Reject;

use crate::credential::Accepted;
use crate::request::{Field, RequestView};

use index::Index;
use path::Target;

mod access;
mod index;
mod matcher;
pub mod path;
pub mod reach;

pub use access::{Access, Callers, Demands, Names};
pub use matcher::{Asked, HostMatch, Matcher, PathMatch};

/// What is asked of a request that matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// For logs; unique in a configuration.
    pub name: Box<str>,
    /// Where it stands in the configuration.
    pub position: usize,
    pub matcher: Matcher,
    pub accepted: Accepted,
    pub access: Access,
    /// The token that was verified goes on as `Authorization`, wherever it came from.
    pub forward_token: bool,
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
    /// Some rule is for certain hosts.
    by_host: bool,
}

impl Policy {
    pub fn new(rules: Vec<Rule>) -> Self {
        let mut query_names: Vec<_> =
            rules.iter().flat_map(|rule| rule.accepted.query.iter().cloned()).collect();
        query_names.sort_unstable();
        query_names.dedup();
        let by_host = rules.iter().any(|rule| !rule.matcher.hosts.is_empty());
        Self { index: Index::new(&rules), rules, query_names, by_host }
    }

    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    pub fn query_names(&self) -> &[Box<str>] {
        &self.query_names
    }

    /// The rule that a request falls under: the first that matches.
    ///
    /// # Errors
    /// [`Reject::AmbiguousPath`] and [`Reject::BadRequest`] for a request that has more than one reading, and
    /// [`Reject::NoRule`].
    pub fn rule_for(&self, view: &RequestView<'_>) -> Result<&Rule, Reject> {
        let target = Target::parse(view.path.single().unwrap_or_default())?;
        let method = view.sound_method()?;
        let host = if self.by_host { view.sound_host()? } else { &[] };
        self.route(&Asked { path: &target.path, host, method, websocket: view.is_websocket() })
    }

    /// The first rule that matches.
    ///
    /// # Errors
    /// [`Reject::NoRule`].
    pub fn route(&self, asked: &Asked<'_>) -> Result<&Rule, Reject> {
        let matches = |rule: &Rule| rule.matcher.matches(asked);
        let first = if self.rules.len() <= FEW_RULES {
            self.rules.iter().find(|rule| matches(rule))
        } else {
            self.first_of_many(asked.path, matches).map(|(_, rule)| rule)
        };
        first.ok_or(Reject::NoRule)
    }

    /// Rules that can never match, each with the first rule that takes all its requests.
    pub fn never_matching(&self) -> impl Iterator<Item = (&Rule, &Rule)> {
        self.rules.iter().enumerate().filter_map(|(at, rule)| {
            let covers = |earlier: &Rule| earlier.matcher.covers(&rule.matcher);
            // Whoever covers a path also matches it, and a rule covers itself.
            let (first, earlier) = self.first_of_many(rule.matcher.path.text().as_bytes(), covers)?;
            (first < at).then_some((rule, earlier))
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

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn rule(name: &str, path: PathMatch, methods: &[&str], websocket: bool) -> Rule {
        let methods = methods.iter().map(|name| (*name).into()).collect();
        Rule {
            name: name.into(),
            position: 0,
            matcher: Matcher { path, hosts: vec![], methods, websocket },
            accepted: Accepted::default(),
            access: Access::Caller(Demands::default()),
            forward_token: false,
            origins: None,
            unknown_api_key_passes: false,
            mode: Mode::Enforce,
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let policy = Policy::new(vec![
            rule("stream", PathMatch::prefix("/api/"), &["GET"], true),
            rule("admin", PathMatch::prefix("/api/admin"), &[], false),
            rule("read", PathMatch::prefix("/api/"), &["GET", "HEAD"], false),
        ]);
        let route = |path: &str, method: &str, websocket| {
            let asked = Asked { path: path.as_bytes(), host: b"", method: method.as_bytes(), websocket };
            policy.route(&asked).map(|rule| &*rule.name)
        };
        assert_eq!(route("/api/admin", "GET", true), Ok("stream"));
        assert_eq!(route("/api/admin", "GET", false), Ok("admin"));
        assert_eq!(route("/api/admin/x", "BREW", false), Ok("admin"));
        assert_eq!(route("/api/x", "HEAD", false), Ok("read"));
        assert_eq!(route("/api/x", "get", false), Err(Reject::NoRule));
        assert_eq!(route("/api/x", "POST", false), Err(Reject::NoRule));
        assert_eq!(route("/other", "GET", false), Err(Reject::NoRule));
    }

    /// Paths and templates alike: a request may well be for `/{x}`.
    fn path() -> impl Strategy<Value = String> {
        "/((a|b|ab|\\{x\\})(/(a|b|ab|\\{x\\})){0,3}/?)?"
    }

    fn path_match() -> impl Strategy<Value = PathMatch> {
        (path(), any::<bool>()).prop_map(|(path, exact)| match exact {
            true => PathMatch::exact(&path),
            false => PathMatch::prefix(&path),
        })
    }

    const HOSTS: [&str; 6] =
        ["a.example", "b.a.example", "x.a.example", "x.b.a.example", "other.example", "elsewhere.test"];

    fn hosts() -> impl Strategy<Value = Vec<HostMatch>> {
        let host = prop::sample::select(vec![
            "a.example",
            "b.a.example",
            "*.a.example",
            "*.b.a.example",
            "*.example",
        ]);
        prop::collection::vec(host.prop_map(HostMatch::read), 0..3)
    }

    pub(crate) fn matcher() -> impl Strategy<Value = Matcher> {
        let methods = prop::collection::vec(prop::sample::select(vec!["GET", "POST", "PUT"]), 0..3);
        (path_match(), hosts(), methods, any::<bool>()).prop_map(|(path, hosts, mut methods, websocket)| {
            if websocket && !methods.is_empty() {
                methods.push("GET");
            }
            Matcher { hosts, ..rule("", path, &methods, websocket).matcher }
        })
    }

    /// Methods, and whether it is a handshake: one of each kind that a [`matcher`] tells apart.
    const KINDS: [(&str, bool); 5] =
        [("GET", false), ("POST", false), ("PUT", false), ("BREW", false), ("GET", true)];

    /// Requests of every kind for a path.
    pub(crate) fn requests(path: &str) -> impl Iterator<Item = Asked<'_>> {
        HOSTS.into_iter().flat_map(move |host| {
            KINDS.map(|(method, websocket)| Asked {
                path: path.as_bytes(),
                host: host.as_bytes(),
                method: method.as_bytes(),
                websocket,
            })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn a_matcher_covers_another_exactly_if_no_request_tells_them_apart(one in matcher(), other in matcher()) {
            // A parameter for which nobody has a literal, and one for each that there is.
            let paths = ["{x}", "a", "b", "ab"].map(|value| other.path.text().replace("{x}", value));
            let paths = paths.iter().flat_map(|path| ["", "x", "/x"].map(|more| format!("{path}{more}")));
            let told_apart = paths.into_iter().any(|path| {
                requests(&path).any(|asked| other.matches(&asked) && !one.matches(&asked))
            });
            prop_assert_eq!(one.covers(&other), !told_apart);
        }

        #[test]
        fn the_index_misses_no_rule_and_keeps_their_order(
            rules in prop::collection::vec(matcher(), 0..12), requests in prop::collection::vec(
                (path(), prop::sample::select(HOSTS.to_vec()), prop::sample::select(KINDS.to_vec())), 1..8),
        ) {
            let rules = rules.into_iter().enumerate().map(|(at, matcher)| {
                Rule { matcher, ..rule(&at.to_string(), PathMatch::prefix("/"), &[], false) }
            });
            let policy = Policy::new(rules.collect());
            for (path, host, (method, websocket)) in requests {
                let (path, host, method) = (path.as_bytes(), host.as_bytes(), method.as_bytes());
                let asked = Asked { path, host, method, websocket };
                let matches = |rule: &Rule| rule.matcher.matches(&asked);
                let expected = policy.rules.iter().find(|rule| matches(rule));
                let found = policy.first_of_many(path, matches);
                prop_assert_eq!(found.map(|(_, rule)| &rule.name), expected.map(|rule| &rule.name), "{:?}", asked);
            }
        }
    }
}
