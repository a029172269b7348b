//! Goes through the counters of the rules that want series, and adds up what they grew by.

use std::collections::hash_map::Entry as Place;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use hivemind_shared::descriptor::Entry;
use hivemind_shared::fingerprint::Fingerprint;
use hivemind_shared::region::Region;
use hivemind_shared::rules::{Lookup, RuleId, RuleSet};
use hivemind_shared::table::SlotReading;
use hivemind_shared::table::words::Life;

use super::growth::{Growth, Mark};
use super::series::{Name, Series, SeriesTable};

/// Every so many looks nothing is left out. Others leave slots alone that nobody has counted in.
const THOROUGH_EVERY: u64 = 40;

/// How far behind the time of its hit a slot's time of last use may be.
const USE_LAG_S: u64 = 2;

/// Why hits are in no series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// There are `metrics.max_series` already.
    NoRoom,
    /// The region does not have the whole key in readable form: `region.label_bytes` is too small for it.
    UnreadableKey,
}

impl Dropped {
    /// All of them, in order.
    pub const ALL: [Self; 2] = [Self::NoRoom, Self::UnreadableKey];

    /// Its name among the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoRoom => "no_room",
            Self::UnreadableKey => "unreadable_key",
        }
    }
}

/// Hits that are in no series, by cause.
pub type DroppedHits = [u64; Dropped::ALL.len()];

/// What is known of the counters, and the series.
#[derive(Debug)]
pub(super) struct Observer {
    /// What was looked at last.
    region: Option<Arc<Region>>,
    rules: Arc<RuleSet>,
    /// Statistics indexes of the rules that want series.
    wanted: HashSet<u32>,
    slots: HashMap<usize, Known>,
    series: SeriesTable,
    dropped: DroppedHits,
    looks: u64,
    /// When the last look was, Unix seconds.
    looked_s: u64,
}

/// What is known of one slot.
#[derive(Debug)]
struct Known {
    fingerprint: Fingerprint,
    life: Life,
    mark: Mark,
    /// Its rule and series, once it has hits in one.
    series: Option<(RuleId, Arc<Name>)>,
    /// Number of the look that it was last read in.
    look: u64,
}

impl Known {
    fn new(reading: &SlotReading) -> Self {
        Self {
            fingerprint: reading.key.fingerprint,
            life: reading.place.life,
            mark: Mark::default(),
            series: None,
            look: 0,
        }
    }

    fn is_of(&self, reading: &SlotReading) -> bool {
        self.life == reading.place.life && self.fingerprint == reading.key.fingerprint
    }
}

impl Observer {
    pub(super) fn new(series_max: usize) -> Self {
        Self {
            region: None,
            rules: Arc::default(),
            wanted: HashSet::new(),
            slots: HashMap::new(),
            series: SeriesTable::new(series_max),
            dropped: DroppedHits::default(),
            looks: 0,
            looked_s: 0,
        }
    }

    pub(super) fn series(&self) -> Vec<Series> {
        self.series.list()
    }

    pub(super) fn dropped(&self) -> DroppedHits {
        self.dropped
    }

