//! What a decision says.

use super::rules_cache::Loaded;
use super::votes::{Vote, Votes};
use crate::region::LoadRulesError;
use crate::rules::{Modes, Rule, RuleId, RuleLimit, RuleSet};
use crate::table::CountError;
use crate::window::Period;

/// Whether a request, or one of its descriptors, is within its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// Within, or without a limit.
    Ok,
    /// Over.
    OverLimit,
}

/// The limit a descriptor was held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppliedLimit {
    /// Hits allowed in one window; of a token bucket its size.
    pub requests_per_unit: u32,
    /// Length of the window; of a token bucket the time an empty one takes to fill.
    pub period: Period,
    /// The rule it comes from; `None` when the request brought it along.
    pub rule: Option<RuleId>,
}

impl AppliedLimit {
    /// The limit of a rule; `None` for an unlimited one.
    #[inline]
    pub(super) fn of(id: RuleId, rule: &Rule) -> Option<Self> {
        match rule.limit {
            RuleLimit::Unlimited => None,
            RuleLimit::Limited {
                requests_per_unit,
                period,
            } => Some(Self {
                requests_per_unit,
                period,
                rule: Some(id),
            }),
        }
    }
}

/// What became of one descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Within its limit or over; a rule in shadow mode is never over.
    pub code: Code,
    /// The limit it was held against; `None` when there was none, or the rule is unlimited. Of several it
    /// is the one that it is over for the longest, or else the first of those with the fewest hits left.
    pub limit: Option<AppliedLimit>,
    /// Hits left in this window: 0 when over or without a limit, `u32::MAX` for an unlimited rule. Of a
    /// rule that does not count what it refuses it is what is left, also when more was asked for.
    pub remaining: u32,
    /// Seconds until the window ends, at least 1, or until the request passes in a sliding window that
    /// refused it; 0 without a limit.
    pub reset_s: u32,
    /// The rule that matched, unlimited ones included; `None` for none, for a request's own limit, and
    /// for a rule that another one replaced.
    pub rule: Option<RuleId>,
}

impl Status {
    /// The status of a descriptor that no limit applies to.
    pub const UNLIMITED_BY_ANY_RULE: Self = Self {
        code: Code::Ok,
        limit: None,
        remaining: 0,
        reset_s: 0,
        rule: None,
    };

    /// Whether a rule says that there is no limit.
    pub(super) fn is_unlimited_by_rule(&self) -> bool {
        self.limit.is_none() && self.rule.is_some()
    }

    /// Whether it is over its limit.
    pub(super) fn is_over(&self) -> bool {
        self.code == Code::OverLimit
    }
}

/// The answer to a request, and the memory it is made in: keep one for each thread and hand it in again
/// and again, and deciding allocates nothing.
#[derive(Debug)]
pub struct Decision {
    /// Whether the request is within its limits.
    pub overall: Code,
    /// One status for each descriptor, in their order.
    pub statuses: Vec<Status>,
    pub(super) loaded: Option<Loaded>,
    pub(super) key: Vec<u8>,
}

impl Default for Decision {
    fn default() -> Self {
        Self {
            overall: Code::Ok,
            statuses: Vec::new(),
            loaded: None,
            key: Vec::new(),
        }
    }
}

impl Decision {
    /// An empty decision.
    pub fn new() -> Self {
        Self::default()
    }

    /// The rules the last decision was made by; they give meaning to the [`RuleId`]s in it.
    pub fn rules(&self) -> Option<&RuleSet> {
        self.loaded.as_ref().and_then(Loaded::rules)
    }

    /// The generation of those rules.
    pub fn rules_generation(&self) -> Option<u64> {
        self.loaded.as_ref().and_then(Loaded::rules_generation)
    }

    /// The statuses of the limits that refused the request, in their order; none when it passes. A used-up
    /// quota is among them only if no limit refused the request that is none.
    pub fn refusals(&self) -> impl Iterator<Item = &Status> {
        let is_over = self.overall == Code::OverLimit;
        let over = move |status: &&Status| is_over && status.is_over();
        let by_quotas = self
            .statuses
            .iter()
            .filter(over)
            .all(|it| self.is_quota(it));
        let statuses = self.statuses.iter().filter(over);
        statuses.filter(move |it| by_quotas || !self.is_quota(it))
    }

