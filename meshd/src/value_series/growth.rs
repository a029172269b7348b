//! What a counter grew by since it was last looked at, and what that means for its limit.

use hivemind_shared::region::RuleStats;
use hivemind_shared::rules::Rule;
use hivemind_shared::table::SlotReading;
use hivemind_shared::table::words::Count;

/// Hits of this host in one window that are new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Growth {
    /// How many.
    pub(super) hits: u64,
    /// Hits that count in the window, of all hosts, now.
    pub(super) after: u64,
}

/// How far a counter was when it was last looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    /// None before the first look.
    window: Option<u32>,
    hits: u32,
}

impl Mark {
    /// Moves on to what was read now, and says by how much, in the window before and in this one.
    pub(super) fn advance(&mut self, reading: &SlotReading) -> [Option<Growth>; 2] {
        let Count::Hits { window: newest, .. } = reading.local else {
            return [None; 2];
        };
        // The clock was set back: nobody knows what is new.
        if self.window.is_some_and(|window| window > newest) {
            *self = Self::default();
            self.advance_in(reading, reading.local);
            return [None; 2];
        }
        [reading.previous, reading.local].map(|count| self.advance_in(reading, count))
    }

    fn advance_in(&mut self, reading: &SlotReading, count: Count) -> Option<Growth> {
        let Count::Hits { window, count } = count else {
            return None;
        };
        let marked = match self.window {
            Some(marked) if marked > window => return None,
            Some(marked) if marked == window => self.hits,
            _ => 0,
        };
        *self = Self {
            window: Some(window),
            hits: count,
        };
        let hits = u64::from(count.saturating_sub(marked));
        (hits > 0).then_some(Growth {
            hits,
            after: u64::from(count).saturating_add_signed(reading.remote_in(window)),
        })
    }
}

impl Growth {
    /// Adds these hits to the sums of a rule. Hits of other hosts that came meanwhile are taken to have come
    /// before them.
    ///
    /// Of a rule that does not count what it refuses, nobody knows what that was: all hits are within its
    /// limit.
    pub(super) fn add_to(self, stats: &mut RuleStats, rule: &Rule) {
        let Self { hits, after } = self;
        if rule.is_gated() {
            stats.within_limit += hits;
            return;
        }
        let before = after.saturating_sub(hits);
        let (limit, near) = (rule.allowed().into(), rule.near_threshold().into());
        let over = after.saturating_sub(before.max(limit));
        let near = after.min(limit).saturating_sub(before.max(near));
        stats.total_hits += hits;
        stats.over_limit += over;
        stats.near_limit += near;
        stats.within_limit += hits - over;
        if rule.shadow_mode {
            stats.shadow_mode += over;
        }
    }
}
