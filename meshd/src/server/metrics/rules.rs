//! What became of hits, by rule: the region's own sums, so they hold what every process on the host
//! decided, and go on when meshd is started again.

use std::collections::BTreeMap;
use std::fmt;

use hivemind_shared::region::{Region, RuleStats};
use hivemind_shared::rules::{RuleId, RuleSet};

use super::families::{Families, UNLABELLED};
use crate::rules_source::{Loads, RulesHash};

/// One sum of a rule.
pub(super) struct Sum {
    /// What it is called here.
    pub(super) name: &'static str,
    /// What envoyproxy/ratelimit calls it.
    pub(super) reference_name: &'static str,
    pub(super) help: &'static str,
    pub(super) of: fn(&RuleStats) -> u64,
}

impl Sum {
    /// Whether it is known where refused hits are not counted.
    pub(super) fn is_known_without_refused(&self) -> bool {
        self.name == "within_limit"
    }
}

/// The sums of a rule.
pub(super) const SUMS: [Sum; 5] = [
    Sum {
        name: "hits",
        reference_name: "total_hits",
        help: "Hits on the rule, before the decision.",
        of: |stats| stats.total_hits,
    },
    Sum {
        name: "over_limit",
        reference_name: "over_limit",
        help: "Hits above the limit, those of rules in shadow mode included.",
        of: |stats| stats.over_limit,
    },
    Sum {
        name: "near_limit",
        reference_name: "near_limit",
        help: "Hits near the limit (metrics.near_limit_ratio) and up to it.",
        of: |stats| stats.near_limit,
    },
    Sum {
        name: "within_limit",
        reference_name: "within_limit",
        help: "Hits of calls that were within the limit.",
        of: |stats| stats.within_limit,
    },
    Sum {
        name: "shadow_mode",
        reference_name: "shadow_mode",
        help: "Hits that a rule in shadow mode would have refused.",
        of: |stats| stats.shadow_mode,
    },
];

/// The rules that have sums of their own, and the sums.
pub(super) fn sums_of(region: &Region, rules: &RuleSet) -> Vec<(RuleId, RuleStats)> {
    let shared = region.stats_capacity().saturating_sub(1);
    rules
        .rules()
        .filter(|(_, rule)| rule.stats_index != shared)
        .map(|(id, rule)| (id, region.rule_stats(rule.stats_index)))
        .collect()
}

pub(super) fn encode(
    region: &Region,
    rules: &RuleSet,
    loads: Loads,
    families: &mut Families<'_>,
) -> fmt::Result {
    // Rules of one path share their sums; they are one sample.
    let mut samples: BTreeMap<(String, String), RuleStats> = sums_of(region, rules)
        .into_iter()
        .map(|(id, stats)| {
            let path = rules.path(id);
            let domain = path.domain().unwrap_or_default().to_owned();
            ((domain, path.to_string()), stats)
        })
        .collect();
    let shared = region.stats_capacity().saturating_sub(1);
    if rules.rules().any(|(_, rule)| rule.stats_index == shared) {
        let others = (String::new(), "(others)".to_owned());
        samples.insert(others, region.rule_stats(shared));
    }
    for sum in SUMS {
        families.counter(
            &format!("hivemind_rule_{}", sum.name),
            sum.help,
            samples.iter().map(|((domain, rule), stats)| {
                (
                    [("domain", domain.as_str()), ("rule", rule.as_str())],
                    (sum.of)(stats),
                )
            }),
        )?;
    }
    families.counter(
        "hivemind_rule_evicted_keys",
        "Keys of the rule that gave their slot up to another one while they still counted.",
        samples.iter().map(|((domain, rule), stats)| {
            (
                [("domain", domain.as_str()), ("rule", rule.as_str())],
                stats.evicted_keys,
            )
        }),
    )?;
    families.counter(
        "hivemind_config_load_success",
        "Sets of rules that were brought into force since meshd was started.",
        [(UNLABELLED, loads.successful)],
    )?;
    families.counter(
        "hivemind_config_load_error",
        "Sets of rules that were refused since meshd was started.",
        [(UNLABELLED, loads.failed)],
    )
}

/// Which rules are in force, to see whether all hosts have the same.
pub(super) fn encode_hash(hash: RulesHash, families: &mut Families<'_>) -> fmt::Result {
    families.info(
        "hivemind_rules",
        "The hash of the rules in force: the same wherever the same rules are.",
        &[("hash", hash.to_string())],
    )
}