    /// The status that headers describe, with its limit: of those that refused the request, or else of all
    /// that have a limit, the first of those with the fewest hits left. `None` when no limit applied.
    #[inline]
    pub fn nearest(&self) -> Option<(&Status, AppliedLimit)> {
        match self.overall {
            Code::Ok => fewest_left(self.statuses.iter()),
            Code::OverLimit => self.nearest_refusal(),
        }
    }

    #[cold]
    fn nearest_refusal(&self) -> Option<(&Status, AppliedLimit)> {
        fewest_left(self.refusals())
    }

    /// Whether a descriptor is a quota: one that is used up refuses a request only with all the others.
    pub fn is_quota(&self, status: &Status) -> bool {
        self.rules().is_some_and(|rules| {
            let rule = status.rule.and_then(|id| rules.rule(id));
            rules.modes().quota || rule.is_some_and(|rule| rule.quota_mode)
        })
    }

    /// The rule that refused the request, of several the first; `None` when it passes, and when the limit
    /// that it is over is its own.
    pub fn fired(&self) -> Option<RuleId> {
        self.refusals().find_map(|status| status.rule)
    }

    /// Whether the request is over its limits and passes because every request does ([`Modes::shadow`]).
    pub fn is_shadowed(&self) -> bool {
        match self.rules() {
            Some(rules) if rules.modes().shadow && self.overall == Code::Ok => {
                self.would_be_over(rules)
            }
            _ => false,
        }
    }

    #[cold]
    fn would_be_over(&self, rules: &RuleSet) -> bool {
        let mut votes = Votes::default();
        for status in self.statuses.iter().filter(|status| status.limit.is_some()) {
            let rule = status.rule.and_then(|id| rules.rule(id));
            votes.add(Vote::of(
                status.code,
                rule.is_some_and(|rule| rule.quota_mode),
            ));
        }
        let modes = Modes {
            shadow: false,
            ..rules.modes()
        };
        votes.overall(modes, &self.statuses) == Ok(Code::OverLimit)
    }

    /// The name of the rule a limit comes from, for answers; empty when it has none, and when it is no text for
    /// a header, where Envoy writes it as it is: a line break would begin another header.
    pub fn limit_name(&self, limit: &AppliedLimit) -> &str {
        let rule = limit.rule.and_then(|id| self.rules()?.rule(id));
        let name = rule.map(|rule| &*rule.name);
        name.filter(|name| is_header_text(name)).unwrap_or_default()
    }
}

/// Whether a text can be sent in a header.
fn is_header_text(text: &str) -> bool {
    text.bytes().all(|byte| byte >= b' ' && byte != 0x7f)
}

/// The first of the statuses that have a limit, of those with the fewest hits left.
#[inline]
fn fewest_left<'s>(
    statuses: impl Iterator<Item = &'s Status>,
) -> Option<(&'s Status, AppliedLimit)> {
    statuses
        .filter_map(|status| Some((status, status.limit?)))
        .min_by_key(|(status, _)| status.remaining)
}

/// Why there is no decision. What to do then is the failure mode's business, not the limiter's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecideError {
    /// There are no rules to decide by. Nothing was counted.
    #[error(transparent)]
    NoRules(#[from] LoadRulesError),
    /// A descriptor could not be counted, and no other one was over its limit. The others were counted.
    #[error(transparent)]
    Uncounted(#[from] CountError),
}

impl DecideError {
    /// The cause in one word, for statistics.
    pub const fn cause(&self) -> &'static str {
        match self {
            Self::NoRules(_) => "no_rules",
            Self::Uncounted(CountError::Full) => "region_full",
            Self::Uncounted(CountError::Contended) => "contended",
        }
    }

    /// Every cause there is.
    pub const CAUSES: [&'static str; 3] = ["no_rules", "region_full", "contended"];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_break_in_a_name_is_no_header_text() {
        assert!(is_header_text("per-ip, or \"so\""));
        assert!(is_header_text("für"));
        assert!(!is_header_text("a\r\nset-cookie: b"));
        assert!(!is_header_text("a\x7f"));
    }
}
