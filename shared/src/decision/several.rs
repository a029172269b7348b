//! Requests under rules that ask for more than one counted limit a descriptor: lists of limits, and limits
//! that count only what they admit.
//!
//! A limit that counts only what it admits (a *gated* one) is to be left alone by requests that anything
//! refuses, itself or another limit. So such a request goes through its limits twice: once to see whether
//! it passes, and once to count. The first look takes nothing; what other threads count in between may
//! turn a request away at the second, after some of its limits have counted it. A gated limit never
//! admits more than it allows for that: its gate is asked again in the step that adds.
//!
//! A descriptor that states a *cost* reports what was spent already: a gated limit that it does not fit refuses
//! it and charges it all the same, as far as the debt of its rule allows, whatever becomes of the request.

use super::judge::{Judgement, Room};
use super::token_bucket::BucketGate;
use super::votes::{Vote, Votes};
use super::{AppliedLimit, Code, Limiter, Request, Status, Target};
use crate::clock::Clock;
use crate::counting::Counting;
use crate::descriptor::Descriptor;
use crate::rules::{Algorithm, Rule, RuleId};
use crate::table::{CountError, Key, Open};

/// One limit of one descriptor.
struct Pending<'r> {
    /// Which descriptor.
    position: usize,
    target: Target<'r>,
    key: Key,
    counting: Counting,
    /// Whether it counts only what it admits.
    is_gated: bool,
    /// Hits beyond the limit that a cost may be charged; 0 if the descriptor states none.
    debt: u32,
}

impl Pending<'_> {
    /// The limit as answers say it: of a token bucket, its size and the time an empty one takes to fill.
    fn answered(&self) -> AppliedLimit {
        match self.counting {
            Counting::Windows(_) => self.target.limit,
            Counting::Tokens(bucket) => AppliedLimit {
                requests_per_unit: bucket.burst(),
                period: bucket.fill_time(),
                ..self.target.limit
            },
        }
    }

    fn room(&self, now_ms: u64) -> Room {
        let rule = self.target.rule;
        Room {
            allowed: self.target.limit.requests_per_unit,
            addend: self.target.addend,
            debt: self.debt,
            slides: rule.is_some_and(|rule| rule.algorithm == Algorithm::SlidingWindow),
            now_ms,
        }
    }
}

/// How to go about the limits of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// Only look.
    Look,
    /// Count what is to be counted of a request that passes.
    Admitted,
    /// Count what is to be counted of one that does not.
    Refused,
}

