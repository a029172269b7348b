//! The decision: which limits apply to a request, what is counted, and whether it may pass.
//!
//! It exists once. The Envoy module and the Rate Limit Service both call [`Limiter::decide`], so the
//! same request gets the same answer on either path.
//!
//! Every descriptor is counted first and compared afterwards, also one that is refused: over is
//! whoever's count after the hit is above the limit. The counts are the tickets of a queue: each
//! thread gets its own, so that a host never admits more than the limit whatever runs at once.

pub mod key;
mod outcome;
mod rules_cache;

use std::sync::Arc;

pub use outcome::{AppliedLimit, Code, DecideError, Decision, Status};

use crate::clock::{Clock, CoarseClock};
use crate::descriptor::Descriptor;
use crate::region::{Hits, Region};
use crate::rules::{DomainId, Rule, RuleId, RuleLimit, RuleSet};
use crate::table::{CountError, Key};

/// Statistics index of hits that no rule's statistics are for.
pub(crate) const NO_RULE: u32 = u32::MAX;

/// Decides, on the counters and by the rules of one region. Share it between threads or not, as is
/// convenient; the memory a thread needs is in its [`Decision`].
#[derive(Clone, Debug)]
pub struct Limiter<C = CoarseClock> {
    region: Arc<Region>,
    region_id: u64,
    clock: C,
}

impl<C: Clock> Limiter<C> {
    /// A limiter on this region, by this clock.
    pub fn new(region: Arc<Region>, clock: C) -> Self {
        let region_id = region.region_id();
        Self {
            region,
            region_id,
            clock,
        }
    }

    /// The region it counts in.
    pub fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// Decides a request: `hits_addend` is what each descriptor without an addend of its own counts,
    /// and 0 there means 1. The answer is in `decision`.
    ///
    /// # Errors
    /// [`DecideError`] when there is nothing to decide by or no room to count in; `decision` is
    /// undefined then but for its rules.
    #[inline]
    pub fn decide(
        &self,
        domain: &[u8],
        descriptors: &[Descriptor<'_>],
        hits_addend: u32,
        decision: &mut Decision,
    ) -> Result<(), DecideError> {
        let Decision {
            overall,
            statuses,
            loaded,
            key,
        } = decision;
        *overall = Code::Ok;
        statuses.clear();
        let (rules, loaded) = rules_cache::refresh(loaded, &self.region, self.region_id)?;
        // An unknown domain has no limits, not even those that requests bring along.
        let Some(domain_id) = rules.domain(domain) else {
            statuses.resize(descriptors.len(), Status::UNLIMITED_BY_ANY_RULE);
            return Ok(());
        };
        for descriptor in descriptors {
            statuses.push(select(rules, domain_id, descriptor));
        }
        if loaded.has_replaces() {
            drop_replaced(rules, statuses);
        }
        let request = Request {
            rules,
            domain,
            hits_addend,
            now_s: self.clock.now_s(),
        };
        let mut votes = Votes::default();
        for (descriptor, status) in descriptors.iter().zip(statuses) {
            if let Some(limit) = status.limit {
                self.apply(&request, descriptor, limit, status, key, &mut votes);
            }
        }
        *overall = votes.overall()?;
        Ok(())
    }

    /// Counts a descriptor against its limit and fills in the rest of its status.
    #[inline]
    fn apply(
        &self,
        request: &Request<'_>,
        descriptor: &Descriptor<'_>,
        limit: AppliedLimit,
        status: &mut Status,
        key_bytes: &mut Vec<u8>,
        votes: &mut Votes,
    ) {
        let rule = limit.rule.and_then(|id| request.rules.rule(id));
        let addend = descriptor
            .hits_addend
            .unwrap_or_else(|| u64::from(request.hits_addend.max(1)));
        let shared = rule
            .filter(|rule| rule.shared_levels() != 0)
            .and(limit.rule);
        let shared_value =
            |level| shared.and_then(|id: RuleId| request.rules.shared_value(id, level));
        let key_bytes = key::write(
            key_bytes,
            request.domain,
            descriptor.entries,
            limit.unit,
            shared_value,
        );
        let key = Key {
            fingerprint: self.region.hasher().fingerprint(key_bytes),
            unit: limit.unit,
        };
        let label = || {
            let entries = descriptor.entries.iter().enumerate();
            let values = entries.map(|(level, e)| (e.key, shared_value(level).unwrap_or(e.value)));
            (request.domain, values)
        };
        let stats_index = rule.map_or(NO_RULE, |rule| rule.stats_index);
        let counted =
            match self
                .region
                .count(&key, addend, request.now_s, &self.clock, stats_index, label)
            {
                Ok(counted) => counted,
                Err(error) => {
                    let window = limit.unit.window_at(request.now_s);
                    status.reset_s = window.seconds_left(request.now_s);
                    let quota = rule.is_some_and(|rule| rule.quota_mode);
                    return votes.add(Vote::Failed { error, quota });
                }
            };
        let total = counted.after.saturating_add(counted.remote);
        let allowed = u64::from(limit.requests_per_unit);
        let over = total > allowed;
        status.remaining = u32::try_from(allowed.saturating_sub(total)).unwrap_or(u32::MAX);
        status.reset_s = counted.window.seconds_left(request.now_s);
        let shadow = rule.is_some_and(|rule| rule.shadow_mode);
        if over && !shadow {
            status.code = Code::OverLimit;
        }
        if let Some(rule) = rule {
            let before = counted.before.saturating_add(counted.remote);
            self.region.record(
                rule.stats_index,
                Hits {
                    before,
                    addend,
                    limit: limit.requests_per_unit,
                    shadow,
                },
            );
        }
        votes.add(
            match (rule.is_some_and(|rule| rule.quota_mode), status.code) {
                (false, Code::Ok) => Vote::Ok,
                (false, Code::OverLimit) => Vote::Over,
                (true, Code::Ok) => Vote::QuotaLeft,
                (true, Code::OverLimit) => Vote::QuotaUsedUp,
            },
        );
    }
}

/// What is the same for all descriptors of a request.
struct Request<'r> {
    rules: &'r RuleSet,
    domain: &'r [u8],
    hits_addend: u32,
    now_s: u64,
}

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
fn select(rules: &RuleSet, domain: DomainId, descriptor: &Descriptor<'_>) -> Status {
    if let Some(limit) = descriptor.limit {
        return Status {
            limit: Some(AppliedLimit {
                requests_per_unit: limit.requests_per_unit,
                unit: limit.unit,
                rule: None,
            }),
            ..Status::UNLIMITED_BY_ANY_RULE
        };
    }
    let Some(id) = rules.find_in(domain, descriptor.entries) else {
        return Status::UNLIMITED_BY_ANY_RULE;
    };
    let Some(rule) = rules.rule(id) else {
        return Status::UNLIMITED_BY_ANY_RULE;
    };
    match rule.limit {
        RuleLimit::Unlimited => Status {
            remaining: u32::MAX,
            rule: Some(id),
            ..Status::UNLIMITED_BY_ANY_RULE
        },
        RuleLimit::Limited {
            requests_per_unit,
            unit,
        } => Status {
            limit: Some(AppliedLimit {
                requests_per_unit,
                unit,
                rule: Some(id),
            }),
            rule: Some(id),
            ..Status::UNLIMITED_BY_ANY_RULE
        },
    }
}

