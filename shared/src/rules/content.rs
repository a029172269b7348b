//! What rules say, as bytes that are equal wherever the same rules are in force.
//!
//! In them is everything that a decision or the name of a statistic depends on, and nothing that differs from
//! host to host: no files, lines or places in the region's statistics. Domains are sorted by name, as their order
//! means nothing; descriptors keep theirs, which decides between patterns. The format is none to be read again,
//! and independent of [`encode`](super::encode): a later version of that leaves it as it is.

use super::rule::{Algorithm, Rule, RuleLimit};
use super::set::{Node, Parent, RuleSet};

/// What the bytes begin with. Another number after any change of what follows.
const LABEL: &[u8] = b"hivemind rules 1\n";

/// The content of a set. Sets with the same content decide alike.
pub fn content(rules: &RuleSet) -> Vec<u8> {
    let mut below_domains = vec![Vec::new(); rules.domains.len()];
    let mut below_nodes = vec![Vec::new(); rules.nodes.len()];
    for (id, node) in rules.nodes.iter().enumerate() {
        let siblings = match node.parent {
            Parent::Domain(domain) => below_domains.get_mut(domain as usize),
            Parent::Node(parent) => below_nodes.get_mut(parent as usize),
        };
        if let Some(siblings) = siblings {
            siblings.push(id);
        }
    }
    let modes = rules.modes;
    let mut writer = Writer {
        rules,
        below: &below_nodes,
        out: LABEL.to_vec(),
    };
    writer.flags(&[modes.shadow, modes.quota]);
    if modes.denied_uncounted {
        // No set has so many domains.
        writer.number(u32::MAX);
    }
    let mut domains: Vec<_> = rules.domains.iter().zip(&below_domains).collect();
    domains.sort_by_key(|(domain, _)| &domain.name);
    writer.count(domains.len());
    for (domain, nodes) in domains {
        writer.text(&domain.name);
        writer.nodes(nodes);
    }
    writer.out
}

