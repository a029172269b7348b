//! From a list of descriptors to a set that can be asked quickly.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use thiserror::Error;

use super::index::Index;
use super::near_limit::NearLimitRatio;
use super::pattern::{Pattern, has_wildcard};
use super::rule::{Modes, Place, Rule, RuleId};
use super::set::{
    Domain, Exact, Group, KeyPattern, LINEAR_MAX, Level, Node, Parent, RuleSet, ValuePattern,
    number,
};

/// Most levels of descriptors within one another; as many as a request's entries that can match.
pub const DEPTH_MAX: usize = 64;

/// Most descriptors in one set of rules.
pub const DESCRIPTORS_MAX: usize = 1 << 20;

/// Most limits of one descriptor.
pub const LIMITS_MAX: usize = 16;

/// Rules before they are compiled.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) domains: Vec<Arc<str>>,
    /// In file order, parents before children.
    pub(super) nodes: Vec<DraftNode>,
    pub(super) modes: Modes,
    pub(super) near_limit_ratio: NearLimitRatio,
}

/// A descriptor before it is compiled.
#[derive(Debug)]
pub(super) struct DraftNode {
    pub(super) parent: Parent,
    pub(super) key: Arc<str>,
    pub(super) value: Option<Arc<str>>,
    pub(super) share: bool,
    pub(super) metric_value: bool,
    /// Its limits, in the order they are written.
    pub(super) rules: Vec<Rule>,
}

/// Why descriptors are no set of rules. Files are checked before, with better messages; this is what
/// a region that somebody else wrote can run into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CompileError {
    /// More than [`DESCRIPTORS_MAX`].
    #[error("{0} descriptors, more than the {DESCRIPTORS_MAX} that one set of rules may have")]
    TooMany(usize),
    /// More than [`DEPTH_MAX`] levels.
    #[error("descriptor {0} is nested deeper than {DEPTH_MAX} levels")]
    TooDeep(usize),
    /// A descriptor stands below one that does not come before it, or below no domain.
    #[error("descriptor {0} stands below nothing that exists")]
    Orphan(usize),
    /// An empty key, or an empty value that should be none.
    #[error("descriptor {0} has an empty key or value")]
    Empty(usize),
    /// More than [`LIMITS_MAX`].
    #[error("descriptor {0} has more than {LIMITS_MAX} limits")]
    TooManyLimits(usize),
    /// The same key and value twice on one level.
    #[error("descriptor {0} repeats the key and value of another one beside it")]
    DuplicateDescriptor(usize),
    /// The same domain twice.
    #[error("domain {0} is there twice")]
    DuplicateDomain(usize),
}

/// Compiles a draft.
pub(super) fn compile(draft: Draft) -> Result<RuleSet, CompileError> {
    if draft.nodes.len() > DESCRIPTORS_MAX || draft.domains.len() > DESCRIPTORS_MAX {
        return Err(CompileError::TooMany(
            draft.nodes.len().max(draft.domains.len()),
        ));
    }
    check(&draft)?;
    let near_limit_ratio = draft.near_limit_ratio;
    let mut levels = Levels::new(draft.domains.len());
    let mut nodes: Vec<Node> = Vec::with_capacity(draft.nodes.len());
    let mut rules: Vec<Rule> = Vec::new();
    let mut places: Vec<Place> = Vec::with_capacity(draft.nodes.len());
    for (position, draft) in draft.nodes.into_iter().enumerate() {
        let above = match draft.parent {
            Parent::Domain(_) => None,
            Parent::Node(parent) => places.get(parent as usize),
        };
        let place =
            Place::below(above, number(position), &draft).ok_or(CompileError::TooDeep(position))?;
        let rule = (!draft.rules.is_empty()).then(|| RuleId(number(rules.len())));
        let limits = draft.rules.len();
        for (nth, rule) in (0..).zip(draft.rules) {
            let place = Place {
                nth,
                has_next: usize::from(nth) + 1 < limits,
                near_threshold: near_limit_ratio.threshold(rule.allowed()),
                ..place
            };
            rules.push(Rule { place, ..rule });
        }
        levels.add(draft.parent, place.node);
        places.push(place);
        nodes.push(Node {
            parent: draft.parent,
            key: draft.key,
            value: draft.value,
            share: draft.share,
            metric_value: draft.metric_value,
            rule,
            children: Level::default(),
        });
    }
    let rules = assemble(draft.domains, nodes, rules, &levels);
    Ok(RuleSet {
        modes: draft.modes,
        near_limit_ratio,
        ..rules
    })
}

