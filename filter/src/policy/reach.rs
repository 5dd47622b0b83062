//! Whether any request falls under a rule, when those before it have taken theirs: for who checks a configuration. A
//! worker that reads one looks only for an earlier rule that takes everything alone.
//!
//! Of requests that no rule tells apart, one is tried: a segment, a host or a method that no rule names stands for all
//! such.

use std::collections::BTreeSet;

use super::matcher::is_parameter;
use super::{Asked, HostMatch, PathMatch, Rule};

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    pub method: String,
    pub path: String,
    /// Where some rule is for certain hosts.
    pub host: Option<String>,
    /// It is a WebSocket handshake.
    pub websocket: bool,
}

/// A request that falls under the rule at this position; `None` if those before it leave it none.
pub fn example(rules: &[Rule], position: usize) -> Option<Example> {
    let (earlier, rest) = rules.split_at_checked(position)?;
    let rule = rest.first()?;
    let patterns: Vec<_> = earlier.iter().chain([rule]).map(|rule| Pattern::of(&rule.matcher.path)).collect();
    let names = patterns.iter().flat_map(|pattern| pattern.segments.iter().copied());
    let search = Search { rule, earlier, own: Pattern::of(&rule.matcher.path), fresh: fresh(names) };
    search.below(String::new(), 0, &patterns)
}

/// A configured path in segments; an empty one stands after a slash at the end.
#[derive(Debug, Clone)]
struct Pattern<'r> {
    segments: Vec<&'r str>,
}

impl<'r> Pattern<'r> {
    fn of(path: &'r PathMatch) -> Self {
        Self { segments: path.text().split('/').skip(1).collect() }
    }

    /// Whether the segment at this depth may be this one.
    fn takes(&self, depth: usize, segment: &str) -> bool {
        self.segments.get(depth).is_some_and(|own| is_parameter(own.as_bytes()) || *own == segment)
    }
}

/// A word that is a part of none of these.
fn fresh<'n>(names: impl Iterator<Item = &'n str> + Clone) -> String {
    let mut word = String::from("any");
    while names.clone().any(|name| name.contains(&word)) {
        word.push('y');
    }
    word
}

struct Search<'r> {
    rule: &'r Rule,
    earlier: &'r [Rule],
    own: Pattern<'r>,
    /// A segment that no rule names.
    fresh: String,
}

