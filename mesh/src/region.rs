//! A region's counters as the mesh wants them.

use std::sync::Arc;

use hivemind_shared::clock::Clock;
use hivemind_shared::decision::is_key_of;
use hivemind_shared::region::{Name, Note, Region};
use hivemind_shared::rules::{Algorithm, RuleLimit, RuleSet};
use hivemind_shared::table::{Beside, CountError, Key, SlotReading};
use hivemind_shared::window::{Period, Window};

use crate::counters::Counters;

/// The counters of a region.
#[derive(Debug)]
pub struct RegionCounters<C> {
    region: Arc<Region>,
    clock: C,
    /// Limits by the rules' statistics index, of the rules of `generation`.
    limits: Vec<Option<u32>>,
    /// Periods of these rules that are longer than one unit, in order.
    periods: Vec<Period>,
    /// These rules.
    rules: RuleSet,
    generation: u64,
}

impl<C: Clock> RegionCounters<C> {
    /// Those of this region, by this clock.
    pub fn new(region: Arc<Region>, clock: C) -> Self {
        Self {
            region,
            clock,
            limits: Vec::new(),
            periods: Vec::new(),
            rules: RuleSet::default(),
            generation: 0,
        }
    }

    /// The region.
    pub fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// Reads the limits again if other rules were published.
    fn refresh_limits(&mut self) {
        let generation = self.region.rules_generation();
        if generation != self.generation
            && let Ok((generation, rules)) = self.region.load_rules()
        {
            self.generation = generation;
            self.limits = limits(&rules);
            self.periods = periods(&rules);
            self.rules = rules;
        }
    }
}

/// The limit of each statistics index. Rules that share one count with the smallest of their limits: that
/// errs towards sending more than is needed.
fn limits(rules: &RuleSet) -> Vec<Option<u32>> {
    let mut limits: Vec<Option<u32>> = Vec::new();
    for (_, rule) in rules.rules() {
        // What is left of it depends on more than the present window: as if nobody knew its limit, every
        // change is news. Hits that it refuses are not counted, so a flood makes none.
        if rule.algorithm != Algorithm::FixedWindow {
            continue;
        }
        let RuleLimit::Limited {
            requests_per_unit, ..
        } = rule.limit
        else {
            continue;
        };
        let index = rule.stats_index as usize;
        if index >= limits.len() {
            limits.resize(index + 1, None);
        }
        let known = limits[index].unwrap_or(u32::MAX);
        limits[index] = Some(known.min(requests_per_unit));
    }
    limits
}

/// The periods of rules that are longer than one unit, each once and in order.
fn periods(rules: &RuleSet) -> Vec<Period> {
    let counted = rules.rules().filter_map(|(_, rule)| rule.counting());
    let mut periods: Vec<Period> = counted
        .map(|counting| counting.period())
        .filter(|period| period.multiplier() > 1)
        .collect();
    periods.sort_unstable();
    periods.dedup();
    periods
}

impl<C: Clock> Counters for RegionCounters<C> {
    fn sweep(&mut self, visit: &mut dyn FnMut(&SlotReading)) {
        self.refresh_limits();
        self.region.sweep(visit);
    }

    fn scan(&mut self, visit: &mut dyn FnMut(&SlotReading)) {
        self.refresh_limits();
        self.region.scan(visit);
    }

    fn read(&self, key: &Key) -> Option<SlotReading> {
        self.region.reading(key)
    }

    fn put_remote(&mut self, key: &Key, window: Window, hits: i64) -> Result<(), CountError> {
        self.region.put_remote(key, window, hits, &self.clock)
    }

    fn put_forgiven(
        &mut self,
        key: &Key,
        window: Window,
        beside: Beside,
    ) -> Result<(), CountError> {
        self.region.put_forgiven(key, window, beside, &self.clock)
    }

    fn name(&self, key: &Key) -> Option<Name> {
        self.region.name(key)
    }

    fn lacks_name(&self, key: &Key) -> bool {
        self.region.lacks_name(key)
    }

    fn put_name(&mut self, key: &Key, name: &Name) {
        // A key is a hash of its name. Of a part of the name that does not tell, so it is shown as a part, and
        // nothing goes by it.
        let is_proven = !name.is_truncated();
        let (domain, entries) = name.parts();
        let hasher = self.region.hasher();
        if !is_proven || is_key_of(key, &self.rules, hasher, domain, &entries) {
            self.region.put_name(key, name, is_proven);
        }
    }

    fn forgiven(&self) -> Vec<Note> {
        self.region.forgiven().collect()
    }

    fn periods(&self) -> &[Period] {
        &self.periods
    }

