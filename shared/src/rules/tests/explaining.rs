//! Explanations say what the look-up does.

use proptest::prelude::*;

use super::compile_trees;
use super::matching::{child, requests, trees};
use crate::descriptor::Entry;
use crate::rules::source::{Loaded, Options, parse};
use crate::rules::{End, Lookup, Match, NodeId, Verdict};
use crate::yaml::Source;

proptest! {
    #[test]
    fn an_explanation_ends_where_the_look_up_does(trees in trees(), requests in prop::collection::vec(requests(), 1..40)) {
        let rules = compile_trees(&trees);
        for request in requests {
            let entries: Vec<Entry<'_>> = request.iter().map(|(key, value)| Entry::new(key, value)).collect();
            let explanation = rules.explain(b"d", &entries);
            let explained = match explanation.end {
                End::Rule(rule) => Lookup::Rule(rule),
                End::UnknownDomain => Lookup::UnknownDomain,
                End::NoEntries | End::NoMatch | End::NoLimit => Lookup::NoRule,
            };
            prop_assert_eq!(explained, rules.find(b"d", &entries));

            // Every step is the one of the specification, and tells apart what it has to.
            let mut level = trees.as_slice();
            for (step, (key, value)) in explanation.steps.iter().zip(&request) {
                let expected = child(level, key, value);
                let node = step.chosen.and_then(|(node, _)| rules.rule_node(node));
                prop_assert_eq!(
                    node.map(|node| (node.key, node.value)),
                    expected.map(|tree| (tree.key.as_str(), tree.value.as_deref()))
                );
                prop_assert_eq!(step.candidates.len(), level.len());
                for (candidate, tree) in step.candidates.iter().zip(level) {
                    // Alone on its level, a descriptor is taken if it matches at all.
                    let alone = child(std::slice::from_ref(tree), key, value).is_some();
                    prop_assert_eq!(candidate.verdict.matches(), alone, "{:?} {:?}", candidate, tree);
                    let taken = Some(candidate.node) == step.chosen.map(|(node, _)| node);
                    prop_assert_eq!(matches!(candidate.verdict, Verdict::Taken(_)), taken);
                }
                level = expected.map_or(&[], |tree| &tree.children);
            }
        }
    }
}

fn loaded(text: &str) -> Loaded {
    parse(&[Source::new("rules.yaml", text)], &Options::default()).unwrap()
}

const RULES: &str = "\
domain: edge
descriptors:
  - key: path
    rate_limit: {unit: minute, requests_per_unit: 1}
    descriptors:
      - key: user
        rate_limit: {unit: minute, requests_per_unit: 2}
  - key: path
    value: /api/*
    rate_limit: {unit: minute, requests_per_unit: 3}
  - key: path
    value: '*'
  - key: path
    value: /api/v1
  - key: host
";

#[test]
fn every_candidate_has_its_reason() {
    let loaded = loaded(RULES);
    let verdicts = |value: &str| -> Vec<Verdict> {
        let explanation = loaded.rules.explain(b"edge", &[Entry::new("path", value)]);
        let candidates = &explanation.steps[0].candidates;
        candidates
            .iter()
            .map(|candidate| candidate.verdict)
            .collect()
    };
    use Verdict::{
        KeyOnlyLast, NotCovered, OtherKey, OtherValue, PatternAfterExact, PatternAfterPattern,
        Taken,
    };
    assert_eq!(
        verdicts("/api/v1"),
        [
            KeyOnlyLast,
            PatternAfterExact,
            PatternAfterExact,
            Taken(Match::Exact),
            OtherKey
        ]
    );
    assert_eq!(
        verdicts("/api/v2"),
        [
            KeyOnlyLast,
            Taken(Match::Pattern),
            PatternAfterPattern,
            OtherValue,
            OtherKey
        ]
    );
    assert_eq!(
        verdicts("/"),
        [
            KeyOnlyLast,
            NotCovered,
            Taken(Match::Pattern),
            OtherValue,
            OtherKey
        ]
    );
}

#[test]
fn a_limit_behind_a_sibling_that_was_passed_over_is_named() {
    let loaded = loaded(RULES);
    let explain = |entries: &[(&'static str, &'static str)]| {
        let entries: Vec<Entry<'_>> = entries.iter().map(|(k, v)| Entry::new(*k, *v)).collect();
        loaded.rules.explain(b"edge", &entries)
    };
    let explanation = explain(&[("path", "/api/x"), ("user", "ann")]);
    assert_eq!(explanation.end, End::NoMatch);
    let missed = explanation.missed.unwrap();
    assert_eq!((missed.level, missed.node), (0, NodeId(0)));
    assert_eq!(loaded.rules.path(missed.rule).to_string(), "edge.path.user");
    // Nothing would have been found anywhere.
    assert_eq!(explain(&[("path", "/api/x"), ("nobody", "")]).missed, None);
    assert_eq!(explain(&[("host", "x")]).missed, None);
}

#[test]
fn all_descriptors_know_their_line() {
    let loaded = loaded(RULES);
    let lines: Vec<u32> = loaded.origins.iter().map(|origin| origin.line).collect();
    assert_eq!(lines, [3, 6, 8, 11, 13, 15]);
    for (id, rule) in loaded.rules.rules() {
        let node = loaded.rules.node_of(id).unwrap();
        assert_eq!(loaded.origins[node.index()], rule.origin);
    }
}

#[test]
fn statistics_are_named_as_the_rules_ask_for() {
    let of_request = |flags: &str, value: &str, last: &str| {
        let loaded = loaded(&format!(
            "domain: d\ndescriptors:\n  - key: a\n    {value}\n    {flags}\n    descriptors:\n      - {{key: b, rate_limit: {{unit: hour, requests_per_unit: 1}}, {flags}}}\n"
        ).replace("share_threshold: true}", "}"));
        let entries = [Entry::new("a", "x1"), Entry::new("b", last)];
        let Lookup::Rule(rule) = loaded.rules.find(b"d", &entries) else {
            panic!("a rule applies");
        };
        loaded.rules.statistics_path(rule, &entries)
    };
    let of = |flags: &str, value: &str| of_request(flags, value, "y");
    let pattern = "value: x*";
    assert_eq!(of("shadow_mode: false", ""), "d.a.b");
    assert_eq!(of("shadow_mode: false", pattern), "d.a_x*.b");
    assert_eq!(of("value_to_metric: true", ""), "d.a_x1.b_y");
    assert_eq!(of("value_to_metric: true", pattern), "d.a_x1.b_y");
    assert_eq!(of("detailed_metric: true", "value: x1"), "d.a_x1.b_y");
    assert_eq!(of("share_threshold: true", pattern), "d.a_x*.b");
    assert_eq!(of_request("value_to_metric: true", "", ""), "d.a_x1.b");
    assert_eq!(of_request("detailed_metric: true", "", ""), "d.a_x1.b_");
}
