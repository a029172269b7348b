//! How many keys count in the region, and for which rules: its slots are looked at in parts, a part a second,
//! so that a large region costs no more at a time than a small one.

use std::collections::HashMap;

use hivemind_shared::region::Region;

/// Slots looked at in one go, at least. It takes about two milliseconds.
const PART_SLOTS: usize = 131_072;

/// Parts that a region has at most: then the numbers are ten seconds old.
const PARTS_MAX: usize = 10;

/// The keys that count, as far as one way through the slots found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveKeys {
    /// How many there are.
    pub total: u64,
    /// By statistics index of the rule; `None` for limits of requests, and for what only peers have asked for.
    by_rule: HashMap<Option<u32>, u64>,
}

impl LiveKeys {
    /// The rule with the most of them, and how many those are.
    pub fn most(&self) -> Option<(Option<u32>, u64)> {
        let most = self
            .by_rule
            .iter()
            .max_by_key(|(rule, keys)| (**keys, **rule));
        most.map(|(rule, keys)| (*rule, *keys))
    }
}

/// A count that goes on from part to part.
#[derive(Debug, Default)]
pub struct Census {
    region_id: u64,
    next_slot: usize,
    counting: LiveKeys,
    last: Option<LiveKeys>,
}

impl Census {
    /// Looks at the next part of the region at a time, in Unix seconds.
    pub fn go_on(&mut self, region: &Region, now_s: u64) {
        if self.region_id != region.region_id() {
            *self = Self {
                region_id: region.region_id(),
                ..Self::default()
            };
        }
        let slots = usize::try_from(region.slot_count()).unwrap_or(usize::MAX);
        let part = PART_SLOTS.max(slots.div_ceil(PARTS_MAX));
        let end = self.next_slot.saturating_add(part).min(slots);
        for (_, reading) in region.readings_in(self.next_slot..end) {
            if reading.counts_at(now_s) {
                self.counting.total += 1;
                let of_rule = self.counting.by_rule.entry(reading.rule_stats_index());
                *of_rule.or_default() += 1;
            }
        }
        self.next_slot = end;
        if end == slots {
            self.next_slot = 0;
            self.last = Some(std::mem::take(&mut self.counting));
        }
    }

    /// What the last way through all slots found; `None` before the first.
    pub const fn last(&self) -> Option<&LiveKeys> {
        self.last.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use hivemind_shared::clock::ManualClock;
    use hivemind_shared::decision::{Decision, Limiter};
    use hivemind_shared::descriptor::{Descriptor, Entry, LimitOverride};
    use hivemind_shared::region::RegionOptions;
    use hivemind_shared::rules::source::{Options, parse};
    use hivemind_shared::window::Unit;
    use hivemind_shared::yaml::Source;

    use super::*;

    const NOW_S: u64 = 1_800_000_000;

    #[test]
    fn keys_are_counted_by_rule_while_their_window_lasts() {
        let options = RegionOptions {
            max_keys: 100,
            ..RegionOptions::default()
        };
        let mut owned = Region::anonymous(&options).unwrap();
        let yaml = "
domain: edge
descriptors:
  - key: user
    rate_limit: {unit: day, requests_per_unit: 5}
  - key: second
    rate_limit: {unit: second, requests_per_unit: 5}
";
        let loaded = parse(&[Source::new("rules.yaml", yaml)], &Options::default()).unwrap();
        let rules = owned.publish_rules(&loaded.rules).unwrap().rules;
        let limiter = Limiter::new(owned.region().clone(), ManualClock::at(NOW_S));
        let mut decision = Decision::new();
        let mut ask = |key: &str, value: &str, limit| {
            let entries = [Entry::new(key, value)];
            let descriptor = Descriptor {
                limit,
                ..Descriptor::new(&entries)
            };
            limiter
                .decide(b"edge", &[descriptor], 1, &mut decision)
                .unwrap();
        };
        for user in ["a", "b", "c"] {
            ask("user", user, None);
        }
        ask("second", "x", None);
        let limit = LimitOverride {
            requests_per_unit: 1,
            period: Unit::Year.into(),
        };
        ask("other", "y", Some(limit));
        let mut census = Census::default();
        assert_eq!(census.last(), None);
        census.go_on(owned.region(), NOW_S);
        let user = rules
            .rules()
            .find(|(id, _)| rules.path(*id).to_string() == "edge.user");
        let user = user.unwrap().1.stats_index;
        assert_eq!(census.last().unwrap().total, 5);
        assert_eq!(census.last().unwrap().most(), Some((Some(user), 3)));
        census.go_on(owned.region(), NOW_S + 2);
        assert_eq!(census.last().unwrap().total, 4);
    }
}
