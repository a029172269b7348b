//! Which limit a counter is held against.

use std::collections::HashMap;

use crate::counting::Counting;
use crate::descriptor::Entry;
use crate::region::{Counter, Label};
use crate::rules::{Lookup, Rule, RuleId, RuleLimit, RuleSet};
use crate::window::Period;

/// Finds limits in the rules that are published in a region.
#[derive(Debug, Default)]
pub struct Limits {
    rules: RuleSet,
    by_stats_index: HashMap<u32, Vec<RuleId>>,
}

/// A counter's limit and the rule it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Hits allowed in one window of the counter: of a token bucket, what flows in meanwhile.
    pub hits_per_window: u64,
    /// The rule, of [`Limits::rules`].
    pub rule: RuleId,
}

impl Limits {
    /// Those of these rules.
    pub fn new(rules: RuleSet) -> Self {
        let mut by_stats_index: HashMap<_, Vec<_>> = HashMap::new();
        for (id, rule) in rules.rules() {
            by_stats_index.entry(rule.stats_index).or_default().push(id);
        }
        Self {
            rules,
            by_stats_index,
        }
    }

    /// The rules the limits are from.
    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// The limit of a counter; `None` when the request brought it along, when no rule applies to the
    /// counter any more, and when it cannot be told which one does.
    pub fn of(&self, counter: &Counter) -> Option<Limit> {
        let label = counter.label.as_ref().filter(|label| is_exact(label));
        match (label, counter.rule_stats_index) {
            (Some(label), Some(_)) => self.of_label(label, counter.period),
            // Which limits peers hold it against is not known; by the rules here it is this one.
            (Some(label), None) if counter.is_of_peers => self.of_label(label, counter.period),
            (None, Some(stats_index)) => self.of_stats_index(stats_index, counter.period),
            (_, None) => None,
        }
    }

    /// Asks the rules as the decision does.
    fn of_label(&self, label: &Label, period: Period) -> Option<Limit> {
        let entries: Vec<_> = label
            .entries
            .iter()
            .map(|(key, value)| Entry::new(key, value))
            .collect();
        match self.rules.find(label.domain.as_bytes(), &entries) {
            Lookup::Rule(rule) => self
                .rules
                .limits_from(rule)
                .find_map(|rule| self.limit(rule, period)),
            Lookup::NoRule | Lookup::UnknownDomain => None,
        }
    }

    /// Goes by the statistics of the rule that decided last. Rules may share those; then the answer is
    /// theirs only if they agree.
    fn of_stats_index(&self, stats_index: u32, period: Period) -> Option<Limit> {
        let mut candidates = self
            .by_stats_index
            .get(&stats_index)?
            .iter()
            .filter_map(|rule| self.limit(*rule, period));
        let first = candidates.next()?;
        candidates.next().is_none().then_some(first)
    }

    /// The limit of a rule, if it counts by this period: a counter of another one was left behind by
    /// rules from before.
    fn limit(&self, rule: RuleId, period: Period) -> Option<Limit> {
        let known = self.rules.rule(rule)?;
        let RuleLimit::Limited {
            requests_per_unit, ..
        } = known.limit
        else {
            return None;
        };
        let counting = known.counting().filter(|it| it.period() == period)?;
        let hits_per_window = match counting {
            Counting::Windows(_) => requests_per_unit.into(),
            Counting::Tokens(bucket) => bucket.tokens_per_window(),
        };
        Some(Limit {
            hits_per_window,
            rule,
        })
    }

    /// The rule of a limit.
    pub fn rule(&self, limit: Limit) -> Option<&Rule> {
        self.rules.rule(limit.rule)
    }
}

