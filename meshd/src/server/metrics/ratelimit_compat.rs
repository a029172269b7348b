//! The same sums under the names and labels of envoyproxy/ratelimit's Prometheus exporter, for
//! dashboards and alerts that are there already (`metrics.ratelimit_compat`).

use std::collections::BTreeMap;
use std::fmt;

use hivemind_shared::region::{Region, RuleStats};
use hivemind_shared::rules::RuleSet;

use super::families::{Families, UNLABELLED};
use super::rules::{SUMS, sums_of};
use crate::rules_source::Loads;

/// Domain and the first two levels; as there, deeper ones add up.
type Labels = (String, Vec<String>);

pub(super) fn encode(
    region: &Region,
    rules: &RuleSet,
    loads: Loads,
    families: &mut Families<'_>,
) -> fmt::Result {
    let mut samples: BTreeMap<Labels, Vec<RuleStats>> = BTreeMap::new();
    for (id, stats) in sums_of(region, rules) {
        let path = rules.path(id);
        let levels = path.levels().into_iter().take(2);
        let levels = levels.map(|(key, value)| match value {
            Some(value) => format!("{key}_{value}"),
            None => key.to_owned(),
        });
        let domain = path.domain().unwrap_or_default().to_owned();
        let labels = (domain, levels.collect());
        samples.entry(labels).or_default().push(stats);
    }
    for sum in SUMS {
        families.unknown(
            &format!("ratelimit_service_rate_limit_{}", sum.reference_name),
            sum.help,
            samples.iter().map(|((domain, levels), stats)| {
                let keys = ["key1", "key2"].into_iter();
                let levels = keys.zip(levels.iter().map(String::as_str));
                let labels: Vec<(&str, &str)> = [("domain", domain.as_str())]
                    .into_iter()
                    .chain(levels)
                    .collect();
                (labels, stats.iter().map(sum.of).sum::<u64>())
            }),
        )?;
    }
    families.unknown(
        "ratelimit_service_config_load_success",
        "Sets of rules that were brought into force.",
        [(UNLABELLED, loads.successful)],
    )?;
    families.unknown(
        "ratelimit_service_config_load_error",
        "Sets of rules that were refused.",
        [(UNLABELLED, loads.failed)],
    )
}
