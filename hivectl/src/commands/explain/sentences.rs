//! Why no limit applies, in sentences.

use std::collections::BTreeSet;

use hivemind_shared::descriptor::text::entry;
use hivemind_shared::rules::{End, Explanation, Match, NodeId, Step, Verdict};
use hivemind_shared::yaml::{closest, printable};

use crate::descriptor::DescriptorArgument;
use crate::rules::Rulebook;

/// Most names that a list shows.
const LISTED_MAX: usize = 8;

/// What a verdict says.
pub(super) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Taken(Match::Exact) => "taken: equal value",
        Verdict::Taken(Match::Pattern) => "taken: the first pattern in file order that matches",
        Verdict::Taken(Match::KeyOnly) => "taken: the key alone, nothing closer matches",
        Verdict::OtherKey => "other key",
        Verdict::OtherValue => "other value",
        Verdict::NotCovered => "the pattern does not match",
        Verdict::PatternAfterExact => "matches, but an equal value wins over patterns",
        Verdict::PatternAfterPattern => "matches, but stands later in file order",
        Verdict::KeyOnlyLast => "matches, but the key alone comes last",
        Verdict::EmptyKey => "an entry without a key matches no pattern",
    }
}

/// The same in a word, for programs.
pub(super) fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Taken(Match::Exact) => "taken_exact",
        Verdict::Taken(Match::Pattern) => "taken_pattern",
        Verdict::Taken(Match::KeyOnly) => "taken_key_only",
        Verdict::OtherKey => "other_key",
        Verdict::OtherValue => "other_value",
        Verdict::NotCovered => "not_covered",
        Verdict::PatternAfterExact => "pattern_after_exact",
        Verdict::PatternAfterPattern => "pattern_after_pattern",
        Verdict::KeyOnlyLast => "key_only_last",
        Verdict::EmptyKey => "empty_key",
    }
}

/// Why no limit applies; nothing when one does.
pub(super) fn why_no_limit(
    book: &Rulebook,
    domain: &str,
    asked: &DescriptorArgument,
    explanation: &Explanation,
) -> Vec<String> {
    let mut sentences = match explanation.end {
        End::Rule(_) => Vec::new(),
        End::UnknownDomain => vec![unknown_domain(book, domain)],
        End::NoEntries => vec!["the descriptor has no entries".to_owned()],
        End::NoMatch => no_match(book, asked, &explanation.steps),
        End::NoLimit => no_limit(book, &explanation.steps),
    };
    if let Some(missed) = explanation.missed
        && let Some(rule) = book.rules.rule(missed.rule)
    {
        sentences.push(format!(
            "{} also matches, and would lead to {} ({}); but a level is decided once, and what was passed \
             over is not tried again",
            at(book, missed.node),
            rule.limit,
            crate::rules::place(&rule.origin),
        ));
    }
    sentences
}

fn unknown_domain(book: &Rulebook, domain: &str) -> String {
    let hint = match closest(domain, book.rules.domains()) {
        Some(meant) => format!("did you mean '{}'?", printable(meant)),
        None => format!(
            "there are: {}",
            list(book.rules.domains().map(str::to_owned))
        ),
    };
    format!(
        "there are no rules for the domain '{}', so not even a limit that the request brings along \
         applies; {hint}",
        printable(domain)
    )
}

fn no_match(book: &Rulebook, asked: &DescriptorArgument, steps: &[Step]) -> Vec<String> {
    let level = steps.len().saturating_sub(1);
    let (Some(step), Some((key, value))) = (steps.last(), asked.entries.get(level)) else {
        return Vec::new();
    };
    let above = steps
        .get(level.wrapping_sub(1))
        .and_then(|step| step.chosen);
    let Some((parent, _)) = above else {
        let hint = suggestion(book, step, key, value);
        return vec![format!(
            "no descriptor of the domain matches {}{hint}",
            entry(key, value)
        )];
    };
    let parent = at(book, parent);
    if step.candidates.is_empty() {
        return vec![format!(
            "the request is longer than the rules: nothing stands below {parent}, and a limit counts only \
             for requests that end at it"
        )];
    }
    let hint = suggestion(book, step, key, value);
    vec![format!(
        "{parent} was taken and has no descriptor for {}; its siblings are not tried{hint}",
        entry(key, value)
    )]
}

/// What might have been meant by an entry that nothing matches.
fn suggestion(book: &Rulebook, step: &Step, key: &str, value: &str) -> String {
    let nodes = || {
        step.candidates
            .iter()
            .filter_map(|candidate| book.rules.rule_node(candidate.node))
    };
    if key.is_empty() {
        return "; an entry without a key matches nothing".to_owned();
    }
    if nodes().any(|node| node.key == key) {
        let values: BTreeSet<&str> = nodes()
            .filter(|node| node.key == key)
            .filter_map(|node| node.value)
            .collect();
        return match closest(value, values.iter().copied()) {
            Some(meant) => format!("; did you mean {}?", entry(key, meant)),
            None => format!(
                "; it has the values {}",
                list(values.into_iter().map(str::to_owned))
            ),
        };
    }
    let keys: BTreeSet<&str> = nodes().map(|node| node.key).collect();
    match closest(key, keys.iter().copied()) {
        Some(meant) => format!("; did you mean the key '{}'?", printable(meant)),
        None => format!(
            "; there are the keys {}",
            list(keys.into_iter().map(str::to_owned))
        ),
    }
}

fn no_limit(book: &Rulebook, steps: &[Step]) -> Vec<String> {
    let Some((node, _)) = steps.last().and_then(|step| step.chosen) else {
        return Vec::new();
    };
    let has_children = book
        .rules
        .rule_node(node)
        .is_some_and(|node| node.has_children);
    let node = at(book, node);
    vec![if has_children {
        format!(
            "the request is shorter than the rules: it ends at {node}, which has no limit of its own, only \
             descriptors below it"
        )
    } else {
        format!("{node} has no limit: requests that end there are not limited")
    }]
}

/// A descriptor of the rules and where it is written.
fn at(book: &Rulebook, node: NodeId) -> String {
    let (name, place) = (book.name(node), book.place(node));
    if place.is_empty() {
        format!("'{name}'")
    } else {
        format!("'{name}' ({place})")
    }
}

/// A list that does not grow beyond what is read.
fn list(names: impl Iterator<Item = String>) -> String {
    let mut shown: Vec<String> = Vec::new();
    let mut more = 0_usize;
    for name in names {
        if shown.len() < LISTED_MAX {
            shown.push(format!("'{}'", printable(&name)));
        } else {
            more += 1;
        }
    }
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    if shown.is_empty() {
        "none".to_owned()
    } else {
        shown.join(", ")
    }
}
