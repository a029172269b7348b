//! Which limits apply to a request, before anything is counted.

use super::{AppliedLimit, Status};
use crate::descriptor::Descriptor;
use crate::rules::{DomainId, Rule, RuleId, RuleLimit, RuleSet};

/// What the rules say about a request before anything is counted: a status for each descriptor with the
/// limit that applies, those that another one replaces taken away. `None` for an unknown domain.
///
/// For tools; [`Limiter::decide`] does this and counts.
pub fn limits_of(
    rules: &RuleSet,
    domain: &[u8],
    descriptors: &[Descriptor<'_>],
) -> Option<Vec<Status>> {
    let domain = rules.domain(domain)?;
    let mut statuses: Vec<Status> = descriptors
        .iter()
        .map(|descriptor| select(rules, domain, descriptor))
        .collect();
    drop_replaced(rules, &mut statuses);
    Some(statuses)
}

/// Finds the limit of a descriptor.
#[inline]
pub(super) fn select(rules: &RuleSet, domain: DomainId, descriptor: &Descriptor<'_>) -> Status {
    if let Some(limit) = descriptor.limit {
        return Status {
            limit: Some(AppliedLimit {
                requests_per_unit: limit.requests_per_unit,
                period: limit.period,
                rule: None,
            }),
            ..Status::UNLIMITED_BY_ANY_RULE
        };
    }
    let Some(id) = rules.find_in(domain, descriptor.entries) else {
        return Status::UNLIMITED_BY_ANY_RULE;
    };
    begin(rules, id).unwrap_or(Status::UNLIMITED_BY_ANY_RULE)
}

/// The status of a descriptor that this rule applies to, before anything is counted.
#[inline]
fn begin(rules: &RuleSet, id: RuleId) -> Option<Status> {
    let limit = AppliedLimit::of(id, rules.rule(id)?);
    Some(Status {
        limit,
        // Of an unlimited rule.
        remaining: if limit.is_none() { u32::MAX } else { 0 },
        rule: Some(id),
        ..Status::UNLIMITED_BY_ANY_RULE
    })
}

/// Takes away the limits that another matched rule of the request replaces: a descriptor goes on with
/// the first of its limits that is left. All names are collected first: two rules that replace each
/// other are both dropped.
///
/// Returns the rules that are replaced.
#[cold]
pub(super) fn drop_replaced(rules: &RuleSet, statuses: &mut [Status]) -> Vec<RuleId> {
    let matched: Vec<(RuleId, &Rule)> = statuses
        .iter()
        .filter_map(|status| status.rule)
        .flat_map(|first| rules.limits_from(first))
        .filter_map(|id| Some((id, rules.rule(id)?)))
        .collect();
    let replaced: Vec<RuleId> = matched
        .iter()
        // An unlimited rule replaces but is not replaced.
        .filter(|(_, target)| target.limit != RuleLimit::Unlimited)
        .filter(|(_, target)| matched.iter().any(|(_, rule)| rule.replaces(target)))
        .map(|(id, _)| *id)
        .collect();
    for status in statuses {
        let Some(first) = status.rule.filter(|first| replaced.contains(first)) else {
            continue;
        };
        let left = rules.limits_from(first).find(|id| !replaced.contains(id));
        *status = left
            .and_then(|id| begin(rules, id))
            .unwrap_or(Status::UNLIMITED_BY_ANY_RULE);
    }
    replaced
}