/// Takes away the limits that another matched rule of the request replaces. All names are collected
/// first: two rules that replace each other are both dropped.
#[cold]
fn drop_replaced(rules: &RuleSet, statuses: &mut [Status]) {
    let rule_of = |status: &Status| -> Option<&Rule> { status.rule.and_then(|id| rules.rule(id)) };
    let replaced = |status: &Status| {
        // An unlimited rule replaces but is not replaced.
        let Some(target) = rule_of(status).filter(|_| status.limit.is_some()) else {
            return false;
        };
        statuses
            .iter()
            .filter_map(rule_of)
            .any(|rule| rule.replaces(target))
    };
    let dropped: Vec<bool> = statuses.iter().map(replaced).collect();
    for (status, _) in statuses
        .iter_mut()
        .zip(dropped)
        .filter(|(_, dropped)| *dropped)
    {
        *status = Status::UNLIMITED_BY_ANY_RULE;
    }
}

/// What one counted descriptor says about the whole request.
enum Vote {
    Ok,
    Over,
    QuotaLeft,
    QuotaUsedUp,
    Failed { error: CountError, quota: bool },
}

/// The votes of a request.
#[derive(Default)]
struct Votes {
    over: bool,
    quota_left: bool,
    quota_used_up: bool,
    failed: Option<CountError>,
}

impl Votes {
    #[inline]
    fn add(&mut self, vote: Vote) {
        match vote {
            Vote::Ok => {}
            Vote::Over => self.over = true,
            Vote::QuotaLeft => self.quota_left = true,
            Vote::QuotaUsedUp => self.quota_used_up = true,
            Vote::Failed { error, quota } => {
                self.failed = Some(error);
                // Nobody knows that it is used up.
                self.quota_left |= quota;
            }
        }
    }

    /// Over when any plain limit is, or when there are quotas and all of them are used up.
    #[inline]
    fn overall(self) -> Result<Code, CountError> {
        if self.over || (self.quota_used_up && !self.quota_left) {
            return Ok(Code::OverLimit);
        }
        self.failed.map_or(Ok(Code::Ok), Err)
    }
}
