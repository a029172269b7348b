//! What changes from one set of rules to another, and what becomes of the counts.
//!
//! Descriptors are the same when their path is: domain, keys and values. Where they stand in a file, and
//! in which file, makes no difference, unless it is the order of patterns that cover a common entry.

use std::collections::HashMap;
use std::sync::Arc;

use super::explain::NodeId;
use super::pattern::{has_wildcard, overlap};
use super::rule::{Origin, Place, Rule, RuleId, RuleLimit};
use super::set::{Level, Lookup, Node, RuleSet};
use crate::descriptor::Entry;

/// Most pairs of patterns of one level that are compared; beyond it a level is taken as it is.
const PAIRS_MAX: usize = 1_000_000;

/// All that differs between two sets of rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RulesDiff {
    /// Domains that only the new set has.
    pub domains_added: Vec<String>,
    /// Domains that only the old set has.
    pub domains_removed: Vec<String>,
    /// Descriptors that mean something else: those of the new set in its order, then what was removed,
    /// level by level.
    pub changes: Vec<Change>,
    /// Patterns that are tried the other way round.
    pub orders: Vec<OrderChange>,
}

impl RulesDiff {
    /// Whether both sets answer every request alike and count it under the same counter.
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }
}

/// What happened to a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// Only the new set has it.
    Added,
    /// Only the old set has it.
    Removed,
    /// Both have it, and it says something else.
    Changed,
}

/// A descriptor that means something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// Its path as metrics and messages show it: `edge.path_/api/*.user`.
    pub path: String,
    /// What it was.
    pub old: Option<Side>,
    /// What it is.
    pub new: Option<Side>,
    /// For an added descriptor the old rule that its requests were under, for a removed one the new rule
    /// that they are under from now on; of requests that only a pattern or a key stands for, one that
    /// nothing else was written for.
    pub elsewhere: Option<RuleId>,
    /// The rule of the same set that takes such requests before this descriptor is looked at, so that it
    /// hardly does anything.
    pub hidden_by: Option<RuleId>,
    /// What becomes of its counts.
    pub counters: Counters,
}

/// A descriptor in one of the two sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// The descriptor.
    pub node: NodeId,
    /// Its rule; `None` when it has no limit.
    pub rule: Option<RuleId>,
}

/// What a change means for counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Counters {
    /// The counter is the same, and goes on from its count.
    Kept,
    /// The period is part of the counter's key: it counts from zero.
    OtherUnit,
    /// Other values share a counter (`share_threshold`): it counts from zero.
    OtherSharing,
    /// Nothing was counted before; it counts from zero.
    Started,
    /// Nothing is counted from now on.
    Stopped,
    /// Nothing was counted, and nothing is.
    None,
}

/// Two patterns that cover a common entry and changed places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderChange {
    /// The one that is tried first now.
    pub first: String,
    /// The one that was tried first before.
    pub second: String,
    /// The first one in the new set.
    pub first_node: NodeId,
    /// The second one in the new set.
    pub second_node: NodeId,
}

/// Compares two sets of rules.
pub fn diff(old: &RuleSet, new: &RuleSet) -> RulesDiff {
    let mut comparison = Comparison {
        old,
        new,
        diff: RulesDiff::default(),
    };
    let empty = Level::default();
    for domain in &new.domains {
        let before = old.domain(domain.name.as_bytes());
        let before = before.and_then(|id| old.domains.get(id.0 as usize));
        if before.is_none() {
            comparison.diff.domains_added.push(domain.name.to_string());
        }
        let before = before.map_or(&empty, |domain| &domain.children);
        let mut path = Path::of(&domain.name);
        comparison.level(before, &domain.children, &mut path);
    }
    for domain in &old.domains {
        if new.domain(domain.name.as_bytes()).is_none() {
            let name = domain.name.to_string();
            comparison.diff.domains_removed.push(name);
            let mut path = Path::of(&domain.name);
            comparison.level(&domain.children, &empty, &mut path);
        }
    }
    comparison.diff
}

/// The way to a level.
struct Path {
    domain: Arc<str>,
    /// Key and value of each descriptor on the way.
    steps: Vec<(Arc<str>, Option<Arc<str>>)>,
}

impl Path {
    fn of(domain: &Arc<str>) -> Self {
        Self {
            domain: Arc::clone(domain),
            steps: Vec::new(),
        }
    }

    fn text(&self) -> String {
        let mut text = self.domain.to_string();
        for (key, value) in &self.steps {
            text.push('.');
            text.push_str(key);
            if let Some(value) = value {
                text.push('_');
                text.push_str(value);
            }
        }
        text
    }