impl Search<'_> {
    /// Tries this path and those below it. `alive` are the patterns that have taken every segment so far.
    fn below(&self, path: String, depth: usize, alive: &[Pattern<'_>]) -> Option<Example> {
        for candidate in [path.clone(), format!("{path}/")] {
            if self.rule.matcher.path.matches(candidate.as_bytes())
                && let Some(example) = self.left_at(&candidate)
            {
                return Some(example);
            }
        }
        let within = self.own.segments.get(depth);
        // Beyond all patterns, the slash at the end stands for everything.
        if alive.iter().all(|pattern| pattern.segments.len() <= depth) {
            return None;
        }
        let named = alive.iter().filter_map(|pattern| pattern.segments.get(depth).copied());
        let named = named.filter(|segment| !segment.is_empty() && !is_parameter(segment.as_bytes()));
        // An empty segment of its own is the slash at the end of a prefix: whatever comes is below that.
        let free = within.is_none_or(|own| own.is_empty() || is_parameter(own.as_bytes()));
        let segments: BTreeSet<_> = named.filter(|segment| free || within == Some(segment)).collect();
        let fresh = Some(&*self.fresh).filter(|_| free);
        fresh.into_iter().chain(segments).find_map(|segment| {
            let alive: Vec<_> =
                alive.iter().filter(|pattern| pattern.takes(depth, segment)).cloned().collect();
            self.below(format!("{path}/{segment}"), depth.saturating_add(1), &alive)
        })
    }

    /// A request for this path that no earlier rule takes.
    fn left_at(&self, path: &str) -> Option<Example> {
        let rivals = self.earlier.iter().filter(|rule| rule.matcher.path.matches(path.as_bytes()));
        let rivals: Vec<_> = rivals.collect();
        let requests = self.hosts(&rivals).into_iter().flat_map(|host| {
            self.methods(&rivals)
                .into_iter()
                .map(move |(method, websocket)| (host.clone(), method, websocket))
        });
        let left = requests.into_iter().find(|(host, method, websocket)| {
            let asked = Asked {
                path: path.as_bytes(),
                host: host.as_deref().unwrap_or_default().as_bytes(),
                method: method.as_bytes(),
                websocket: *websocket,
            };
            self.rule.matcher.matches(&asked) && !rivals.iter().any(|rival| rival.matcher.matches(&asked))
        });
        left.map(|(host, method, websocket)| Example { method, path: path.to_owned(), host, websocket })
    }

    /// One method of each kind, and whether it is a handshake.
    fn methods(&self, rivals: &[&Rule]) -> Vec<(String, bool)> {
        let named = rivals.iter().copied().chain([self.rule]).flat_map(|rule| &rule.matcher.methods);
        let mut methods = BTreeSet::from(["GET".to_owned()]);
        methods.extend(named.map(ToString::to_string));
        let mut unnamed = "ANY".to_owned();
        while methods.contains(&unnamed) {
            unnamed.push('Y');
        }
        let plain = methods.into_iter().chain([unnamed]).map(|method| (method, false));
        plain.chain([("GET".to_owned(), true)]).collect()
    }

    /// One host of each kind; none where no rule looks at it.
    fn hosts(&self, rivals: &[&Rule]) -> Vec<Option<String>> {
        let named = rivals.iter().copied().chain([self.rule]).flat_map(|rule| &rule.matcher.hosts);
        let texts: Vec<_> = named.clone().map(ToString::to_string).collect();
        if texts.is_empty() {
            return vec![None];
        }
        let label = fresh(texts.iter().map(String::as_str));
        let of_each = named.map(|host| match host {
            HostMatch::Exact(host) => host.to_string(),
            HostMatch::Below(suffix) => format!("{label}{suffix}"),
        });
        of_each.chain([label.clone()]).map(Some).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{matcher, requests, rule};
    use super::*;
    use crate::policy::Policy;

    fn policy(paths: &[(&str, bool, &[&str], bool)]) -> Vec<Rule> {
        let rules = paths.iter().map(|(path, exact, methods, websocket)| {
            let path = if *exact { PathMatch::exact(path) } else { PathMatch::prefix(path) };
            rule("", path, methods, *websocket)
        });
        rules.collect()
    }

    #[test]
    fn a_rule_that_others_leave_nothing_for_only_together_has_no_example() {
        for (rules, left) in [
            (
                vec![("/a", true, &[][..], false), ("/a/", false, &[], false), ("/a", false, &[], false)],
                false,
            ),
            (
                vec![("/a", true, &[], false), ("/a/", false, &["GET"], false), ("/a", false, &[], false)],
                true,
            ),
            (
                vec![
                    ("/a", false, &["GET"], false),
                    ("/a", false, &["PUT"], false),
                    ("/a/b", true, &["PUT", "GET"], false),
                ],
                false,
            ),
            (
                vec![
                    ("/a", false, &["GET"], false),
                    ("/a", false, &["PUT"], false),
                    ("/a/b", true, &[], false),
                ],
                true,
            ),
            (
                vec![
                    ("/{x}", true, &[], false),
                    ("/{x}/", false, &[], false),
                    ("/", true, &[], false),
                    ("/", false, &[], false),
                ],
                false,
            ),
            (vec![("/{x}", true, &[], false), ("/{x}/", false, &[], false), ("/", false, &[], false)], true),
            (vec![("/a/b", true, &[], false), ("/a/{x}", true, &[], false)], true),
        ] {
            let rules = policy(&rules);
            let last = example(&rules, rules.len() - 1);
            assert_eq!(last.is_some(), left, "{last:?}");
        }
    }

    #[test]
    fn hosts_are_covered_together_too() {
        let hosts = |hosts: &[&str]| {
            let mut one = rule("", PathMatch::prefix("/"), &[], false);
            one.matcher.hosts = hosts.iter().map(|host| HostMatch::read(host)).collect();
            one
        };
        let rules = [hosts(&["a.example"]), hosts(&["*.a.example"]), hosts(&["a.example", "b.a.example"])];
        assert_eq!(example(&rules, 2), None);
        let rules = [hosts(&["a.example"]), hosts(&["*.a.example"]), hosts(&["*.example"])];
        assert_eq!(example(&rules, 2).unwrap().host.as_deref(), Some("any.example"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn an_example_falls_under_its_rule_and_without_one_no_request_does(
            matchers in prop::collection::vec(matcher(), 1..6),
            paths in prop::collection::vec("/((a|b|ab|c)(/(a|b|ab|c)){0,3}/?)?", 20),
        ) {
            let rules = matchers.into_iter().enumerate();
            let rules = rules.map(|(position, matcher)| {
                Rule { position, matcher, ..rule("", PathMatch::prefix("/"), &[], false) }
            });
            let policy = Policy::new(rules.collect());
            for position in 0..policy.rules().len() {
                let meets = |asked: &Asked<'_>| policy.route(asked).is_ok_and(|rule| rule.position == position);
                match example(policy.rules(), position) {
                    Some(Example { method, path, host, websocket }) => {
                        let (path, method) = (path.as_bytes(), method.as_bytes());
                        let host = host.as_deref().unwrap_or_default().as_bytes();
                        let asked = Asked { path, host, method, websocket };
                        prop_assert!(meets(&asked));
                    }
                    None => {
                        for path in &paths {
                            prop_assert!(!requests(path).any(|asked| meets(&asked)), "{}", path);
                        }
                    }
                }
            }
        }
    }
}
