//! The same sums under the names and labels of envoyproxy/ratelimit's Prometheus exporter, for
//! dashboards and alerts that are there already (`metrics.ratelimit_compat`).

use std::collections::BTreeMap;
use std::fmt;

use hivemind_shared::region::{Region, RuleStats};
use hivemind_shared::rules::{Rule, RuleSet};

use super::families::{Families, UNLABELLED};
use super::rules::{SUMS, sums_of};
use super::stat_name::sanitized;
use crate::rules_source::Loads;
use crate::server::calls::{Calls, Outcome};
use crate::value_series::Shown;

/// Domain and the first two levels; as there, deeper ones add up.
type Labels = (String, Vec<String>);

pub(super) fn encode(
    region: &Region,
    rules: &RuleSet,
    values: Option<&Shown>,
    loads: Loads,
    families: &mut Families<'_>,
) -> fmt::Result {
    let mut samples: BTreeMap<Labels, Vec<RuleStats>> = BTreeMap::new();
    let by_value = values.into_iter().flat_map(|values| &values.series);
    for series in by_value.filter(|series| series.has_refused) {
        let levels = series.name.levels.iter().take(2);
        let levels = levels.map(|level| sanitized(level)).collect();
        let labels = (sanitized(&series.name.domain), levels);
        samples.entry(labels).or_default().push(series.stats);
    }
    for (id, stats) in sums_of(region, rules) {
        // Series by value take the place of the rule's own, as there, if all sums are known by value.
        let replaced = |rule: &Rule| rule.wants_value_metrics() && !rule.is_gated();
        if values.is_some() && rules.rule(id).is_some_and(replaced) {
            continue;
        }
        let path = rules.path(id);
        let levels = path.levels().into_iter().take(2);
        let levels = levels.map(|(key, value)| match value {
            Some(value) => sanitized(&format!("{key}_{value}")),
            None => sanitized(key),
        });
        let domain = sanitized(path.domain().unwrap_or_default());
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

/// What became of calls. There the calls are counted that could be read.
pub(super) fn encode_calls(calls: &Calls, families: &mut Families<'_>) -> fmt::Result {
    const METHOD: [(&str, &str); 1] = [("grpc_method", "ShouldRateLimit")];
    let (grpc, json) = (calls.grpc_outcomes(), calls.json_outcomes());
    let read = |(outcome, _): &&(Outcome, u64)| *outcome != Outcome::Malformed;
    let errors = grpc.iter().chain(&json).filter(read);
    let errors = errors.filter(|(outcome, _)| !outcome.is_answer());
    families.unknown(
        "ratelimit_service_should_rate_limit_error",
        "Calls without an answer.",
        [(
            [("err_type", "service_error")],
            errors.map(|(_, count)| count).sum::<u64>(),
        )],
    )?;
    let grpc = grpc.iter().filter(read);
    families.unknown(
        "ratelimit_service_total_requests",
        "Calls by gRPC.",
        [(METHOD, grpc.map(|(_, count)| count).sum::<u64>())],
    )?;
    families.histogram(
        "ratelimit_service_response_time_seconds",
        "Time from the headers of a call by gRPC until its answer was there.",
        [(METHOD, calls.grpc_times())],
    )?;
    families.unknown(
        "ratelimit_service_global_shadow_mode",
        "Calls over their limits that passed because all do.",
        [(UNLABELLED, calls.shadowed())],
    )?;
    // The domain is in the name there, with an underscore for what may not be.
    let mut domains: BTreeMap<String, u64> = BTreeMap::new();
    for (domain, descriptors) in calls.unknown_domains() {
        let is_kept = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let name = domain.replace(|letter| !is_kept(letter), "_");
        *domains.entry(name).or_default() += descriptors;
    }
    for (domain, descriptors) in domains {
        families.unknown(
            &format!("ratelimit_service_rate_limit_{domain}_domain_not_found"),
            "Descriptors of calls with a domain that no rules are for.",
            [(UNLABELLED, descriptors)],
        )?;
    }
    Ok(())
}
