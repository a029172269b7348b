//! The decision: which limits apply to a request, what is counted, and whether it may pass.
//!
//! It exists once. The Envoy module and the Rate Limit Service both call [`Limiter::decide`], so the
//! same request gets the same answer on either path.
//!
//! Every descriptor is counted first and compared afterwards, also one that is refused: over is
//! whoever's count after the hit is above the limit. The counts are the tickets of a queue: each
//! thread gets its own, so that a host never admits more than the limit whatever runs at once.
//!
//! Rules may ask for more than that: several limits for one descriptor, or that refused hits are not
//! counted. Only requests in a set of rules where one does take that way, which is in `several`.

mod counters;
mod judge;
pub mod key;
mod limits;
mod outcome;
mod rules_cache;
mod several;
mod standing;
mod token_bucket;
mod votes;

use std::sync::Arc;

pub use counters::{is_key_of, keys_of};
pub use limits::limits_of;
pub use outcome::{AppliedLimit, Code, DecideError, Decision, Status};
pub use standing::Standing;

use crate::clock::{Clock, CoarseClock};
use crate::counting::Counting;
use crate::descriptor::Descriptor;
use crate::region::{Call, Hits, Region};
use crate::rules::{Rule, RuleId, RuleSet};
use crate::table::{CountError, Counted, Gate, Key, NO_RULE, Open};
use judge::Judgement;
use limits::{drop_replaced, select};
use votes::{Vote, Votes};

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
        let request = Request {
            rules,
            domain,
            hits_addend,
            now_s: self.clock.now_s(),
        };
        let features = loaded.features();
        if features.any() {
            let replaced = if features.replaces {
                drop_replaced(rules, statuses)
            } else {
                Vec::new()
            };
            if features.several {
                *overall = self.decide_several(&request, descriptors, &replaced, statuses, key)?;
                return Ok(());
            }
        }
        let mut votes = Votes::default();
        for (descriptor, status) in descriptors.iter().zip(&mut *statuses) {
            if let Some(limit) = status.limit {
                self.apply(&request, descriptor, limit, status, key, &mut votes);
            }
        }
        *overall = votes.overall(rules.modes(), statuses)?;
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
        let target = request.target(descriptor, limit);
        let quota = target.rule.is_some_and(|rule| rule.quota_mode);
        let counting = limit.period.into();
        let key = self.key(request, descriptor, &target, counting, key_bytes);
        match self.count(request, descriptor, &target, &key, target.addend, &Open) {
            Err(error) => {
                let window = limit.period.window_at(request.now_s);
                status.reset_s = window.seconds_left(request.now_s);
                votes.add(Vote::Failed { error, quota });
            }
            Ok(counted) => {
                let judgement = Judgement::fixed(&counted, &limit, target.addend, request.now_s);
                judgement.fill_in(&target, status);
                self.record(&judgement, &target);
                votes.add(Vote::of(status.code, quota));
            }
        }
    }

    /// The key of the counter of a descriptor under a limit whose hits are counted in this way.
    #[inline(always)]
    fn key(
        &self,
        request: &Request<'_>,
        descriptor: &Descriptor<'_>,
        target: &Target<'_>,
        counting: Counting,
        key_bytes: &mut Vec<u8>,
    ) -> Key {
        let bytes = key::write(
            key_bytes,
            request.domain,
            descriptor.entries,
            counting,
            |level| target.shared_value(request, level),
        );
        Key {
            fingerprint: self.region.hasher().fingerprint(bytes),
            period: counting.period(),
        }
    }

    /// Counts in the counter of a descriptor under a limit, if the gate admits it.
    #[inline(always)]
    fn count<G: Gate>(
        &self,
        request: &Request<'_>,
        descriptor: &Descriptor<'_>,
        target: &Target<'_>,
        key: &Key,
        addend: u64,
        gate: &G,
    ) -> Result<Counted, CountError> {
        let label = || {
            let entries = descriptor.entries.iter().enumerate();
            let values = entries.map(|(level, entry)| {
                let shared = target.shared_value(request, level);
                (entry.key, shared.unwrap_or(entry.value))
            });
            (request.domain, values)
        };
        let call = Call {
            key,
            addend,
            now_s: request.now_s,
            gate,
            stats_index: target.rule.map_or(NO_RULE, |rule| rule.stats_index),
            allowed: target.limit.requests_per_unit,
        };
        self.region.count(&call, &self.clock, label)
    }

    /// Adds what was found to the statistics of the rule.
    #[inline(always)]
    fn record(&self, judgement: &Judgement, target: &Target<'_>) {
        if let Some(rule) = target.rule {
            let hits = Hits {
                before: judgement.before,
                addend: judgement.addend,
                limit: judgement.allowed,
                near_threshold: rule.near_threshold(),
                shadow: rule.shadow_mode,
            };
            self.region.record(rule.stats_index, hits);
        }
    }
}

/// What is the same for all descriptors of a request.
struct Request<'r> {
    rules: &'r RuleSet,
    domain: &'r [u8],
    hits_addend: u32,
    now_s: u64,
}

impl<'r> Request<'r> {
    /// What a descriptor counts under a limit.
    #[inline(always)]
    fn target(&self, descriptor: &Descriptor<'_>, limit: AppliedLimit) -> Target<'r> {
        let rule = limit.rule.and_then(|id| self.rules.rule(id));
        let for_all = || u64::from(self.hits_addend.max(1));
        Target {
            limit,
            rule,
            shared: rule
                .filter(|rule| rule.shared_levels() != 0)
                .and(limit.rule),
            addend: descriptor.hits_addend.unwrap_or_else(for_all),
        }
    }
}

/// One limit that a descriptor is held against.
struct Target<'r> {
    limit: AppliedLimit,
    /// The rule it comes from.
    rule: Option<&'r Rule>,
    /// That rule, if all values that match its pattern share a counter.
    shared: Option<RuleId>,
    /// Hits that are held against it.
    addend: u64,
}

impl Target<'_> {
    /// The text that stands for a level's value in the counter's key, where it is not the request's.
    #[inline]
    fn shared_value<'r>(&self, request: &Request<'r>, level: usize) -> Option<&'r [u8]> {
        self.shared
            .and_then(|id| request.rules.shared_value(id, level))
    }
}
