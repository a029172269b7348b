//! Rule sets against a plain re-implementation of what they are to do, and through their encoding.

mod differing;
mod encoding;
mod explaining;
mod matching;

use std::sync::Arc;

use super::compile::{Draft, DraftNode, compile};
use super::rule::{Algorithm, Origin, Place, Rule, RuleLimit};
use super::set::{Parent, RuleSet, number};
use crate::window::Unit;

/// A descriptor of a generated set of rules.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    pub(super) key: String,
    pub(super) value: Option<String>,
    pub(super) share: bool,
    /// Number of its rule, in file order once [`number_rules`] has been there.
    pub(super) rule: Option<u32>,
    pub(super) children: Vec<Self>,
}

/// A rule that says who it is by its limit.
pub(super) fn rule(requests_per_unit: u32) -> Rule {
    Rule {
        limit: RuleLimit::Limited {
            requests_per_unit,
            period: Unit::Hour.into(),
        },
        name: Arc::from(""),
        replaces: Box::default(),
        algorithm: Algorithm::FixedWindow,
        count_denied: true,
        debt: None,
        shadow_mode: false,
        quota_mode: false,
        detailed_metric: false,
        metadata: None,
        stats_index: 0,
        origin: Origin {
            file: Arc::from("rules.yaml"),
            line: 1,
        },
        place: Place::default(),
    }
}

/// Gives the rules of a tree numbers in file order.
pub(super) fn number_rules(trees: &mut [Tree], next: &mut u32) {
    for tree in trees {
        if let Some(rule) = &mut tree.rule {
            *rule = *next;
            *next += 1;
        }
        number_rules(&mut tree.children, next);
    }
}

/// Compiles one domain, `d`, of these descriptors.
pub(super) fn compile_trees(trees: &[Tree]) -> RuleSet {
    fn add(nodes: &mut Vec<DraftNode>, parent: Parent, tree: &Tree) {
        let own = Parent::Node(number(nodes.len()));
        nodes.push(DraftNode {
            parent,
            key: Arc::from(tree.key.as_str()),
            value: tree.value.as_deref().map(Arc::from),
            share: tree.share,
            metric_value: false,
            rules: tree.rule.into_iter().map(rule).collect(),
        });
        for child in &tree.children {
            add(nodes, own, child);
        }
    }
    let mut draft = Draft {
        domains: vec![Arc::from("d")],
        ..Draft::default()
    };
    for tree in trees {
        add(&mut draft.nodes, Parent::Domain(0), tree);
    }
    compile(draft).unwrap()
}

/// One domain, `d`, with a rule for each of these bare keys.
pub(super) fn draft_of(keys: &[&str]) -> RuleSet {
    let tree = |key: &&str| Tree {
        key: (*key).to_owned(),
        rule: Some(0),
        ..Tree::default()
    };
    compile_trees(&keys.iter().map(tree).collect::<Vec<_>>())
}

/// Path and statistics place of every rule.
pub(super) fn indexes(rules: &RuleSet) -> Vec<(String, u32)> {
    rules
        .rules()
        .map(|(id, rule)| (rules.path(id).to_string(), rule.stats_index))
        .collect()
}