impl Place {
    /// The place of a node below another one, or on the first level; `None` beyond the last level.
    fn below(above: Option<&Self>, node: u32, draft: &DraftNode) -> Option<Self> {
        let depth = above.map_or(0, |above| above.depth + 1);
        if depth >= DEPTH_MAX {
            return None;
        }
        let (shared, metric_value) = above.map_or((0, 0), |above| {
            (above.shared_levels, above.metric_value_levels)
        });
        Some(Self {
            node,
            depth,
            shared_levels: shared | u64::from(draft.share) << depth,
            metric_value_levels: metric_value | u64::from(draft.metric_value) << depth,
            nth: 0,
            has_next: false,
            near_threshold: 0,
        })
    }
}

/// Everything about a draft that would make the compiled set wrong, apart from its depth.
fn check(draft: &Draft) -> Result<(), CompileError> {
    let mut domains = HashSet::with_capacity(draft.domains.len());
    for (position, name) in draft.domains.iter().enumerate() {
        if !domains.insert(name) {
            return Err(CompileError::DuplicateDomain(position));
        }
    }
    let mut siblings = HashSet::with_capacity(draft.nodes.len());
    for (position, node) in draft.nodes.iter().enumerate() {
        let parent_exists = match node.parent {
            Parent::Domain(domain) => (domain as usize) < draft.domains.len(),
            Parent::Node(parent) => (parent as usize) < position,
        };
        if !parent_exists {
            return Err(CompileError::Orphan(position));
        }
        if node.key.is_empty() || node.value.as_ref().is_some_and(|value| value.is_empty()) {
            return Err(CompileError::Empty(position));
        }
        if node.rules.len() > LIMITS_MAX {
            return Err(CompileError::TooManyLimits(position));
        }
        if !siblings.insert((node.parent, &node.key, &node.value)) {
            return Err(CompileError::DuplicateDescriptor(position));
        }
    }
    Ok(())
}

/// Which nodes stand below which, in file order: a linked list for each parent, so that nothing is
/// allocated for the many nodes without children.
struct Levels {
    /// First and last child of each domain, then of each node.
    ends: Vec<Option<(u32, u32)>>,
    next: Vec<Option<u32>>,
    domains: usize,
}

impl Levels {
    fn new(domains: usize) -> Self {
        Self {
            ends: vec![None; domains],
            next: Vec::new(),
            domains,
        }
    }

    fn position(&self, parent: Parent) -> usize {
        match parent {
            Parent::Domain(domain) => domain as usize,
            Parent::Node(node) => self.domains + node as usize,
        }
    }

    /// Adds the next node.
    fn add(&mut self, parent: Parent, node: u32) {
        self.ends.push(None);
        self.next.push(None);
        let position = self.position(parent);
        let Some(ends) = self.ends.get_mut(position) else {
            return;
        };
        match ends {
            None => *ends = Some((node, node)),
            Some((_, last)) => {
                if let Some(next) = self.next.get_mut(*last as usize) {
                    *next = Some(node);
                }
                *last = node;
            }
        }
    }

    fn children(&self, parent: Parent) -> impl Iterator<Item = u32> {
        let first = self
            .ends
            .get(self.position(parent))
            .copied()
            .flatten()
            .map(|(first, _)| first);
        std::iter::successors(first, |node| {
            self.next.get(*node as usize).copied().flatten()
        })
    }
}

/// The arrays of a rule set while they grow.
#[derive(Default)]
struct Arrays {
    groups: Vec<Group>,
    exact: Vec<Exact>,
    patterns: Vec<ValuePattern>,
    key_patterns: Vec<KeyPattern>,
}

