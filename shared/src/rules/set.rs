//! The compiled rules and the look-up.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::index::Index;
use super::near_limit::NearLimitRatio;
use super::pattern::Pattern;
use super::rule::{Modes, Rule, RuleId};
use crate::descriptor::Entry;

/// Siblings up to which comparing one after the other is faster than hashing.
pub(super) const LINEAR_MAX: usize = 8;

/// All rules, compiled: immutable, and cheap to ask from any number of threads.
///
/// The work of a look-up does not grow with the number of rules, only with the number of entries asked
/// about and, at a level that has patterns for the entry's key, with the number of those patterns.
/// Nothing is allocated.
#[derive(Clone, Debug)]
pub struct RuleSet {
    pub(super) domains: Box<[Domain]>,
    pub(super) domain_index: Index,
    /// Descriptors of the rules in file order, parents before children.
    pub(super) nodes: Box<[Node]>,
    pub(super) groups: Box<[Group]>,
    /// Groups of levels with many keys.
    pub(super) group_index: Index,
    pub(super) exact: Box<[Exact]>,
    /// Exact values of groups with many of them.
    pub(super) exact_index: Index,
    pub(super) patterns: Box<[ValuePattern]>,
    pub(super) key_patterns: Box<[KeyPattern]>,
    pub(super) rules: Box<[Rule]>,
    pub(super) modes: Modes,
    pub(super) near_limit_ratio: NearLimitRatio,
}

/// What [`RuleSet::find`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// No rules for this domain at all: not even a limit brought along by the request applies.
    UnknownDomain,
    /// The domain is known, but no limit applies to this descriptor.
    NoRule,
    /// This rule applies.
    Rule(RuleId),
}

/// How a descriptor of the rules matches an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Match {
    /// By its key and exactly its value.
    Exact,
    /// By a pattern, in its value or its key.
    Pattern,
    /// By its key; it has no value.
    KeyOnly,
}

/// Is told each step of a look-up. That of the decision, `()`, compiles to nothing.
pub(super) trait Observer {
    /// At the next level this node was taken, or none.
    fn chose(&mut self, chosen: Option<(u32, Match)>);
}

impl Observer for () {
    #[inline(always)]
    fn chose(&mut self, _: Option<(u32, Match)>) {}
}

/// Names a domain within its [`RuleSet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DomainId(pub(super) u32);

#[derive(Clone, Debug)]
pub(super) struct Domain {
    pub(super) name: Arc<str>,
    pub(super) children: Level,
}

/// What a node stands below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Parent {
    Domain(u32),
    Node(u32),
}

/// One descriptor of the rules.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) parent: Parent,
    pub(super) key: Arc<str>,
    /// Never empty: an empty value in a rule is none.
    pub(super) value: Option<Arc<str>>,
    /// `share_threshold`
    pub(super) share: bool,
    /// `value_to_metric`
    pub(super) metric_value: bool,
    /// Its first limit; further ones follow it.
    pub(super) rule: Option<RuleId>,
    pub(super) children: Level,
}

/// The nodes below a node or a domain.
#[derive(Clone, Debug, Default)]
pub(super) struct Level {
    /// In [`RuleSet::groups`].
    pub(super) groups: Range<u32>,
    /// In [`RuleSet::key_patterns`].
    pub(super) key_patterns: Range<u32>,
    /// Scope of its groups in the group index.
    pub(super) scope: u32,
}

/// The nodes of one level that have the same key.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) key: Arc<str>,
    /// The node without a value.
    pub(super) bare: Option<u32>,
    /// In [`RuleSet::exact`]; patterns are here as well, for a value that reads like the pattern.
    pub(super) exact: Range<u32>,
    /// In [`RuleSet::patterns`].
    pub(super) patterns: Range<u32>,
}

#[derive(Clone, Debug)]
pub(super) struct Exact {
    pub(super) value: Arc<str>,
    pub(super) node: u32,
}

/// A node whose key is exact and whose value is a pattern.
#[derive(Clone, Debug)]
pub(super) struct ValuePattern {
    pub(super) value: Pattern,
    pub(super) node: u32,
}

/// A node whose key is a pattern.
#[derive(Clone, Debug)]
pub(super) struct KeyPattern {
    pub(super) key: Pattern,
    pub(super) value: Option<Pattern>,
    pub(super) node: u32,
}