/// Writes a set. Every number has the same width, and every text its length before it, so that no two sets
/// have the same bytes.
struct Writer<'a> {
    rules: &'a RuleSet,
    /// The nodes below each node.
    below: &'a [Vec<usize>],
    out: Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Nodes of one level, and all below them; compiling bounds how deep that is.
    fn nodes(&mut self, ids: &[usize]) {
        self.count(ids.len());
        for &id in ids {
            if let Some(node) = self.rules.nodes.get(id) {
                self.node(node);
            }
            if let Some(below) = self.below.get(id) {
                self.nodes(below);
            }
        }
    }

    fn node(&mut self, node: &'a Node) {
        self.text(&node.key);
        self.optional_text(node.value.as_deref());
        self.flags(&[node.share, node.metric_value]);
        let rules = self.rules;
        let limits = || node.rule.into_iter().flat_map(|id| rules.limits_from(id));
        self.count(limits().count());
        for rule in limits().filter_map(|id| rules.rule(id)) {
            self.rule(rule);
        }
    }

    fn rule(&mut self, rule: &'a Rule) {
        match rule.limit {
            // No period has this code.
            RuleLimit::Unlimited => self.number(0),
            RuleLimit::Limited {
                requests_per_unit,
                period,
            } => {
                self.number(period.code());
                self.number(requests_per_unit);
            }
        }
        match rule.algorithm {
            Algorithm::FixedWindow => self.number(0),
            Algorithm::SlidingWindow => self.number(1),
            Algorithm::TokenBucket { burst } => {
                self.number(2);
                self.number(burst.get());
            }
        }
        // Only where a rule says one. Flags, which follow else, are no such bytes.
        if let Some(debt) = rule.debt {
            self.number(u32::MAX);
            self.number(debt);
        }
        self.flags(&[
            rule.count_denied,
            rule.shadow_mode,
            rule.quota_mode,
            rule.detailed_metric,
        ]);
        self.text(&rule.name);
        self.count(rule.replaces.len());
        for name in &rule.replaces {
            self.text(name);
        }
        self.optional_text(rule.metadata.as_deref());
    }

    fn flags(&mut self, flags: &[bool]) {
        self.out.extend(flags.iter().map(|&flag| u8::from(flag)));
    }

    fn number(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    fn count(&mut self, count: usize) {
        self.number(super::set::number(count));
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.out.extend_from_slice(text.as_bytes());
    }

    fn optional_text(&mut self, text: Option<&str>) {
        self.flags(&[text.is_some()]);
        self.text(text.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::source::{Options, parse};
    use crate::rules::{assign_stats, decode, encode};
    use crate::yaml::Source;

    const EDGE: &str = "
domain: edge
descriptors:
  - key: user
    rate_limit: {unit: hour, requests_per_unit: 5}
    metadata: {team: a, cost: 2}
  - key: path
    value: /api/*
    descriptors:
      - {key: user, rate_limit: {unit: day, requests_per_unit: 9, name: api}}
";

    const MAIL: &str = "
domain: mail
descriptors: [{key: sender, rate_limit: {unlimited: true}}]
";

    fn rules(files: &[(&str, &str)]) -> RuleSet {
        let files: Vec<Source> = files
            .iter()
            .map(|(name, text)| Source::new(*name, *text))
            .collect();
        parse(&files, &Options::default()).unwrap().rules
    }

    fn edge(from: &str, to: &str) -> Vec<u8> {
        let text = EDGE.replacen(from, to, 1);
        assert!(from == to || text != EDGE, "{from} is not in the rules");
        content(&rules(&[("edge.yaml", &text), ("mail.yaml", MAIL)]))
    }

    #[test]
    fn files_lines_and_places_in_the_statistics_are_no_part_of_it() {
        let here = edge("", "");
        let text = format!("# Moved down by a line.\n{EDGE}");
        let mut there = rules(&[("/other/a.yaml", MAIL), ("/other/b.yaml", &text)]);
        assert_eq!(content(&there), here);
        assign_stats(&mut there, Some(&rules(&[("mail.yaml", MAIL)])), 100);
        assert_eq!(content(&there), here);
        // As modules and a restarted meshd have them.
        assert_eq!(content(&decode(&encode(&there)).unwrap()), here);
        let sorted = EDGE.replace("{team: a, cost: 2}", "{cost: 2, team: a}");
        let sorted = rules(&[("mail.yaml", MAIL), ("edge.yaml", &sorted)]);
        assert_eq!(
            content(&sorted),
            here,
            "the fields of metadata have no order"
        );
    }

    #[test]
    fn whatever_a_decision_or_a_statistic_depends_on_is_part_of_it() {
        let changes = [
            ("", ""),
            ("edge", "edge2"),
            ("user", "users"),
            ("/api/*", "/api/**"),
            ("hour", "minute"),
            ("5", "6"),
            ("hour,", "hour, unit_multiplier: 2,"),
            ("requests_per_unit: 5", "requests_per_unit: 5, name: five"),
            ("name: api", "name: api, replaces: [{name: x}]"),
            ("cost: 2", "cost: 3"),
            ("metadata", "shadow_mode: true\n    metadata"),
            ("metadata", "quota_mode: true\n    metadata"),
            ("metadata", "detailed_metric: true\n    metadata"),
            ("value: /api/*", "value: /api/*\n    share_threshold: true"),
            ("value: /api/*", "value: /api/*\n    value_to_metric: true"),
            ("5}", "5, hivemind: {count_denied: false}}"),
            ("5}", "5, hivemind: {count_denied: false, debt: 5}}"),
            ("5}", "5, hivemind: {algorithm: sliding_window}}"),
            ("5}", "5, hivemind: {algorithm: sliding_window, debt: 0}}"),
            ("5}", "5, hivemind: {algorithm: token_bucket, burst: 7}}"),
            ("5}", "5, hivemind: {algorithm: token_bucket, burst: 8}}"),
            // It matches, and has no limit.
            (
                "descriptors:\n  -",
                "descriptors:\n  - {key: other, value: x}\n  -",
            ),
        ];
        let contents: std::collections::BTreeSet<Vec<u8>> =
            changes.iter().map(|(from, to)| edge(from, to)).collect();
        assert_eq!(contents.len(), changes.len());
        assert_ne!(content(&RuleSet::default()), edge("", ""));
    }
}