    fn limit(&self, rule: u32) -> Option<u32> {
        self.limits.get(rule as usize).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use hivemind_shared::clock::ManualClock;
    use hivemind_shared::decision::{Decision, Limiter};
    use hivemind_shared::descriptor::{Descriptor, Entry, LimitOverride};
    use hivemind_shared::region::{OwnedRegion, RegionOptions};
    use hivemind_shared::rules::source::{Options, parse};
    use hivemind_shared::window::Unit;
    use hivemind_shared::yaml::Source;

    use super::*;

    const NOW_S: u64 = 1_800_000_000;

    struct Host {
        region: OwnedRegion,
        counters: RegionCounters<ManualClock>,
    }

    impl Host {
        fn new(label_bytes: u64) -> Self {
            let options = RegionOptions {
                max_keys: 10,
                label_bytes,
                hash_key: Some([7; 16]),
                ..RegionOptions::default()
            };
            let mut region = Region::anonymous(&options).unwrap();
            let files = [Source::new("rules.yaml", "domain: edge")];
            let rules = parse(&files, &Options::default()).unwrap().rules;
            region.publish_rules(&rules).unwrap();
            let clock = ManualClock::at(NOW_S);
            let counters = RegionCounters::new(Arc::clone(region.region()), clock);
            Self { region, counters }
        }

        /// Counts a hit, under a per-request override.
        fn hit(&self, domain: &str, value: &str) {
            let limiter = Limiter::new(Arc::clone(self.region.region()), ManualClock::at(NOW_S));
            let entries = [Entry::new("user", value)];
            let descriptor = Descriptor {
                limit: Some(LimitOverride {
                    requests_per_unit: 9,
                    period: Unit::Day.into(),
                }),
                ..Descriptor::new(&entries)
            };
            let mut decision = Decision::new();
            limiter
                .decide(domain.as_bytes(), &[descriptor], 1, &mut decision)
                .unwrap();
        }

        fn key(&self) -> Key {
            let counter = self.region.region().counters(NOW_S).next().unwrap();
            Key {
                fingerprint: counter.fingerprint,
                period: counter.period,
            }
        }

        /// Puts in what a peer counted for a key.
        fn put_remote(&mut self, key: &Key) {
            let window = key.period.window_at(NOW_S);
            self.counters.put_remote(key, window, 5).unwrap();
        }
    }

    #[test]
    fn a_name_is_taken_in_when_the_key_is_of_it_and_nobody_has_named_it_here() {
        let ours = Host::new(64);
        ours.hit("edge", "ann");
        let key = ours.key();
        let name = ours.counters.name(&key).unwrap();
        assert_eq!(name, Name::of(b"edge", &[Entry::new("user", "ann")]));

        let mut theirs = Host::new(64);
        theirs.counters.put_name(&key, &name);
        assert!(!theirs.counters.lacks_name(&key), "it has no slot");
        theirs.put_remote(&key);
        assert!(theirs.counters.lacks_name(&key));
        for lie in [
            Name::of(b"edge", &[Entry::new("user", "bob")]),
            Name::of(b"other", &[Entry::new("user", "ann")]),
            Name::of(b"edge", &[]),
            Name::of(b"edge", &[Entry::new("user", "ann"), Entry::new("", "")]),
        ] {
            theirs.counters.put_name(&key, &lie);
            assert_eq!(theirs.counters.name(&key), None, "{lie:?}");
        }
        theirs.counters.put_name(&key, &name);
        assert_eq!(theirs.counters.name(&key), Some(name.clone()));
        // A part of another name: nothing replaces what is known.
        let part = Name::of(b"edge", &[Entry::new("user", &"x".repeat(99))]).cut(56);
        theirs.counters.put_name(&key, &part);
        assert_eq!(theirs.counters.name(&key), Some(name));
    }

    #[test]
    fn a_part_of_a_name_is_shown_until_somebody_asks_here() {
        let value = "v".repeat(90);
        let ours = Host::new(64);
        ours.hit("edge", &value);
        let key = ours.key();
        let part = ours.counters.name(&key).unwrap();
        assert!(part.is_truncated() && part.text().len() == 56, "{part:?}");

        let mut theirs = Host::new(128);
        theirs.put_remote(&key);
        theirs.counters.put_name(&key, &part);
        assert_eq!(theirs.counters.name(&key), Some(part));
        theirs.hit("edge", &value);
        let whole = Name::of(b"edge", &[Entry::new("user", &value)]);
        assert_eq!(theirs.counters.name(&key), Some(whole.clone()));

        // What is whole is cut to the room that there is.
        let mut small = Host::new(64);
        small.put_remote(&key);
        small.counters.put_name(&key, &whole);
        assert_eq!(small.counters.name(&key), Some(whole.cut(56)));
    }
}
