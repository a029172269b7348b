//! A limit in JSON, wherever one is shown.

use hivemind_shared::rules::{Rule, RuleLimit};
use hivemind_shared::window::Period;
use serde::Serialize;

/// How much a rule allows, and how its hits are held against it.
#[derive(Serialize)]
pub(crate) struct LimitJson<'a> {
    requests_per_unit: Option<u32>,
    unit: Option<&'static str>,
    unit_multiplier: Option<u32>,
    algorithm: &'static str,
    /// Of a token bucket.
    burst: Option<u32>,
    count_denied: bool,
    /// Of a limit that does not count what it denies.
    debt: Option<u32>,
    name: Option<&'a str>,
}

impl<'a> LimitJson<'a> {
    pub(crate) fn of(rule: &'a Rule) -> Self {
        let (requests_per_unit, period) = match rule.limit {
            RuleLimit::Limited {
                requests_per_unit,
                period,
            } => (Some(requests_per_unit), Some(period)),
            RuleLimit::Unlimited => (None, None),
        };
        Self {
            requests_per_unit,
            unit: period.map(|period| period.unit().name()),
            unit_multiplier: period.map(Period::multiplier),
            algorithm: rule.algorithm.name(),
            burst: rule.token_bucket().map(|bucket| bucket.burst()),
            count_denied: rule.count_denied,
            debt: rule.is_gated().then(|| rule.debt()),
            name: Some(&*rule.name).filter(|name| !name.is_empty()),
        }
    }
}