    /// A request for the descriptor at the end of the path: its own texts, and for whatever they leave
    /// open one that no rule is likely to name.
    fn find_in(&self, rules: &RuleSet) -> Option<RuleId> {
        const OPEN: &str = "\u{1}";
        let texts: Vec<(String, String)> = self
            .steps
            .iter()
            .map(|(key, value)| {
                let value = value.as_deref().unwrap_or("*");
                (key.replace('*', OPEN), value.replace('*', OPEN))
            })
            .collect();
        let entries: Vec<Entry<'_>> = texts
            .iter()
            .map(|(key, value)| Entry::new(key, value))
            .collect();
        match rules.find(self.domain.as_bytes(), &entries) {
            Lookup::Rule(rule) => Some(rule),
            Lookup::NoRule | Lookup::UnknownDomain => None,
        }
    }
}

struct Comparison<'a> {
    old: &'a RuleSet,
    new: &'a RuleSet,
    diff: RulesDiff,
}

impl<'a> Comparison<'a> {
    fn level(&mut self, old_level: &Level, new_level: &Level, path: &mut Path) {
        let old_nodes = self.old.level_nodes(old_level);
        let new_nodes = self.new.level_nodes(new_level);
        let mut before: HashMap<_, u32> = HashMap::with_capacity(old_nodes.len());
        for id in &old_nodes {
            if let Some(node) = self.old.node(*id) {
                before.insert((&*node.key, node.value.as_deref()), *id);
            }
        }
        let old_place = before.clone();
        for id in &new_nodes {
            let Some(node) = self.new.node(*id) else {
                continue;
            };
            let counterpart = before.remove(&(&*node.key, node.value.as_deref()));
            self.node(counterpart, Some(*id), path);
        }
        for id in old_nodes {
            let is_left = self
                .old
                .node(id)
                .is_some_and(|node| before.contains_key(&(&*node.key, node.value.as_deref())));
            if is_left {
                self.node(Some(id), None, path);
            }
        }
        self.order(&old_place, &new_nodes, path);
    }

    fn node(&mut self, old_id: Option<u32>, new_id: Option<u32>, path: &mut Path) {
        let old = old_id.and_then(|id| self.old.node(id));
        let new = new_id.and_then(|id| self.new.node(id));
        let Some(either) = new.or(old) else { return };
        path.steps
            .push((Arc::clone(&either.key), either.value.clone()));
        let side = |id: Option<u32>, node: Option<&Node>| {
            id.zip(node).map(|(id, node)| Side {
                node: NodeId(id),
                rule: node.rule,
            })
        };
        let sides = (side(old_id, old), side(new_id, new));
        if let Some(change) = self.change(sides, (old, new), path) {
            self.diff.changes.push(change);
        }
        let empty = Level::default();
        self.level(
            old.map_or(&empty, |node| &node.children),
            new.map_or(&empty, |node| &node.children),
            path,
        );
        path.steps.pop();
    }

    fn change(
        &self,
        (old_side, new_side): (Option<Side>, Option<Side>),
        (old, new): (Option<&Node>, Option<&Node>),
        path: &Path,
    ) -> Option<Change> {
        let old_rule = old.and_then(|node| node.rule);
        let new_rule = new.and_then(|node| node.rule);
        let (kind, elsewhere) = match (old, new) {
            (Some(before), Some(now)) => {
                if self.means_the_same(before, now) {
                    return None;
                }
                (ChangeKind::Changed, None)
            }
            (None, _) => (ChangeKind::Added, path.find_in(self.old)),
            (_, None) => (ChangeKind::Removed, path.find_in(self.new)),
        };
        let (was, is) = match kind {
            ChangeKind::Changed => (old_rule, new_rule),
            ChangeKind::Added => (elsewhere, new_rule),
            ChangeKind::Removed => (old_rule, elsewhere),
        };
        let hidden_by = match kind {
            ChangeKind::Changed => None,
            ChangeKind::Added => path.find_in(self.new).filter(|id| Some(*id) != new_rule),
            ChangeKind::Removed => path.find_in(self.old).filter(|id| Some(*id) != old_rule),
        };
        let node = new.or(old)?;
        // A descriptor that only leads to others says nothing by itself.
        let says_something = kind == ChangeKind::Changed
            || node.rule.is_some()
            || elsewhere.is_some()
            || node.children.groups.is_empty();
        says_something.then(|| Change {
            kind,
            path: path.text(),
            old: old_side,
            new: new_side,
            elsewhere: elsewhere.filter(|_| hidden_by.is_none()),
            hidden_by,
            counters: match hidden_by {
                Some(_) => Counters::None,
                None => self.counters(was, is),
            },
        })
    }

