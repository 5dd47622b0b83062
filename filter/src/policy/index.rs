//! Finding the rules that a path could match without trying every rule.
//!
//! Every rule's path ends where a segment of a matching request path begins or ends, so looking up the request
//! path's beginnings, segment by segment, finds them all. What it finds is only a candidate.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::{PathMatch, Rule};

/// The positions of rules, ascending, by their path.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    /// In the order of [`order`].
    entries: Vec<(Box<str>, Vec<usize>)>,
    /// No rule's path is longer; beginnings longer than this are not looked up.
    longest: usize,
}

impl Index {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut by_path: BTreeMap<(usize, &str), Vec<usize>> = BTreeMap::new();
        for (position, rule) in rules.iter().enumerate() {
            let (PathMatch::Exact(path) | PathMatch::Prefix(path)) = &rule.matcher.path;
            by_path.entry((path.len(), path)).or_default().push(position);
        }
        let longest = by_path.last_key_value().map_or(0, |((length, _), _)| *length);
        let entries = by_path.into_iter().map(|((_, path), rules)| (path.into(), rules)).collect();
        Self { entries, longest }
    }

    /// Hands over the positions of all rules that could match, in lists that are ascending each.
    pub(super) fn candidates<'i>(&'i self, path: &[u8], mut take: impl FnMut(&'i [usize])) {
        let mut look_up = |length: usize| {
            if let Some((_, rules)) =
                path.get(..length).and_then(|start| self.entries.get(self.find(start).ok()?))
            {
                take(rules);
            }
        };
        for (at, _) in path.iter().enumerate().take(self.longest).filter(|(_, byte)| **byte == b'/') {
            // A segment ends before a slash; a prefix that ends in a slash ends with it.
            look_up(at);
            look_up(at.saturating_add(1));
        }
        match path.get(self.longest) {
            None if !path.ends_with(b"/") => look_up(path.len()),
            Some(b'/') => look_up(self.longest),
            _ => {}
        }
    }

    fn find(&self, path: &[u8]) -> Result<usize, usize> {
        self.entries.binary_search_by(|(known, _)| order(known.as_bytes(), path))
    }
}

/// By length first: most comparisons end there.
fn order(one: &[u8], other: &[u8]) -> Ordering {
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}