    /// Adds what the counters of `region` grew by since the last look.
    ///
    /// What is there already when a region or rules are looked at for the first time is not added: nobody
    /// knows since when.
    pub(super) fn look(&mut self, region: &Arc<Region>, rules: &Arc<RuleSet>, now_s: u64) {
        let is_first = self.turn_to(region, rules);
        if self.wanted.is_empty() {
            self.slots.clear();
            return;
        }
        self.looks += 1;
        let is_thorough = is_first || self.looks.is_multiple_of(THOROUGH_EVERY);
        let idle_before_s = self.looked_s.min(now_s).saturating_sub(USE_LAG_S);
        self.looked_s = now_s;
        for (slot, reading) in region.readings() {
            if !is_thorough && u64::from(reading.last_use_s) < idle_before_s {
                continue;
            }
            let rule = reading.rule_stats_index();
            let is_wanted = rule.is_some_and(|rule| self.wanted.contains(&rule));
            let known = match self.slots.entry(slot) {
                Place::Occupied(known) => {
                    let known = known.into_mut();
                    if !known.is_of(&reading) {
                        *known = Known::new(&reading);
                    }
                    known
                }
                Place::Vacant(place) if is_wanted => {
                    let known = place.insert(Known::new(&reading));
                    if is_first {
                        known.mark.advance(&reading);
                    }
                    known
                }
                Place::Vacant(_) => continue,
            };
            known.look = self.looks;
            if !is_wanted {
                // A request that brought its own limit has the last word at times: what grew is added when
                // the rule has it again. What grew under another rule is not.
                if rule.is_some() {
                    known.mark.advance(&reading);
                }
                continue;
            }
            for growth in known.mark.advance(&reading).into_iter().flatten() {
                let found = match &known.series {
                    Some(found) => Ok(Some(found.clone())),
                    None => find(region, rules, slot, &reading),
                };
                match add(&mut self.series, rules, found, growth, now_s) {
                    Ok(series) => known.series = series,
                    Err(cause) => self.dropped[cause as usize] += growth.hits,
                }
            }
        }
        if is_thorough {
            // A slot may be unreadable for a moment while it changes. If it were forgotten for that, its
            // hits would be added once more: it has to be gone twice.
            let looks = self.looks;
            self.slots
                .retain(|_, known| looks - known.look <= THOROUGH_EVERY);
        }
    }

    /// Makes ready for this region and these rules; whether either is new.
    fn turn_to(&mut self, region: &Arc<Region>, rules: &Arc<RuleSet>) -> bool {
        let same_region = (self.region.as_ref()).is_some_and(|known| Arc::ptr_eq(known, region));
        if same_region && Arc::ptr_eq(&self.rules, rules) {
            return false;
        }
        if !same_region {
            self.slots.clear();
        }
        self.region = Some(Arc::clone(region));
        self.rules = Arc::clone(rules);
        for known in self.slots.values_mut() {
            known.series = None;
        }
        let wanting = || rules.rules().filter(|(_, rule)| rule.wants_value_metrics());
        self.wanted = wanting().map(|(_, rule)| rule.stats_index).collect();
        let paths = wanting().map(|(id, _)| rules.path(id).to_string());
        self.series.keep(&paths.collect());
        true
    }
}

type Found = Option<(RuleId, Arc<Name>)>;

/// The rule that a slot counts for, and the series of its values; `None` when the slot is another rule's.
fn find(
    region: &Region,
    rules: &RuleSet,
    slot: usize,
    reading: &SlotReading,
) -> Result<Found, Dropped> {
    let label = region
        .label(slot, reading.place.life)
        .filter(|label| !label.truncated)
        .ok_or(Dropped::UnreadableKey)?;
    let entries: Vec<Entry<'_>> = label
        .entries
        .iter()
        .map(|(key, value)| Entry::new(key, value))
        .collect();
    let Lookup::Rule(first) = rules.find(label.domain.as_bytes(), &entries) else {
        return Ok(None);
    };
    // Each limit of a list has counters of its own.
    let is_it = |id: &RuleId| {
        rules.rule(*id).is_some_and(|rule| {
            let period = rule.counting().map(|counting| counting.period());
            rule.wants_value_metrics()
                && rule.stats_index == reading.rule
                && period == Some(reading.key.period)
        })
    };
    Ok(rules.limits_from(first).find(is_it).map(|id| {
        let name = Name {
            domain: label.domain.clone(),
            rule: rules.path(id).to_string(),
            levels: rules.statistics_levels(id, &entries),
        };
        (id, Arc::new(name))
    }))
}

/// Adds hits to the series that was found for them. Returns it if they are in it.
fn add(
    series: &mut SeriesTable,
    rules: &RuleSet,
    found: Result<Found, Dropped>,
    growth: Growth,
    now_s: u64,
) -> Result<Found, Dropped> {
    let Some((id, name)) = found? else {
        return Ok(None);
    };
    if let Some(rule) = rules.rule(id) {
        series
            .add(&name, growth, rule, now_s)
            .ok_or(Dropped::NoRoom)?;
    }
    Ok(Some((id, name)))
}