    fn means_the_same(&self, old: &Node, new: &Node) -> bool {
        old.share == new.share
            && old.metric_value == new.metric_value
            && limits(self.old, old.rule)
                .map(essence)
                .eq(limits(self.new, new.rule).map(essence))
            && match (old.rule, new.rule) {
                (Some(old), Some(new)) => self.counted_alike(old, new),
                _ => true,
            }
    }

    /// Whether the same texts stand in both rules' counters.
    fn counted_alike(&self, old: RuleId, new: RuleId) -> bool {
        (0..super::DEPTH_MAX)
            .all(|level| self.old.shared_value(old, level) == self.new.shared_value(new, level))
    }

    fn counters(&self, old: Option<RuleId>, new: Option<RuleId>) -> Counters {
        let limit = |rules: &RuleSet, id: Option<RuleId>| {
            let rule = id.and_then(|id| rules.rule(id))?;
            match rule.limit {
                limit @ RuleLimit::Limited { .. } => Some((id?, limit)),
                RuleLimit::Unlimited => None,
            }
        };
        match (limit(self.old, old), limit(self.new, new)) {
            (None, None) => Counters::None,
            (None, Some(_)) => Counters::Started,
            (Some(_), None) => Counters::Stopped,
            (Some((old, _)), Some((_, is)))
                if !limits(self.old, Some(old)).any(|was| was.limit.counts_like(is)) =>
            {
                Counters::OtherUnit
            }
            (Some((old, _)), Some((new, _))) if !self.counted_alike(old, new) => {
                Counters::OtherSharing
            }
            (Some(_), Some(_)) => Counters::Kept,
        }
    }

    /// Patterns of a level that are in both sets and are tried the other way round.
    fn order(
        &mut self,
        old_place: &HashMap<(&str, Option<&str>), u32>,
        new_nodes: &[u32],
        path: &Path,
    ) {
        // In the order of the new set, each with its number in the old one.
        let patterns: Vec<(u32, u32, &'a Node)> = new_nodes
            .iter()
            .filter_map(|id| {
                let node = self.new.node(*id)?;
                let is_pattern = has_wildcard(&node.key)
                    || node.value.as_ref().is_some_and(|value| has_wildcard(value));
                let old_id = old_place.get(&(&*node.key, node.value.as_deref()))?;
                is_pattern.then_some((*id, *old_id, node))
            })
            .collect();
        if patterns.is_sorted_by_key(|(_, old_id, _)| *old_id) {
            return;
        }
        let mut compared = 0;
        for (position, (first_id, first_old, first)) in patterns.iter().enumerate() {
            for (second_id, second_old, second) in patterns.iter().skip(position + 1) {
                compared += 1;
                if compared > PAIRS_MAX {
                    return;
                }
                let value = |node: &'a Node| node.value.as_deref().unwrap_or("*");
                if first_old > second_old
                    && overlap(&first.key, &second.key)
                    && overlap(value(first), value(second))
                {
                    self.diff.orders.push(OrderChange {
                        first: path_below(path, first),
                        second: path_below(path, second),
                        first_node: NodeId(*first_id),
                        second_node: NodeId(*second_id),
                    });
                }
            }
        }
    }
}

fn path_below(path: &Path, node: &Node) -> String {
    let value = node.value.as_ref().map(|value| format!("_{value}"));
    format!("{}.{}{}", path.text(), node.key, value.unwrap_or_default())
}

/// The limits of a descriptor of which this is the first.
fn limits(rules: &RuleSet, first: Option<RuleId>) -> impl Iterator<Item = &Rule> {
    first
        .into_iter()
        .flat_map(|id| rules.limits_from(id))
        .filter_map(|id| rules.rule(id))
}

/// A rule without what only says where it is.
fn essence(rule: &Rule) -> Rule {
    Rule {
        stats_index: 0,
        origin: Origin {
            file: Arc::from(""),
            line: 0,
        },
        place: Place::default(),
        ..rule.clone()
    }
}

impl RuleLimit {
    /// Whether both count in windows of the same kind: only then is it the same counter.
    fn counts_like(self, other: Self) -> bool {
        match (self, other) {
            (Self::Limited { period, .. }, Self::Limited { period: others, .. }) => {
                period == others
            }
            (Self::Unlimited, Self::Unlimited) => true,
            _ => false,
        }
    }
}
