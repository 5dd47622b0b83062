//! Finding the rules that a path could match without trying every rule: a tree of segments. What it finds is only a
//! candidate, because methods, hosts and upgrades are not looked at.

use std::collections::BTreeMap;

use super::Rule;
use super::matcher::is_parameter;

/// The rules by their paths.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    /// The root is the first.
    nodes: Vec<Node>,
}

/// Where the segments so far have led. Positions of rules ascend.
#[derive(Debug, Clone, Default)]
struct Node {
    /// Rules whose path ends here.
    here: Vec<usize>,
    /// Rules for whatever comes below.
    below: Vec<usize>,
    /// The next segment, in order, and its node.
    literals: Vec<(Box<[u8]>, usize)>,
    /// For a segment that is not empty, whatever it is.
    parameter: Option<usize>,
}

/// The segments of a path; an empty one stands after a slash at the end.
fn segments(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|b| *b == b'/').skip(1)
}

impl Index {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut building = Building { nodes: vec![Node::default()], children: BTreeMap::new() };
        for (position, rule) in rules.iter().enumerate() {
            let path = &rule.matcher.path;
            let text = path.text().as_bytes();
            // A prefix that ends in a slash is for what comes below it, and the slash is the beginning of that.
            let start = if path.is_prefix() { text.strip_suffix(b"/") } else { None };
            let node = segments(start.unwrap_or(text)).fold(0, |at, segment| building.step(at, segment));
            let Some(node) = building.nodes.get_mut(node) else { continue };
            if start.is_none() {
                node.here.push(position);
            }
            if path.is_prefix() {
                node.below.push(position);
            }
        }
        building.finish()
    }

    /// Hands over the positions of all rules that could match, in lists that are ascending each.
    pub(super) fn candidates<'i>(&'i self, path: &[u8], mut take: impl FnMut(&'i [usize])) {
        self.descend(0, path, &mut take);
    }

    /// `rest` is what comes after the segments that led to the node: nothing, or a slash and more. As deep as the
    /// configured paths.
    fn descend<'i>(&'i self, node: usize, rest: &[u8], take: &mut impl FnMut(&'i [usize])) {
        let Some(node) = self.nodes.get(node) else { return };
        let Some((_, rest)) = rest.split_first() else { return take(&node.here) };
        take(&node.below);
        let end = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
        let (segment, rest) = rest.split_at_checked(end).unwrap_or_default();
        if let Ok(at) = node.literals.binary_search_by(|(known, _)| (**known).cmp(segment))
            && let Some((_, next)) = node.literals.get(at)
        {
            self.descend(*next, rest, take);
        }
        if let Some(next) = node.parameter.filter(|_| !segment.is_empty()) {
            self.descend(next, rest, take);
        }
    }
}

/// A tree that still grows.
struct Building {
    nodes: Vec<Node>,
    /// By parent and segment, where they are found quickly.
    children: BTreeMap<(usize, Box<[u8]>), usize>,
}

impl Building {
    /// The node after one more segment, made if it is not there.
    fn step(&mut self, at: usize, segment: &[u8]) -> usize {
        let fresh = self.nodes.len();
        let parameter = is_parameter(segment);
        let parent = self.nodes.get_mut(at);
        let next = match parent {
            Some(parent) if parameter => *parent.parameter.get_or_insert(fresh),
            _ => *self.children.entry((at, segment.into())).or_insert(fresh),
        };
        if next == fresh {
            self.nodes.push(Node::default());
        }
        next
    }

    fn finish(mut self) -> Index {
        // They come in the order of parent and segment.
        for ((parent, segment), node) in self.children {
            if let Some(parent) = self.nodes.get_mut(parent) {
                parent.literals.push((segment, node));
            }
        }
        Index { nodes: self.nodes }
    }
}