/// Whether a label says all of the key it stands for, as it was: neither cut nor with bytes replaced
/// that were not UTF-8.
fn is_exact(label: &Label) -> bool {
    let is_whole = |text: &str| !text.contains(char::REPLACEMENT_CHARACTER);
    let mut pieces = label.entries.iter().flat_map(|(key, value)| [key, value]);
    !label.truncated && is_whole(&label.domain) && pieces.all(|piece| is_whole(piece))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::Fingerprint;
    use crate::rules::assign_stats;
    use crate::rules::source::{Options, parse};
    use crate::window::Unit;
    use crate::yaml::Source;

    const RULES: &str = "
domain: edge
descriptors:
  - key: user
    rate_limit: {unit: hour, requests_per_unit: 3}
  - key: path
    value: files/*
    share_threshold: true
    rate_limit: {unit: hour, requests_per_unit: 7}
  - key: probe
    rate_limit: {unlimited: true}
";

    fn limits() -> Limits {
        let files = [Source::new("rules.yaml", RULES)];
        let mut rules = parse(&files, &Options::default()).unwrap().rules;
        assign_stats(&mut rules, None, 100);
        Limits::new(rules)
    }

    fn counter(label: Option<(&str, &str)>, rule_stats_index: impl Into<Option<u32>>) -> Counter {
        Counter {
            fingerprint: Fingerprint { high: 1, low: 2 },
            period: Unit::Hour.into(),
            window: Period::from(Unit::Hour).window_at(0),
            local: 1,
            remote: 0,
            label: label.map(|(key, value)| Label::of(b"edge", &[Entry::new(key, value)])),
            rule_stats_index: rule_stats_index.into(),
            is_of_peers: false,
            last_use_s: 0,
        }
    }

    fn limit_of(counter: &Counter) -> Option<u64> {
        limits().of(counter).map(|limit| limit.hits_per_window)
    }

    #[test]
    fn a_labelled_counter_is_looked_up_as_a_request_would_be() {
        // Whatever the statistics index says.
        assert_eq!(limit_of(&counter(Some(("user", "ann")), 1)), Some(3));
        assert_eq!(limit_of(&counter(Some(("path", "files/*")), 0)), Some(7));
        assert_eq!(limit_of(&counter(Some(("other", "x")), 0)), None);
        assert_eq!(limit_of(&counter(Some(("probe", "x")), 0)), None);
    }

    #[test]
    fn a_counter_of_another_unit_than_its_rule_has_no_limit() {
        let mut left_behind = counter(Some(("user", "ann")), 0);
        left_behind.period = Unit::Minute.into();
        assert_eq!(limit_of(&left_behind), None);
    }

    #[test]
    fn a_limit_the_request_brought_along_is_not_the_rules() {
        let counter = counter(Some(("user", "ann")), None);
        assert_eq!(limit_of(&counter), None);
    }

    #[test]
    fn a_counter_that_only_peers_have_asked_for_is_held_against_the_rule_of_its_name() {
        let of_peers = |label| Counter {
            is_of_peers: true,
            ..counter(label, None)
        };
        assert_eq!(limit_of(&of_peers(Some(("user", "ann")))), Some(3));
        assert_eq!(limit_of(&of_peers(None)), None);
        let mut truncated = of_peers(Some(("user", "an")));
        truncated.label.as_mut().unwrap().truncated = true;
        assert_eq!(limit_of(&truncated), None);
    }

    #[test]
    fn without_a_usable_label_the_rule_that_decided_last_is_taken() {
        assert_eq!(limit_of(&counter(None, 1)), Some(7));
        assert_eq!(limit_of(&counter(None, 99)), None);
        // These bytes would have found another rule.
        let inexact = counter(Some(("path", "\u{FFFD}")), 1);
        assert_eq!(limit_of(&inexact), Some(7));
        let mut truncated = counter(Some(("user", "an")), 1);
        truncated.label.as_mut().unwrap().truncated = true;
        assert_eq!(limit_of(&truncated), Some(7));
    }

    #[test]
    fn rules_that_share_statistics_are_not_guessed_between() {
        let mut limits = limits();
        let all: Vec<RuleId> = limits.rules.rules().map(|(id, _)| id).collect();
        limits.by_stats_index.insert(50, all);
        assert_eq!(limits.of(&counter(None, 50)), None);
    }
}
