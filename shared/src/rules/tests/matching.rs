//! The look-up.

use proptest::prelude::*;

use super::{Tree, compile_trees, number_rules};
use crate::descriptor::Entry;
use crate::rules::{Lookup, RuleLimit, RuleSet};

/// A pattern by its definition.
fn covers(pattern: &[u8], value: &[u8]) -> bool {
    match pattern.split_first() {
        None => value.is_empty(),
        Some((b'*', rest)) => (0..=value.len()).any(|taken| covers(rest, &value[taken..])),
        Some((first, rest)) => value
            .split_first()
            .is_some_and(|(byte, left)| byte == first && covers(rest, left)),
    }
}

/// The child an entry leads to, by the three steps of the specification.
pub(super) fn child<'a>(children: &'a [Tree], key: &str, value: &str) -> Option<&'a Tree> {
    let exact = |tree: &&Tree| tree.key == key && tree.value.as_deref() == Some(value);
    let pattern = |tree: &&Tree| {
        let key_has_star = tree.key.contains('*');
        let value_fits = |own: &str| covers(own.as_bytes(), value.as_bytes());
        match &tree.value {
            _ if key.is_empty() => false,
            Some(own) if own.contains('*') || key_has_star => {
                covers(tree.key.as_bytes(), key.as_bytes()) && value_fits(own)
            }
            Some(_) => false,
            None => key_has_star && covers(tree.key.as_bytes(), key.as_bytes()),
        }
    };
    let bare = |tree: &&Tree| tree.key == key && tree.value.is_none();
    children
        .iter()
        .find(exact)
        .or_else(|| children.iter().find(pattern))
        .or_else(|| children.iter().find(bare))
}

/// The rule's number by the specification, and the values its counter is kept under.
fn expected(mut children: &[Tree], entries: &[(String, String)]) -> Option<(u32, Vec<String>)> {
    let mut values = Vec::new();
    let mut rule = None;
    for (key, value) in entries {
        let tree = child(children, key, value)?;
        values.push(match (tree.share, &tree.value) {
            (false, _) => value.clone(),
            (true, Some(pattern)) => pattern.clone(),
            (true, None) => "*".to_owned(),
        });
        rule = tree.rule;
        children = &tree.children;
    }
    rule.map(|rule| (rule, values))
}

fn found(rules: &RuleSet, entries: &[(String, String)]) -> Option<(u32, Vec<String>)> {
    let request: Vec<Entry<'_>> = entries
        .iter()
        .map(|(key, value)| Entry::new(key, value))
        .collect();
    let Lookup::Rule(id) = rules.find(b"d", &request) else {
        return None;
    };
    let RuleLimit::Limited {
        requests_per_unit, ..
    } = rules.rule(id)?.limit
    else {
        return None;
    };
    assert_eq!(
        id.index(),
        requests_per_unit,
        "rules are numbered in file order"
    );
    let values = entries.iter().enumerate().map(|(level, (_, value))| {
        rules.shared_value(id, level).map_or_else(
            || value.clone(),
            |shared| String::from_utf8(shared.to_vec()).unwrap(),
        )
    });
    Some((requests_per_unit, values.collect()))
}

/// Keys and values that meet often, with more siblings on a level than are compared one by one.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => Just("a".to_owned()),
        2 => Just("b".to_owned()),
        1 => Just("a_b".to_owned()),
        1 => Just("x*".to_owned()),
        1 => Just("*".to_owned()),
        3 => (0..12_u8).prop_map(|number| format!("k{number}")),
    ]
}

fn value() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        2 => Just(None),
        3 => "[12]{1,2}".prop_map(Some),
        2 => "[12*]{1,3}".prop_map(Some),
        3 => (0..20_u8).prop_map(|number| Some(format!("v{number}"))),
    ]
}

