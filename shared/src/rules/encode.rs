//! Rules as bytes, the form in which they are published in the region.
//!
//! ```text
//! rules    version: 1 byte; modes: 1 byte; near limit ratio; texts; domains; descriptors
//! texts    count; for each: length, that many bytes of UTF-8
//! domains  count; for each: text
//! descriptors
//!          count; for each: parent, text (key), flags: 1 byte,
//!          [text (value)], [rule, further rules of the same descriptor]
//! rule     period (0 = unlimited), [requests per unit], flags: 1 byte, [burst], [1, debt, or 0],
//!          text (name), count and text each (replaces), [text (metadata as JSON)],
//!          statistics index, text (file), line
//! ```
//!
//! Numbers take one to five bytes, seven bits a byte, lowest first. A text is given by its number in
//! the list of texts; number 0 is the empty one. The ratio is the bits of a number in single precision. A parent below the number of domains is a domain, one
//! above it a descriptor, which comes before its children. What is in brackets is there when the flags
//! (for requests per unit: the period; for the debt: that hits count only if they are admitted) say so.

use std::collections::HashMap;

use super::rule::{Algorithm, Rule, RuleLimit};
use super::set::{Node, Parent, RuleSet, number};
use super::wire::{UNLIMITED, VERSION, mode_flag, node_flag, put_number, rule_flag};

/// Encodes a set; [`decode`](super::decode) makes an equal one of the bytes.
pub fn encode(rules: &RuleSet) -> Vec<u8> {
    let mut encoder = Encoder::default();
    encoder.text("");
    encoder.number(number(rules.domains.len()));
    for domain in &rules.domains {
        encoder.text_number(&domain.name);
    }
    encoder.number(number(rules.nodes.len()));
    for node in &rules.nodes {
        encoder.node(node, rules);
    }
    encoder.finish(rules)
}

#[derive(Default)]
struct Encoder<'a> {
    texts: Vec<&'a str>,
    text_numbers: HashMap<&'a str, u32>,
    /// Everything after the texts.
    body: Vec<u8>,
}

impl<'a> Encoder<'a> {
    fn node(&mut self, node: &'a Node, rules: &'a RuleSet) {
        let limits = || node.rule.into_iter().flat_map(|id| rules.limits_from(id));
        self.number(match node.parent {
            Parent::Domain(domain) => domain,
            Parent::Node(parent) => number(rules.domains.len()).saturating_add(parent),
        });
        self.text_number(&node.key);
        self.body.push(
            flag(node_flag::SHARE, node.share)
                | flag(node_flag::METRIC_VALUE, node.metric_value)
                | flag(node_flag::HAS_VALUE, node.value.is_some())
                | flag(node_flag::HAS_RULE, node.rule.is_some()),
        );
        if let Some(value) = &node.value {
            self.text_number(value);
        }
        for rule in limits().filter_map(|id| rules.rule(id)) {
            self.rule(rule);
        }
    }

    fn rule(&mut self, rule: &'a Rule) {
        match rule.limit {
            RuleLimit::Unlimited => self.number(UNLIMITED),
            RuleLimit::Limited {
                requests_per_unit,
                period,
            } => {
                self.number(period.code());
                self.number(requests_per_unit);
            }
        }
        self.body.push(
            flag(rule_flag::SHADOW_MODE, rule.shadow_mode)
                | flag(rule_flag::QUOTA_MODE, rule.quota_mode)
                | flag(rule_flag::DETAILED_METRIC, rule.detailed_metric)
                | flag(rule_flag::HAS_METADATA, rule.metadata.is_some())
                | flag(rule_flag::HAS_NEXT, rule.place.has_next)
                | flag(
                    rule_flag::SLIDING_WINDOW,
                    rule.algorithm == Algorithm::SlidingWindow,
                )
                | flag(rule_flag::KEEPS_DENIED_UNCOUNTED, !rule.count_denied)
                | flag(
                    rule_flag::TOKEN_BUCKET,
                    matches!(rule.algorithm, Algorithm::TokenBucket { .. }),
                ),
        );
        if let Algorithm::TokenBucket { burst } = rule.algorithm {
            self.number(burst.get());
        }
        if rule.is_gated() {
            self.number(u32::from(rule.debt.is_some()));
            if let Some(debt) = rule.debt {
                self.number(debt);
            }
        }
        self.text_number(&rule.name);
        self.number(number(rule.replaces.len()));
        for name in &rule.replaces {
            self.text_number(name);
        }
        if let Some(metadata) = &rule.metadata {
            self.text_number(metadata);
        }
        self.number(rule.stats_index);
        self.text_number(&rule.origin.file);
        self.number(rule.origin.line);
    }

    fn number(&mut self, value: u32) {
        put_number(&mut self.body, value);
    }

    /// Refers to a text.
    fn text_number(&mut self, text: &'a str) {
        let number = self.text(text);
        self.number(number);
    }

    /// The number of a text, which is listed once however often it is used.
    fn text(&mut self, text: &'a str) -> u32 {
        *self.text_numbers.entry(text).or_insert_with(|| {
            self.texts.push(text);
            number(self.texts.len() - 1)
        })
    }

    fn finish(self, rules: &RuleSet) -> Vec<u8> {
        let modes = rules.modes;
        let modes = flag(mode_flag::SHADOW, modes.shadow)
            | flag(mode_flag::QUOTA, modes.quota)
            | flag(mode_flag::DENIED_UNCOUNTED, modes.denied_uncounted);
        let mut out = vec![VERSION, modes];
        put_number(&mut out, rules.near_limit_ratio.bits());
        put_number(&mut out, number(self.texts.len()));
        for text in self.texts {
            put_number(&mut out, number(text.len()));
            out.extend_from_slice(text.as_bytes());
        }
        out.extend_from_slice(&self.body);
        out
    }
}

fn flag(bit: u8, set: bool) -> u8 {
    if set { bit } else { 0 }
}
