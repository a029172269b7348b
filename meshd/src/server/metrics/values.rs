//! What became of hits by rule and request value, of rules that ask for it.

use std::collections::BTreeMap;
use std::fmt;

use super::families::Families;
use super::rules::SUMS;
use crate::value_series::{Dropped, Series, Shown};

/// Writes them; without samples when there are to be no series.
pub(super) fn encode(shown: Option<&Shown>, families: &mut Families<'_>) -> fmt::Result {
    // Dots in values make one name of two at times: what has the same labels adds up.
    let mut labelled: BTreeMap<(&str, &str, String), Vec<&Series>> = BTreeMap::new();
    for series in shown.into_iter().flat_map(|shown| &shown.series) {
        let name = &series.name;
        let labels = (&*name.domain, &*name.rule, name.levels.join("."));
        labelled.entry(labels).or_default().push(series);
    }
    for sum in SUMS {
        let is_known = |series: &&Series| series.has_refused || sum.is_known_without_refused();
        let samples = labelled
            .iter()
            .filter(|(_, series)| series.iter().all(is_known));
        families.counter(
            &format!("hivemind_rule_value_{}", sum.name),
            &format!("By request value: {}", sum.help),
            samples.map(|((domain, rule, descriptor), series)| {
                let labels = [
                    ("domain", *domain),
                    ("rule", *rule),
                    ("descriptor", descriptor.as_str()),
                ];
                let hits: u64 = series.iter().map(|series| (sum.of)(&series.stats)).sum();
                (labels, hits)
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
