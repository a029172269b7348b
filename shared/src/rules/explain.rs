//! Why a descriptor gets the rule it gets: the look-up of the decision, watched.

use std::sync::Arc;

use super::pattern::{Pattern, has_wildcard};
use super::rule::RuleId;
use super::set::{DomainId, Level, Match, Node, Observer, RuleSet};
use crate::descriptor::Entry;

/// Names a descriptor of the rules within its [`RuleSet`]; it means nothing in another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(super) u32);

impl NodeId {
    /// The descriptor's place in file order, parents before children, from 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What the rules say about one descriptor of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// A step for each entry, up to the one that nothing matches.
    pub steps: Vec<Step>,
    /// How it ended.
    pub end: End,
    /// A descriptor of the rules that would have led to a limit, had the look-up gone back.
    pub missed: Option<Missed>,
}

/// One level of the rules, for one entry of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The descriptor that was taken, and how it matches.
    pub chosen: Option<(NodeId, Match)>,
    /// All descriptors of the level in file order, and what became of each.
    pub candidates: Vec<Candidate>,
}

/// One descriptor of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The descriptor.
    pub node: NodeId,
    /// What became of it.
    pub verdict: Verdict,
}

/// Why a descriptor of the rules was taken for an entry, or was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It was taken.
    Taken(Match),
    /// Its key is another one.
    OtherKey,
    /// Its value is another one.
    OtherValue,
    /// Its pattern does not cover the entry.
    NotCovered,
    /// Its pattern covers the entry, but a value that is equal wins.
    PatternAfterExact,
    /// Its pattern covers the entry, but so does one that stands before it.
    PatternAfterPattern,
    /// It has the key and no value, which comes last.
    KeyOnlyLast,
    /// Its pattern would cover it, but an entry without a key matches none.
    EmptyKey,
}

impl Verdict {
    /// Whether the descriptor matches the entry, taken or not.
    pub fn matches(self) -> bool {
        matches!(
            self,
            Self::Taken(_)
                | Self::PatternAfterExact
                | Self::PatternAfterPattern
                | Self::KeyOnlyLast
        )
    }
}

/// How a look-up ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// There are no rules for the domain.
    UnknownDomain,
    /// The request's descriptor has no entries.
    NoEntries,
    /// Nothing matches the entry of the last step.
    NoMatch,
    /// The descriptor that was taken last has no limit.
    NoLimit,
    /// This rule applies.
    Rule(RuleId),
}

/// A way to a limit that was not gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The level at which it branches off, from 0.
    pub level: usize,
    /// The descriptor there that was passed over.
    pub node: NodeId,
    /// The rule it would have led to.
    pub rule: RuleId,
}

/// A descriptor of the rules.
#[derive(Clone, Copy, Debug)]
pub struct RuleNode<'a> {
    /// Its key.
    pub key: &'a str,
    /// Its value, if it has one.
    pub value: Option<&'a str>,
    /// Whether all values that match its pattern share one counter.
    pub share_threshold: bool,
    /// Whether its requested value belongs into statistics.
    pub value_to_metric: bool,
    /// Its rule.
    pub rule: Option<RuleId>,
    /// Whether there are descriptors below it.
    pub has_children: bool,
}

/// Keeps what a look-up chose.
#[derive(Default)]
struct Record(Vec<Option<(u32, Match)>>);

impl Observer for Record {
    fn chose(&mut self, chosen: Option<(u32, Match)>) {
        self.0.push(chosen);
    }
}

impl RuleSet {
    /// Looks a descriptor up as [`Self::find`] does, and says why it ends as it does. For people: it
    /// costs as much as the levels on its way are wide.
    pub fn explain(&self, domain: &[u8], entries: &[Entry<'_>]) -> Explanation {
        let Some(id) = self.domain(domain) else {
            return Explanation {
                steps: Vec::new(),
                end: End::UnknownDomain,
                missed: None,
            };
        };
        let mut record = Record::default();
        let rule = self.walk(id, entries, &mut record);
        let steps = self.steps(id, entries, &record.0);
        let end = match (rule, record.0.last()) {
            (Some(rule), _) => End::Rule(rule),
            (None, None) => End::NoEntries,
            (None, Some(None)) => End::NoMatch,
            (None, Some(Some(_))) => End::NoLimit,
        };
        let missed = match end {
            End::NoMatch | End::NoLimit => self.missed(entries, &steps),
            _ => None,
        };
        Explanation { steps, end, missed }
    }

    /// A descriptor of the rules; `None` for one of another set.
    pub fn rule_node(&self, id: NodeId) -> Option<RuleNode<'_>> {
        let node = self.node(id.0)?;
        Some(RuleNode {
            key: &node.key,
            value: node.value.as_deref(),
            share_threshold: node.share,
            value_to_metric: node.metric_value,
            rule: node.rule,
            has_children: !node.children.groups.is_empty(),
        })
    }

