//! The differences for people.

use std::io::{self, Write};

use hivemind_shared::rules::{Change, ChangeKind, Counters, RulesDiff, Side};
use hivemind_shared::yaml::escaped;

use crate::rules::{Rulebook, place, settings};
use crate::text::count;

pub(super) fn write(
    diff: &RulesDiff,
    old: &Rulebook,
    new: &Rulebook,
    out: &mut impl Write,
) -> io::Result<()> {
    if diff.is_empty() {
        return writeln!(out, "the rules mean the same");
    }
    for domain in &diff.domains_removed {
        writeln!(out, "- domain {}", escaped(domain))?;
    }
    for domain in &diff.domains_added {
        writeln!(out, "+ domain {}", escaped(domain))?;
    }
    for change in &diff.changes {
        let kind = match change.kind {
            ChangeKind::Added => "added",
            ChangeKind::Removed => "removed",
            ChangeKind::Changed => "changed",
        };
        writeln!(out, "{}: {kind}", escaped(&change.path))?;
        if let Some(side) = change.old {
            writeln!(out, "  - {}", side_text(old, side))?;
        }
        if let Some(side) = change.new {
            writeln!(out, "  + {}", side_text(new, side))?;
        }
        writeln!(out, "  {}", consequence(change, old, new))?;
    }
    for order in &diff.orders {
        writeln!(
            out,
            "{}: now tried before {} ({}); requests that both match change over",
            escaped(&order.first),
            escaped(&order.second),
            new.place(order.second_node),
        )?;
    }
    let of_kind = |kind| {
        diff.changes
            .iter()
            .filter(|change| change.kind == kind)
            .count()
    };
    writeln!(
        out,
        "{} added, {} removed, {} changed, {}",
        of_kind(ChangeKind::Added),
        of_kind(ChangeKind::Removed),
        of_kind(ChangeKind::Changed),
        count(diff.orders.len(), "pair") + " of patterns in another order",
    )
}

/// A descriptor in one line.
fn side_text(book: &Rulebook, side: Side) -> String {
    let limits = side
        .rule
        .into_iter()
        .flat_map(|id| book.rules.limits_from(id))
        .filter_map(|id| book.rules.rule(id));
    let mut parts: Vec<String> = limits
        .enumerate()
        .flat_map(|(position, rule)| {
            let and = if position > 0 { "and " } else { "" };
            let mut parts = vec![format!("{and}{}", rule.limit)];
            parts.extend(settings(rule));
            parts
        })
        .collect();
    if parts.is_empty() {
        parts.push("no limit".to_owned());
    }
    if let Some(node) = book.rules.rule_node(side.node) {
        for (name, is_set) in [
            ("share_threshold", node.share_threshold),
            ("value_to_metric", node.value_to_metric),
        ] {
            if is_set {
                parts.push(name.to_owned());
            }
        }
    }
    let place = book.place(side.node);
    let place = if place.is_empty() {
        place
    } else {
        format!("  ({place})")
    };
    format!("{}{place}", parts.join(", "))
}

/// What it means for requests and counts.
fn consequence(change: &Change, old: &Rulebook, new: &Rulebook) -> String {
    let (book, other) = match change.kind {
        ChangeKind::Removed => (old, new),
        ChangeKind::Added | ChangeKind::Changed => (new, old),
    };
    let named = |book: &Rulebook, id| {
        let place = book.rules.rule(id).map(|rule| place(&rule.origin));
        format!(
            "{} ({})",
            escaped(&book.rules.path(id).to_string()),
            place.unwrap_or_default()
        )
    };
    if let Some(by) = change.hidden_by {
        let verb = if change.kind == ChangeKind::Removed {
            "took"
        } else {
            "takes"
        };
        return format!("{} {verb} such requests before it", named(book, by));
    }
    let counters = counters_text(change.counters);
    match (change.elsewhere, change.kind) {
        (Some(id), ChangeKind::Removed) => {
            format!(
                "such requests are under {} now; {counters}",
                named(other, id)
            )
        }
        (Some(id), _) => format!("such requests were under {}; {counters}", named(other, id)),
        (None, _) => counters.to_owned(),
    }
}

pub(super) fn counters_text(counters: Counters) -> &'static str {
    match counters {
        Counters::Kept => "the count is kept",
        Counters::OtherUnit => "the unit is another one: counts from zero",
        Counters::OtherSharing => "another counter because of share_threshold: counts from zero",
        Counters::Started => "was not counted before: counts from zero",
        Counters::Stopped => "no longer limited, and no longer counted",
        Counters::None => "nothing is counted, before and after",
    }
}