pub(super) fn trees() -> impl Strategy<Value = Vec<Tree>> {
    let leaf = (
        key(),
        value(),
        any::<bool>(),
        prop::option::weighted(0.8, Just(0)),
    )
        .prop_map(|(key, value, share, rule)| Tree {
            key,
            value,
            share,
            rule,
            children: Vec::new(),
        });
    let tree = leaf.prop_recursive(2, 24, 12, |inner| {
        (
            key(),
            value(),
            any::<bool>(),
            prop::option::weighted(0.8, Just(0)),
            siblings(inner, 14),
        )
            .prop_map(|(key, value, share, rule, children)| Tree {
                key,
                value,
                share,
                rule,
                children,
            })
    });
    siblings(tree, 24).prop_map(|mut trees| {
        number_rules(&mut trees, &mut 0);
        trees
    })
}

/// Descriptors of one level: no two with the same key and value.
fn siblings(tree: impl Strategy<Value = Tree>, max: usize) -> impl Strategy<Value = Vec<Tree>> {
    prop::collection::vec(tree, 0..max).prop_map(|mut trees| {
        let mut seen = std::collections::HashSet::new();
        trees.retain(|tree| seen.insert((tree.key.clone(), tree.value.clone())));
        for tree in &mut trees {
            let has_star = |text: &str| text.contains('*');
            tree.share &= has_star(&tree.key) || tree.value.as_deref().is_some_and(has_star);
        }
        trees
    })
}

pub(super) fn requests() -> impl Strategy<Value = Vec<(String, String)>> {
    let key = prop_oneof![4 => key(), 1 => Just("xa".to_owned()), 1 => Just(String::new())];
    let value = prop_oneof![
        2 => "[12]{0,3}",
        1 => "[12*]{0,2}",
        2 => (0..22_u8).prop_map(|number| format!("v{number}")),
    ];
    let entry = (key, value);
    prop_oneof![
        4 => prop::collection::vec(entry.clone(), 1),
        3 => prop::collection::vec(entry.clone(), 2),
        1 => prop::collection::vec(entry, 0..5),
    ]
}

proptest! {
    #[test]
    fn it_agrees_with_the_specification(trees in trees(), requests in prop::collection::vec(requests(), 1..40)) {
        let rules = compile_trees(&trees);
        for request in requests {
            prop_assert_eq!(found(&rules, &request), expected(&trees, &request), "{:?}", request);
        }
    }
}

#[test]
fn generated_requests_find_rules_often_enough_to_mean_something() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let (mut hits, mut deep_hits) = (0, 0);
    for _ in 0..100 {
        let trees = trees().new_tree(&mut runner).unwrap().current();
        for _ in 0..20 {
            let request = requests().new_tree(&mut runner).unwrap().current();
            if expected(&trees, &request).is_some() {
                hits += 1;
                deep_hits += u32::from(request.len() > 1);
            }
        }
    }
    assert!(
        hits > 200 && deep_hits > 20,
        "{hits} hits, {deep_hits} of them below the first level"
    );
}

fn tree(key: &str, value: Option<&str>, children: Vec<Tree>) -> Tree {
    Tree {
        key: key.to_owned(),
        value: value.map(str::to_owned),
        share: false,
        rule: Some(0),
        children,
    }
}

fn compiled(mut trees: Vec<Tree>) -> RuleSet {
    number_rules(&mut trees, &mut 0);
    compile_trees(&trees)
}

fn lookup(rules: &RuleSet, entries: &[(&str, &str)]) -> Option<u32> {
    let entries: Vec<(String, String)> = entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    found(rules, &entries).map(|(rule, _)| rule)
}

#[test]
fn exact_comes_before_patterns_in_file_order_before_the_bare_key() {
    let rules = compiled(vec![
        tree("a", None, vec![]),
        tree("a", Some("x*"), vec![]),
        tree("a", Some("*y"), vec![]),
        tree("a", Some("xy"), vec![]),
    ]);
    assert_eq!(lookup(&rules, &[("a", "xy")]), Some(3));
    assert_eq!(lookup(&rules, &[("a", "x-y")]), Some(1));
    assert_eq!(lookup(&rules, &[("a", "-y")]), Some(2));
    assert_eq!(lookup(&rules, &[("a", "-")]), Some(0));
    assert_eq!(lookup(&rules, &[("a", "")]), Some(0));
    // A value that reads like a pattern is that very node, also when an earlier pattern covers it.
    assert_eq!(lookup(&rules, &[("a", "*y")]), Some(2));
}