    /// The names of the rule's statistics for such a request, as envoyproxy/ratelimit forms them: the
    /// domain and every level's key and value as the rules have them, with the request's values where
    /// `value_to_metric` or `detailed_metric` asks for them.
    pub fn statistics_path(&self, id: RuleId, entries: &[Entry<'_>]) -> String {
        let domain = self.path(id).domain().unwrap_or_default();
        let levels = self.statistics_levels(id, entries);
        let pieces = std::iter::once(domain).chain(levels.iter().map(String::as_str));
        pieces.collect::<Vec<_>>().join(".")
    }

    /// The levels of [`Self::statistics_path`], each `key` or `key_value`.
    pub fn statistics_levels(&self, id: RuleId, entries: &[Entry<'_>]) -> Vec<String> {
        let Some(rule) = self.rule(id) else {
            return Vec::new();
        };
        let mut nodes: Vec<&Node> = self.ancestors(rule.place.node).collect();
        nodes.reverse();
        let level = |(node, entry): (&&Node, &Entry<'_>)| {
            let requested = String::from_utf8_lossy(entry.value);
            let own = node.value.as_deref().unwrap_or_default();
            let value = if node.share {
                // A pattern in the key alone leaves the value open.
                if own.is_empty() { "*" } else { own }
            } else if rule.detailed_metric
                || node.metric_value && (own.is_empty() || has_wildcard(own))
            {
                &requested
            } else {
                own
            };
            // There an empty value leaves its mark in a detailed name, unless a pattern is in it.
            let is_bare = value.is_empty() && !(rule.detailed_metric && rule.shared_levels() == 0);
            if is_bare {
                node.key.to_string()
            } else {
                format!("{}_{value}", node.key)
            }
        };
        nodes.iter().zip(entries).map(level).collect()
    }

    /// The descriptor a rule stands in.
    pub fn node_of(&self, rule: RuleId) -> Option<NodeId> {
        self.rule(rule).map(|rule| NodeId(rule.place.node))
    }

    /// What is known about each level that was gone through.
    fn steps(
        &self,
        domain: DomainId,
        entries: &[Entry<'_>],
        chosen: &[Option<(u32, Match)>],
    ) -> Vec<Step> {
        let mut level = self
            .domains
            .get(domain.0 as usize)
            .map(|domain| &domain.children);
        let mut steps = Vec::with_capacity(chosen.len());
        for (entry, chosen) in entries.iter().zip(chosen) {
            let candidates = level.map(|level| self.candidates(level, entry, *chosen));
            level = chosen
                .and_then(|(node, _)| self.node(node))
                .map(|node| &node.children);
            steps.push(Step {
                chosen: chosen.map(|(node, how)| (NodeId(node), how)),
                candidates: candidates.unwrap_or_default(),
            });
        }
        steps
    }

    fn candidates(
        &self,
        level: &Level,
        entry: &Entry<'_>,
        chosen: Option<(u32, Match)>,
    ) -> Vec<Candidate> {
        let nodes = self.level_nodes(level).into_iter();
        let candidate = |id| {
            let verdict = verdict(id, self.node(id)?, entry, chosen);
            let node = NodeId(id);
            Some(Candidate { node, verdict })
        };
        nodes.filter_map(candidate).collect()
    }

    /// The nodes of a level in file order.
    pub(super) fn level_nodes(&self, level: &Level) -> Vec<u32> {
        let mut nodes = Vec::new();
        for group in level.groups.clone() {
            let Some(group) = self.groups.get(group as usize) else {
                continue;
            };
            nodes.extend(group.bare);
            let exact = group.exact.start as usize..group.exact.end as usize;
            nodes.extend(
                self.exact
                    .get(exact)
                    .into_iter()
                    .flatten()
                    .map(|exact| exact.node),
            );
        }
        nodes.sort_unstable();
        nodes
    }

    /// The first limit, from the innermost level outwards, that going back would have found.
    fn missed(&self, entries: &[Entry<'_>], steps: &[Step]) -> Option<Missed> {
        for (level, step) in steps.iter().enumerate().rev() {
            let rest = entries.get(level + 1..)?;
            let passed_over = step.candidates.iter().filter(|candidate| {
                candidate.verdict.matches() && !matches!(candidate.verdict, Verdict::Taken(_))
            });
            for candidate in passed_over {
                if let Some(rule) = self.reach(candidate.node.0, rest) {
                    let node = candidate.node;
                    return Some(Missed { level, node, rule });
                }
            }
        }
        None
    }

    /// A rule below a node that these entries lead to in whatever way. Each node is come to once at
    /// most, and there are no more levels than rules may have.
    fn reach(&self, node: u32, entries: &[Entry<'_>]) -> Option<RuleId> {
        let node = self.node(node)?;
        let Some((entry, rest)) = entries.split_first() else {
            return node.rule;
        };
        self.candidates(&node.children, entry, None)
            .iter()
            .filter(|candidate| candidate.verdict.matches())
            .find_map(|candidate| self.reach(candidate.node.0, rest))
    }
}

/// What became of a node, given which one was taken. With none taken, the ways it matches are told as
/// if they had been.
fn verdict(id: u32, node: &Node, entry: &Entry<'_>, chosen: Option<(u32, Match)>) -> Verdict {
    if let Some((taken, how)) = chosen
        && taken == id
    {
        return Verdict::Taken(how);
    }
    let covers = |text: &Arc<str>, bytes| Pattern::new(Arc::clone(text)).covers(bytes);
    let same_key = node.key.as_bytes() == entry.key;
    let key_covers = covers(&node.key, entry.key);
    let is_pattern =
        has_wildcard(&node.key) || node.value.as_ref().is_some_and(|value| has_wildcard(value));
    if is_pattern {
        if !key_covers {
            return Verdict::OtherKey;
        }
        let covered = node
            .value
            .as_ref()
            .is_none_or(|value| covers(value, entry.value));
        return match chosen {
            _ if !covered => Verdict::NotCovered,
            _ if entry.key.is_empty() => Verdict::EmptyKey,
            Some((_, Match::Exact)) => Verdict::PatternAfterExact,
            _ => Verdict::PatternAfterPattern,
        };
    }
    match &node.value {
        _ if !same_key => Verdict::OtherKey,
        None => Verdict::KeyOnlyLast,
        Some(value) if value.as_bytes() == entry.value => Verdict::Taken(Match::Exact),
        Some(_) => Verdict::OtherValue,
    }
}