impl<C: Clock> Limiter<C> {
    /// Decides a request: `statuses` say which limit each descriptor begins with, and are filled in.
    #[cold]
    pub(super) fn decide_several(
        &self,
        request: &Request<'_>,
        descriptors: &[Descriptor<'_>],
        replaced: &[RuleId],
        statuses: &mut [Status],
        key_bytes: &mut Vec<u8>,
    ) -> Result<Code, CountError> {
        let mut pending = Vec::new();
        for (position, (descriptor, status)) in descriptors.iter().zip(&*statuses).enumerate() {
            for limit in limits(request, status, replaced) {
                let target = request.target(descriptor, limit);
                let counting = target.rule.and_then(Rule::counting);
                let counting = counting.unwrap_or(Counting::Windows(limit.period));
                let is_gated = request.is_gated(&target);
                pending.push(Pending {
                    position,
                    key: self.key(request, descriptor, &target, counting, key_bytes),
                    is_gated,
                    debt: if is_gated {
                        debt(descriptor, &target)
                    } else {
                        0
                    },
                    target,
                    counting,
                });
            }
        }
        let modes = request.rules.modes();
        let now_ms = self.clock.now_ms();
        let mut pass = Pass::Admitted;
        if pending.iter().any(|limit| limit.is_gated) {
            let mut seen = statuses.to_vec();
            let votes = self.go(
                request,
                descriptors,
                &pending,
                now_ms,
                Pass::Look,
                &mut seen,
            );
            if votes.overall(modes, &seen)? == Code::OverLimit {
                pass = Pass::Refused;
            }
        }
        let votes = self.go(request, descriptors, &pending, now_ms, pass, statuses);
        votes.overall(modes, statuses)
    }

    /// Goes through all limits once.
    fn go(
        &self,
        request: &Request<'_>,
        descriptors: &[Descriptor<'_>],
        pending: &[Pending<'_>],
        now_ms: u64,
        pass: Pass,
        statuses: &mut [Status],
    ) -> Votes {
        let mut votes = Votes::default();
        for limits in pending.chunk_by(|a, b| a.position == b.position) {
            let Some(first) = limits.first() else {
                continue;
            };
            let (Some(descriptor), Some(status)) = (
                descriptors.get(first.position),
                statuses.get_mut(first.position),
            ) else {
                continue;
            };
            let quota = first.target.rule.is_some_and(|rule| rule.quota_mode);
            let mut worst: Option<Status> = None;
            let mut failed = None;
            for limit in limits {
                let target = &limit.target;
                let mut own = Status {
                    limit: Some(limit.answered()),
                    rule: target.limit.rule,
                    ..Status::UNLIMITED_BY_ANY_RULE
                };
                match self.judge(request, descriptor, limit, now_ms, pass) {
                    Ok(judgement) => {
                        judgement.fill_in(target, &mut own);
                        if pass != Pass::Look {
                            self.record(&judgement, target);
                        }
                    }
                    Err(error) => {
                        failed = Some(error);
                        let window = limit.key.period.window_at(request.now_s);
                        own.reset_s = window.seconds_left(request.now_s);
                    }
                }
                if worst.is_none_or(|worst| tells_more(&own, &worst)) {
                    worst = Some(own);
                }
            }
            if let Some(worst) = worst {
                *status = worst;
            }
            votes.add(match failed {
                Some(error) if status.code == Code::Ok => Vote::Failed { error, quota },
                _ => Vote::of(status.code, quota),
            });
        }
        votes
    }

    /// Counts one limit, or looks at it.
    fn judge(
        &self,
        request: &Request<'_>,
        descriptor: &Descriptor<'_>,
        pending: &Pending<'_>,
        now_ms: u64,
        pass: Pass,
    ) -> Result<Judgement, CountError> {
        let (target, key) = (&pending.target, &pending.key);
        let addend = target.addend;
        if pass == Pass::Look || pending.is_gated {
            let is_counted = match pass {
                Pass::Look => false,
                Pass::Admitted => true,
                Pass::Refused => pending.debt > 0,
            };
            let added = if is_counted { addend } else { 0 };
            if let Counting::Tokens(bucket) = pending.counting {
                let gate = BucketGate {
                    bucket,
                    addend,
                    debt: pending.debt,
                    now_ms,
                    region: &self.region,
                };
                let counted = self.count(request, descriptor, target, key, added, &gate)?;
                return Ok(gate.judge(&counted));
            }
            let room = pending.room(now_ms);
            let counted = self.count(request, descriptor, target, key, added, &room)?;
            return Ok(room.judge(&counted, request.now_s));
        }
        let counted = self.count(request, descriptor, target, key, addend, &Open)?;
        Ok(Judgement::fixed(
            &counted,
            &target.limit,
            addend,
            request.now_s,
        ))
    }
}

/// Hits beyond a limit that a descriptor may be charged, if it states a cost: several hits of its own, or, where
/// the rule says how far its debt may go, several hits in any way.
fn debt(descriptor: &Descriptor<'_>, target: &Target<'_>) -> u32 {
    let is_said = target.rule.is_some_and(|rule| rule.debt.is_some());
    if target.addend < 2 || !(descriptor.hits_addend.is_some() || is_said) {
        return 0;
    }
    let own_limit = target.limit.requests_per_unit;
    // A per-request override is a rule that says nothing.
    target
        .rule
        .map_or_else(|| own_limit.min(u32::MAX - own_limit), Rule::debt)
}

impl Request<'_> {
    /// Whether a limit counts only what it admits.
    fn is_gated(&self, target: &Target<'_>) -> bool {
        let of_requests = self.rules.modes().denied_uncounted;
        target.rule.map_or(of_requests, Rule::is_gated)
    }
}

/// The limits that a descriptor is held against: the one its status has, and those after it in its list.
fn limits<'q>(
    request: &'q Request<'_>,
    status: &Status,
    replaced: &'q [RuleId],
) -> impl Iterator<Item = AppliedLimit> + use<'q> {
    let first = status.limit;
    let further = first
        .and_then(|limit| limit.rule)
        .into_iter()
        .flat_map(|id| request.rules.limits_from(id).skip(1))
        .filter(|id| !replaced.contains(id))
        .filter_map(|id| AppliedLimit::of(id, request.rules.rule(id)?));
    first.into_iter().chain(further)
}

/// Whether the answer should rather speak of `this` limit than of `that` one, which comes before it.
fn tells_more(this: &Status, that: &Status) -> bool {
    match (this.code, that.code) {
        (Code::OverLimit, Code::Ok) => true,
        (Code::Ok, Code::Ok) => this.remaining < that.remaining,
        // A request that waits for the longer one passes both.
        (Code::OverLimit, Code::OverLimit) => this.reset_s > that.reset_s,
        (Code::Ok, Code::OverLimit) => false,
    }
}