#[test]
fn a_node_once_chosen_is_not_left_again() {
    let rules = compiled(vec![
        tree("a", None, vec![tree("b", None, vec![])]),
        tree("a", Some("1"), vec![]),
        tree("a", Some("2"), vec![tree("c", None, vec![])]),
    ]);
    assert_eq!(lookup(&rules, &[("a", "0"), ("b", "")]), Some(1));
    assert_eq!(lookup(&rules, &[("a", "1"), ("b", "")]), None);
    assert_eq!(lookup(&rules, &[("a", "2"), ("b", "")]), None);
    assert_eq!(lookup(&rules, &[("a", "2")]), Some(3));
}

#[test]
fn a_key_and_a_value_do_not_run_together() {
    let rules = compiled(vec![
        tree("tenant_a", None, vec![]),
        tree("a", Some("b_c"), vec![]),
    ]);
    assert_eq!(lookup(&rules, &[("tenant", "a")]), None);
    assert_eq!(lookup(&rules, &[("tenant_a", "z")]), Some(0));
    assert_eq!(lookup(&rules, &[("a_b", "c")]), None);
}

#[test]
fn an_unknown_domain_is_told_from_a_domain_without_a_rule() {
    let rules = compiled(vec![tree("a", None, vec![])]);
    let entry = [Entry::new("a", "1")];
    assert_eq!(rules.find(b"other", &entry), Lookup::UnknownDomain);
    assert_eq!(rules.find(b"d", &[]), Lookup::NoRule);
    assert_eq!(rules.find(b"d", &[Entry::new("b", "1")]), Lookup::NoRule);
    assert_eq!(rules.find(b"d", &[entry[0], entry[0]]), Lookup::NoRule);
    assert!(matches!(rules.find(b"d", &entry), Lookup::Rule(_)));
    assert_eq!(RuleSet::default().find(b"d", &entry), Lookup::UnknownDomain);
}

#[test]
fn requests_that_are_not_text_are_compared_bytewise() {
    let rules = compiled(vec![tree("a", Some("x*"), vec![]), tree("b", None, vec![])]);
    let find = |key: &[u8], value: &[u8]| rules.find(b"d", &[Entry { key, value }]);
    assert!(matches!(find(b"a", b"x\xFF\x00"), Lookup::Rule(_)));
    assert!(matches!(find(b"b", b"\xFF"), Lookup::Rule(_)));
    assert_eq!(find(b"\xFF", b"x"), Lookup::NoRule);
}

#[test]
fn paths_name_the_domain_and_every_level() {
    let rules = compiled(vec![tree(
        "a",
        None,
        vec![tree("remote_address", Some("10.*"), vec![])],
    )]);
    let paths: Vec<String> = rules
        .rules()
        .map(|(id, _)| rules.path(id).to_string())
        .collect();
    assert_eq!(paths, ["d.a", "d.a.remote_address_10.*"]);
}

#[test]
fn many_domains_are_told_apart() {
    let domains = (0..100)
        .map(|number| format!("domain-{number}").as_str().into())
        .collect();
    let draft = super::Draft {
        domains,
        ..super::Draft::default()
    };
    let rules = super::compile(draft).unwrap();
    for number in 0..100_u32 {
        let name = format!("domain-{number}");
        let id = rules.domain(name.as_bytes()).unwrap();
        assert_eq!(rules.domain_name(id), Some(name.as_str()));
    }
    assert_eq!(rules.domain(b"domain-100"), None);
    assert_eq!(rules.domains().len(), 100);
}