fn assemble(
    domains: Vec<Arc<str>>,
    mut nodes: Vec<Node>,
    rules: Vec<Rule>,
    levels: &Levels,
) -> RuleSet {
    let mut arrays = Arrays::default();
    let domains: Box<[Domain]> = (0..)
        .zip(domains)
        .map(|(id, name)| Domain {
            name,
            children: arrays.add_level(&nodes, levels, Parent::Domain(id)),
        })
        .collect();
    for id in 0..nodes.len() {
        let children = arrays.add_level(&nodes, levels, Parent::Node(number(id)));
        if let Some(node) = nodes.get_mut(id) {
            node.children = children;
        }
    }
    let mut domain_index = Index::with_capacity(if domains.len() > LINEAR_MAX {
        domains.len()
    } else {
        0
    });
    for (id, domain) in (0..).zip(&domains) {
        domain_index.insert(0, domain.name.as_bytes(), id);
    }
    let (group_index, exact_index) =
        arrays.index(domains.iter().map(|domain| &domain.children), &nodes);
    RuleSet {
        domains,
        domain_index,
        nodes: nodes.into(),
        groups: arrays.groups.into(),
        group_index,
        exact: arrays.exact.into(),
        exact_index,
        patterns: arrays.patterns.into(),
        key_patterns: arrays.key_patterns.into(),
        rules: rules.into(),
        modes: Modes::default(),
        near_limit_ratio: NearLimitRatio::default(),
    }
}

impl Arrays {
    /// Sorts the children of `parent` into groups by key.
    fn add_level(&mut self, nodes: &[Node], levels: &Levels, parent: Parent) -> Level {
        let (first_group, first_key_pattern) = (self.groups.len(), self.key_patterns.len());
        let mut group_of: HashMap<&str, usize> = HashMap::new();
        let mut children: Vec<(usize, u32, &Node)> = Vec::new();
        for id in levels.children(parent) {
            let Some(node) = nodes.get(id as usize) else {
                continue;
            };
            let next_group = group_of.len();
            children.push((*group_of.entry(&node.key).or_insert(next_group), id, node));
            if has_wildcard(&node.key) {
                self.key_patterns.push(KeyPattern {
                    key: Pattern::new(Arc::clone(&node.key)),
                    value: node.value.clone().map(Pattern::new),
                    node: id,
                });
            }
        }
        // Within a group they stay in file order.
        children.sort_by_key(|(group, ..)| *group);
        for members in children.chunk_by(|(group, ..), (next, ..)| group == next) {
            self.add_group(members);
        }
        Level {
            groups: range(first_group, self.groups.len()),
            key_patterns: range(first_key_pattern, self.key_patterns.len()),
            scope: number(first_group),
        }
    }

    /// Adds a group of nodes with the same key.
    fn add_group(&mut self, members: &[(usize, u32, &Node)]) {
        let Some((_, _, first)) = members.first() else {
            return;
        };
        let (first_exact, first_pattern) = (self.exact.len(), self.patterns.len());
        let mut bare = None;
        for (_, id, node) in members {
            let Some(value) = &node.value else {
                bare = Some(*id);
                continue;
            };
            self.exact.push(Exact {
                value: Arc::clone(value),
                node: *id,
            });
            if has_wildcard(value) {
                self.patterns.push(ValuePattern {
                    value: Pattern::new(Arc::clone(value)),
                    node: *id,
                });
            }
        }
        self.groups.push(Group {
            key: Arc::clone(&first.key),
            bare,
            exact: range(first_exact, self.exact.len()),
            patterns: range(first_pattern, self.patterns.len()),
        });
    }

    /// Indexes over the groups of levels with many keys, and over the values of groups with many.
    fn index<'a>(
        &self,
        tops: impl Iterator<Item = &'a Level>,
        nodes: &'a [Node],
    ) -> (Index, Index) {
        let large_levels: Vec<&Level> = tops
            .chain(nodes.iter().map(|node| &node.children))
            .filter(|level| level.groups.len() > LINEAR_MAX)
            .collect();
        let mut groups =
            Index::with_capacity(large_levels.iter().map(|level| level.groups.len()).sum());
        for level in large_levels {
            for id in level.groups.clone() {
                if let Some(group) = self.groups.get(id as usize) {
                    groups.insert(level.scope, group.key.as_bytes(), id);
                }
            }
        }
        let large_groups = || {
            (0..)
                .zip(&self.groups)
                .filter(|(_, group)| group.exact.len() > LINEAR_MAX)
        };
        let mut exact =
            Index::with_capacity(large_groups().map(|(_, group)| group.exact.len()).sum());
        for (id, group) in large_groups() {
            for entry in group.exact.clone() {
                if let Some(value) = self.exact.get(entry as usize) {
                    exact.insert(id, value.value.as_bytes(), entry);
                }
            }
        }
        (groups, exact)
    }
}

fn range(start: usize, end: usize) -> Range<u32> {
    number(start)..number(end)
}