impl RuleSet {
    /// The rule for a descriptor of a domain.
    pub fn find(&self, domain: &[u8], entries: &[Entry<'_>]) -> Lookup {
        match self.domain(domain) {
            None => Lookup::UnknownDomain,
            Some(domain) => self
                .find_in(domain, entries)
                .map_or(Lookup::NoRule, Lookup::Rule),
        }
    }

    /// The domain of this name; a request with several descriptors looks it up once.
    #[inline]
    pub fn domain(&self, name: &[u8]) -> Option<DomainId> {
        let is_it = |domain: &Domain| domain.name.as_bytes() == name;
        if self.domains.len() <= LINEAR_MAX {
            (0..)
                .zip(&self.domains)
                .find(|(_, domain)| is_it(domain))
                .map(|(id, _)| DomainId(id))
        } else {
            self.domain_index
                .find(0, name, |id| {
                    self.domains.get(id as usize).is_some_and(is_it)
                })
                .map(DomainId)
        }
    }

    /// The rule for a descriptor; `None` when no limit applies to it.
    #[inline]
    pub fn find_in(&self, domain: DomainId, entries: &[Entry<'_>]) -> Option<RuleId> {
        self.walk(domain, entries, &mut ())
    }

    /// The look-up itself, for the decision and, watched, for those who explain it.
    #[inline]
    pub(super) fn walk(
        &self,
        domain: DomainId,
        entries: &[Entry<'_>],
        observer: &mut impl Observer,
    ) -> Option<RuleId> {
        let mut level = &self.domains.get(domain.0 as usize)?.children;
        let (last, outer) = entries.split_last()?;
        for entry in outer {
            level = &self.child(level, entry, observer)?.children;
        }
        self.child(level, last, observer)?.rule
    }

    /// The node an entry leads to.
    #[inline]
    fn child(
        &self,
        level: &Level,
        entry: &Entry<'_>,
        observer: &mut impl Observer,
    ) -> Option<&Node> {
        let group = self.group(level, entry.key);
        if let Some(node) = group.and_then(|group| self.exact(group, entry.value)) {
            observer.chose(Some((node, Match::Exact)));
            return self.node(node);
        }
        let mut pattern = group.and_then(|(_, group)| {
            let patterns = slice(&self.patterns, &group.patterns);
            patterns
                .iter()
                .find(|pattern| pattern.value.covers(entry.value))
                .map(|pattern| pattern.node)
        });
        if !level.key_patterns.is_empty() {
            pattern = self.key_pattern(level, entry, pattern);
        }
        let bare = || group.and_then(|(_, group)| group.bare);
        let chosen = pattern.or_else(bare);
        observer.chose(chosen.map(|node| match pattern {
            Some(_) => (node, Match::Pattern),
            None => (node, Match::KeyOnly),
        }));
        self.node(chosen?)
    }

    /// The nodes of a level that have this very key, and their number.
    #[inline]
    fn group(&self, level: &Level, key: &[u8]) -> Option<(u32, &Group)> {
        let groups = slice(&self.groups, &level.groups);
        if groups.len() <= LINEAR_MAX {
            (level.groups.start..)
                .zip(groups)
                .find(|(_, group)| group.key.as_bytes() == key)
        } else {
            let is_it = |id: u32| {
                level.groups.contains(&id)
                    && self
                        .groups
                        .get(id as usize)
                        .is_some_and(|group| group.key.as_bytes() == key)
            };
            let id = self.group_index.find(level.scope, key, is_it)?;
            self.groups.get(id as usize).map(|group| (id, group))
        }
    }

    /// The node of a group that has this very value.
    #[inline]
    fn exact(&self, (id, group): (u32, &Group), value: &[u8]) -> Option<u32> {
        let exact = slice(&self.exact, &group.exact);
        if exact.len() <= LINEAR_MAX {
            exact
                .iter()
                .find(|exact| exact.value.as_bytes() == value)
                .map(|exact| exact.node)
        } else {
            let is_it = |entry: u32| {
                group.exact.contains(&entry)
                    && self
                        .exact
                        .get(entry as usize)
                        .is_some_and(|exact| exact.value.as_bytes() == value)
            };
            let entry = self.exact_index.find(id, value, is_it)?;
            self.exact.get(entry as usize).map(|exact| exact.node)
        }
    }

    /// The first node in file order with a pattern for the key, unless `other` comes before it.
    #[cold]
    fn key_pattern(&self, level: &Level, entry: &Entry<'_>, other: Option<u32>) -> Option<u32> {
        // No limit applies to an entry without a key, not even that of the key `*`.
        if entry.key.is_empty() {
            return other;
        }
        slice(&self.key_patterns, &level.key_patterns)
            .iter()
            // Nodes are numbered in file order.
            .take_while(|pattern| other.is_none_or(|other| pattern.node < other))
            .find(|pattern| {
                pattern.key.covers(entry.key)
                    && pattern
                        .value
                        .as_ref()
                        .is_none_or(|value| value.covers(entry.value))
            })
            .map(|pattern| pattern.node)
            .or(other)
    }

    /// The rule of this id; `None` for one of another set.
    #[inline]
    pub fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.rules.get(id.0 as usize)
    }

    /// The limit of the same descriptor that comes after this one in its list.
    #[inline]
    pub fn next_limit(&self, id: RuleId) -> Option<RuleId> {
        let has_next = self.rule(id)?.place.has_next;
        has_next.then(|| RuleId(id.0.saturating_add(1)))
    }

    /// This limit and those of the same descriptor after it.
    pub fn limits_from(&self, id: RuleId) -> impl Iterator<Item = RuleId> {
        std::iter::successors(Some(id), |&id| self.next_limit(id))
    }

    /// What holds for all requests under these rules.
    #[inline]
    pub fn modes(&self) -> Modes {
        self.modes
    }

    /// All rules in file order.
    pub fn rules(&self) -> impl ExactSizeIterator<Item = (RuleId, &Rule)> {
        self.rules
            .iter()
            .enumerate()
            .map(|(index, rule)| (RuleId(number(index)), rule))
    }

    /// The names of all domains in file order.
    pub fn domains(&self) -> impl ExactSizeIterator<Item = &str> {
        self.domains.iter().map(|domain| &*domain.name)
    }

    /// The name of a domain; `None` for one of another set.
    pub fn domain_name(&self, id: DomainId) -> Option<&str> {
        self.domains.get(id.0 as usize).map(|domain| &*domain.name)
    }

    /// The text that stands for the requested value in the counter's key: the rule's pattern at a
    /// level with `share_threshold`, counted from 0; `None` at any other.
    #[inline]
    pub fn shared_value(&self, id: RuleId, level: usize) -> Option<&[u8]> {
        let place = self.rule(id)?.place;
        if level >= 64 || place.shared_levels & (1 << level) == 0 {
            return None;
        }
        let node = self
            .ancestors(place.node)
            .nth(place.depth.checked_sub(level)?)?;
        // A pattern in the key alone leaves the value open.
        Some(node.value.as_ref().map_or(b"*", |value| value.as_bytes()))
    }

    /// Where a rule stands, for people and as a label of metrics: `edge.remote_address_10.*`, the
    /// domain and every level's key and value; `#2` follows for the second limit of a descriptor.
    pub fn path(&self, id: RuleId) -> RulePath<'_> {
        RulePath { rules: self, id }
    }

    /// A node and those above it, innermost first.
    pub(super) fn ancestors(&self, node: u32) -> impl Iterator<Item = &Node> {
        std::iter::successors(self.node(node), |node| match node.parent {
            Parent::Node(parent) => self.node(parent),
            Parent::Domain(_) => None,
        })
    }

    #[inline]
    pub(super) fn node(&self, id: u32) -> Option<&Node> {
        self.nodes.get(id as usize)
    }
}

impl Default for RuleSet {
    /// No rules and no domains.
    fn default() -> Self {
        Self {
            domains: Box::default(),
            domain_index: Index::with_capacity(0),
            nodes: Box::default(),
            groups: Box::default(),
            group_index: Index::with_capacity(0),
            exact: Box::default(),
            exact_index: Index::with_capacity(0),
            patterns: Box::default(),
            key_patterns: Box::default(),
            rules: Box::default(),
            modes: Modes::default(),
            near_limit_ratio: NearLimitRatio::default(),
        }
    }
}

/// The path of a rule, to be formatted.
#[derive(Clone, Copy, Debug)]
pub struct RulePath<'a> {
    rules: &'a RuleSet,
    id: RuleId,
}

