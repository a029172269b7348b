//! The series, and how many there may be.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use hivemind_shared::region::RuleStats;
use hivemind_shared::rules::Rule;

use super::growth::Growth;

/// How long a series that does not change stays when another one needs its place. A scraper has long
/// seen its last number then; if it comes back, it begins at zero as after a restart.
const IDLE_S: u64 = 3_600;

/// What tells a series from others.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// The domain of the rule.
    pub domain: String,
    /// The rule's path.
    pub rule: String,
    /// Each level of the rule as `key` or `key_value`, with the values of requests where the rule asks for
    /// them.
    pub levels: Vec<String>,
}

/// One series.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its name.
    pub name: Arc<Name>,
    /// Its sums.
    pub stats: RuleStats,
    /// Whether refused hits are in them; else only those within the limit are known.
    pub has_refused: bool,
}

/// All series.
#[derive(Debug)]
pub(super) struct SeriesTable {
    max: usize,
    rows: HashMap<Arc<Name>, Row>,
    /// When it was last looked for series that could go, Unix seconds.
    cleared_s: u64,
}

#[derive(Debug)]
struct Row {
    stats: RuleStats,
    has_refused: bool,
    changed_s: u64,
}

impl SeriesTable {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            rows: HashMap::new(),
            cleared_s: 0,
        }
    }

    /// Adds hits to the series of this name. `None`, and they are in no series, when there is no room for
    /// another one.
    pub(super) fn add(
        &mut self,
        name: &Arc<Name>,
        growth: Growth,
        rule: &Rule,
        now_s: u64,
    ) -> Option<()> {
        if !self.rows.contains_key(name) {
            self.make_room(now_s)?;
        }
        let row = self.rows.entry(Arc::clone(name)).or_insert_with(|| Row {
            stats: RuleStats::default(),
            has_refused: true,
            changed_s: 0,
        });
        growth.add_to(&mut row.stats, rule);
        row.has_refused &= !rule.is_gated();
        row.changed_s = now_s;
        Some(())
    }

    fn make_room(&mut self, now_s: u64) -> Option<()> {
        // Looked for once a second at most, or a flood of values would do nothing else.
        if self.rows.len() >= self.max && self.cleared_s != now_s {
            self.cleared_s = now_s;
            self.rows
                .retain(|_, row| now_s.saturating_sub(row.changed_s) < IDLE_S);
        }
        (self.rows.len() < self.max).then_some(())
    }

    /// Forgets the series of all rules but these.
    pub(super) fn keep(&mut self, rules: &HashSet<String>) {
        self.rows.retain(|name, _| rules.contains(&name.rule));
    }

    /// All series in the order of their names.
    pub(super) fn list(&self) -> Vec<Series> {
        let series = |(name, row): (&Arc<Name>, &Row)| Series {
            name: Arc::clone(name),
            stats: row.stats,
            has_refused: row.has_refused,
        };
        let mut list: Vec<Series> = self.rows.iter().map(series).collect();
        list.sort_by(|a, b| a.name.cmp(&b.name));
        list
    }
}
