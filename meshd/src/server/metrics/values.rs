//! What became of hits by rule and request value, of rules that ask for it.

use std::fmt;

use super::families::Families;
use super::rules::SUMS;
use crate::value_series::{Dropped, Series, Shown};

/// Writes them; without samples when there are to be no series.
pub(super) fn encode(shown: Option<&Shown>, families: &mut Families<'_>) -> fmt::Result {
    let labelled: Vec<(String, &Series)> = shown
        .into_iter()
        .flat_map(|shown| &shown.series)
        .map(|series| (series.name.levels.join("."), series))
        .collect();
    for sum in SUMS {
        let samples = labelled
            .iter()
            .filter(|(_, series)| series.has_refused || sum.is_known_without_refused());
        families.counter(
            &format!("hivemind_rule_value_{}", sum.name),
            &format!("By request value: {}", sum.help),
            samples.map(|(descriptor, series)| {
                let name = &series.name;
                let labels = [
                    ("domain", name.domain.as_str()),
                    ("rule", name.rule.as_str()),
                    ("descriptor", descriptor.as_str()),
                ];
                (labels, (sum.of)(&series.stats))
            }),
        )?;
    }
    families.counter(
        "hivemind_rule_value_dropped_hits",
        "Hits on rules with series by request value that are in none of them.",
        shown.into_iter().flat_map(|shown| {
            Dropped::ALL.map(|cause| ([("cause", cause.name())], shown.dropped[cause as usize]))
        }),
    )
}
