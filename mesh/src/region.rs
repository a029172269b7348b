//! A region's counters as the mesh wants them.

use std::sync::Arc;

use hivemind_shared::clock::Clock;
use hivemind_shared::region::{Note, Region};
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
