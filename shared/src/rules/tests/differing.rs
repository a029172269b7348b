//! What changes between two sets of rules.

use proptest::prelude::*;

use super::compile_trees;
use super::matching::trees;
use crate::rules::source::{Options, parse};
use crate::rules::{ChangeKind, Counters, RuleSet, diff};
use crate::yaml::Source;

fn rules(descriptors: &str) -> RuleSet {
    let text = format!("domain: d\ndescriptors:\n{descriptors}");
    parse(&[Source::new("r.yaml", text)], &Options::default())
        .unwrap_or_else(|problems| panic!("{problems}"))
        .rules
}

/// Kind, path and counters of every change, and the pairs that changed places.
fn changes(old: &str, new: &str) -> Vec<(ChangeKind, String, Counters)> {
    let diff = diff(&rules(old), &rules(new));
    let change = |change: crate::rules::Change| (change.kind, change.path, change.counters);
    diff.changes.into_iter().map(change).collect()
}

const A: &str = "  - {key: a, rate_limit: {unit: hour, requests_per_unit: 5}}\n";
const B: &str = "  - {key: b, rate_limit: {unit: hour, requests_per_unit: 5}}\n";

proptest! {
    #[test]
    fn the_same_rules_in_another_order_differ_in_patterns_at_most(trees in trees()) {
        let rules = compile_trees(&trees);
        prop_assert!(diff(&rules, &rules.clone()).is_empty());
        // Their numbers are their limits: they go along.
        let mut reversed = trees;
        reversed.reverse();
        let diff = diff(&rules, &compile_trees(&reversed));
        prop_assert!(diff.changes.is_empty(), "{:?}", diff);
    }
}

#[test]
fn a_descriptor_that_only_moved_is_no_change() {
    assert_eq!(changes(&format!("{A}{B}"), &format!("{B}{A}")), []);
}

#[test]
fn added_removed_and_changed_limits_are_told_apart() {
    assert_eq!(
        changes(A, &format!("{A}{B}")),
        [(ChangeKind::Added, "d.b".into(), Counters::Started)]
    );
    assert_eq!(
        changes(&format!("{A}{B}"), A),
        [(ChangeKind::Removed, "d.b".into(), Counters::Stopped)]
    );
    let changed = |new: &str| changes(A, new);
    for (new, counters) in [
        ("{unit: hour, requests_per_unit: 6}", Counters::Kept),
        (
            "{unit: hour, requests_per_unit: 5, name: x}",
            Counters::Kept,
        ),
        ("{unit: day, requests_per_unit: 5}", Counters::OtherUnit),
        ("{unlimited: true}", Counters::Stopped),
        ("", Counters::Stopped),
    ] {
        assert_eq!(
            changed(&format!("  - {{key: a, rate_limit: {new}}}\n")),
            [(ChangeKind::Changed, "d.a".into(), counters)],
            "{new}"
        );
    }
    assert_eq!(
        changed(
            "  - {key: a, shadow_mode: true, rate_limit: {unit: hour, requests_per_unit: 5}}\n"
        ),
        [(ChangeKind::Changed, "d.a".into(), Counters::Kept)]
    );
}

#[test]
fn an_added_value_goes_on_from_the_count_it_had_under_the_key() {
    let exact = "  - {key: a, value: x, rate_limit: {unit: hour, requests_per_unit: 1}}\n";
    let other = "  - {key: a, value: x, rate_limit: {unit: day, requests_per_unit: 1}}\n";
    for (kind, old, new) in [
        (ChangeKind::Added, A.to_owned(), format!("{A}{exact}")),
        (ChangeKind::Removed, format!("{A}{exact}"), A.to_owned()),
    ] {
        let diff = diff(&rules(&old), &rules(&new));
        assert_eq!(diff.changes.len(), 1);
        assert_eq!(
            (diff.changes[0].kind, diff.changes[0].counters),
            (kind, Counters::Kept)
        );
        assert!(diff.changes[0].elsewhere.is_some());
    }
    assert_eq!(changes(A, &format!("{A}{other}"))[0].2, Counters::OtherUnit);
}

#[test]
fn a_pattern_behind_one_that_covers_it_is_hidden() {
    let wide = "  - {key: a, value: x*, rate_limit: {unit: hour, requests_per_unit: 1}}\n";
    let narrow = "  - {key: a, value: xy*, rate_limit: {unit: hour, requests_per_unit: 1}}\n";
    let hidden = |new: String| diff(&rules(wide), &rules(&new)).changes[0].hidden_by;
    assert!(hidden(format!("{wide}{narrow}")).is_some());
    assert!(hidden(format!("{narrow}{wide}")).is_none());
}

#[test]
fn patterns_that_changed_places_matter_only_when_they_overlap() {
    let pattern = |value: &str| {
        format!(
            "  - {{key: a, value: '{value}', rate_limit: {{unit: hour, requests_per_unit: 1}}}}\n"
        )
    };
    let orders = |first: &str, second: &str| {
        let (first, second) = (pattern(first), pattern(second));
        let diff = diff(
            &rules(&format!("{first}{second}")),
            &rules(&format!("{second}{first}")),
        );
        assert!(diff.changes.is_empty());
        let orders = diff.orders.into_iter();
        orders
            .map(|order| (order.first, order.second))
            .collect::<Vec<_>>()
    };
    assert_eq!(orders("x*", "y*"), []);
    assert_eq!(orders("x*", "*y"), [("d.a_*y".into(), "d.a_x*".into())]);
}

#[test]
fn sharing_on_an_outer_level_starts_the_inner_counters_again() {
    let at = |share: bool| {
        format!(
            "  - key: a\n    value: x*\n    share_threshold: {share}\n    descriptors:\n      - {{key: b, rate_limit: {{unit: hour, requests_per_unit: 1}}}}\n"
        )
    };
    assert_eq!(
        changes(&at(false), &at(true)),
        [
            (ChangeKind::Changed, "d.a_x*".into(), Counters::None),
            (
                ChangeKind::Changed,
                "d.a_x*.b".into(),
                Counters::OtherSharing
            ),
        ]
    );
}

#[test]
fn domains_come_and_go() {
    let other = parse(&[Source::new("r.yaml", "domain: e\n")], &Options::default())
        .unwrap()
        .rules;
    let diff = diff(&rules(A), &other);
    assert_eq!(
        (&*diff.domains_added, &*diff.domains_removed),
        (&["e".to_owned()][..], &["d".to_owned()][..])
    );
    assert_eq!(diff.changes[0].kind, ChangeKind::Removed);
}