impl<'a> RulePath<'a> {
    /// The domain; `None` for a rule of another set.
    pub fn domain(&self) -> Option<&'a str> {
        let rule = self.rules.rule(self.id)?;
        match self.rules.ancestors(rule.place.node).last()?.parent {
            Parent::Domain(domain) => self.rules.domain_name(DomainId(domain)),
            Parent::Node(_) => None,
        }
    }

    /// Key and value of each level, outermost first.
    pub fn levels(&self) -> Vec<(&'a str, Option<&'a str>)> {
        let rule = self.rules.rule(self.id);
        let nodes = rule.map(|rule| self.rules.ancestors(rule.place.node));
        let mut levels: Vec<_> = nodes
            .into_iter()
            .flatten()
            .map(|node| (&*node.key, node.value.as_deref()))
            .collect();
        levels.reverse();
        levels
    }
}

impl fmt::Display for RulePath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(rule) = self.rules.rule(self.id) else {
            return Ok(());
        };
        f.write_str(self.domain().unwrap_or_default())?;
        for (key, value) in self.levels() {
            write!(f, ".{key}")?;
            if let Some(value) = value {
                write!(f, "_{value}")?;
            }
        }
        match rule.place.nth {
            0 => Ok(()),
            nth => write!(f, "#{}", u16::from(nth) + 1),
        }
    }
}

/// A place in one of a set's arrays, all of which are bounded far below `u32::MAX`.
pub(super) fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// Part of an array; empty when the range does not fit, which compiling rules out.
#[inline]
fn slice<'a, T>(all: &'a [T], range: &Range<u32>) -> &'a [T] {
    all.get(range.start as usize..range.end as usize)
        .unwrap_or_default()
}
