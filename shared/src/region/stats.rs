//! Statistics by rule, as envoyproxy/ratelimit defines them.

use crate::sync::{AtomicWord, Ordering};

/// One rule's counters: a cache line, so that two rules never share one.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct StatsCell {
    total_hits: AtomicWord,
    refused_hits: AtomicWord,
    over_limit: AtomicWord,
    near_limit: AtomicWord,
    shadow_mode: AtomicWord,
    evicted_keys: AtomicWord,
    _reserved: [AtomicWord; 2],
}

const _: () = assert!(size_of::<StatsCell>() == 64);

/// What a rule has seen since the region was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleStats {
    /// Hits on the rule, before the decision.
    pub total_hits: u64,
    /// Hits above the limit, shadowed ones included.
    pub over_limit: u64,
    /// Hits near the limit: above the share of it that the rules say, and up to it.
    pub near_limit: u64,
    /// Hits of calls that were within the limit.
    pub within_limit: u64,
    /// Hits a rule in shadow mode would have refused.
    pub shadow_mode: u64,
    /// Keys of the rule that gave their slot up while they still counted.
    pub evicted_keys: u64,
}

/// One call's hits against one limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hits {
    /// Hits in the window before the call, everywhere.
    pub(crate) before: u64,
    /// Hits of the call.
    pub(crate) addend: u64,
    /// The limit.
    pub(crate) limit: u32,
    /// Hits up to which the limit is not near; no more than the limit.
    pub(crate) near_threshold: u32,
    /// Whether the rule is in shadow mode.
    pub(crate) shadow: bool,
}

/// Most hits of one call that statistics count: one more than the largest limit.
const ADDEND_MAX: u64 = 1 << 32;

impl StatsCell {
    /// Adds a call. One atomic add for a call that is well within its limit.
    #[inline]
    pub(crate) fn record(&self, hits: Hits) {
        // More than any limit is enough; the sums must not turn over.
        let hits = Hits {
            addend: hits.addend.min(ADDEND_MAX),
            ..hits
        };
        let Hits { before, addend, .. } = hits;
        if addend == 0 {
            return;
        }
        let after = before.saturating_add(addend);
        // Relaxed all: sums for people, they order nothing.
        self.total_hits.fetch_add(addend, Ordering::Relaxed);
        if after <= u64::from(hits.near_threshold) {
            return;
        }
        self.record_near_or_over(hits, after);
    }

    /// The part of [`Self::record`] for calls that come near the limit.
    fn record_near_or_over(&self, hits: Hits, after: u64) {
        let Hits {
            before,
            addend,
            limit,
            near_threshold,
            shadow,
        } = hits;
        let (near, limit) = (u64::from(near_threshold), u64::from(limit));
        let over = after.saturating_sub(before.max(limit));
        let up_to_limit = after.min(limit).saturating_sub(before.max(near));
        if up_to_limit > 0 {
            self.near_limit.fetch_add(up_to_limit, Ordering::Relaxed);
        }
        if over > 0 {
            self.refused_hits.fetch_add(addend, Ordering::Relaxed);
            self.over_limit.fetch_add(over, Ordering::Relaxed);
            if shadow {
                self.shadow_mode.fetch_add(over, Ordering::Relaxed);
            }
        }
    }

    /// Adds a key that was evicted.
    pub(crate) fn record_eviction(&self) {
        // Relaxed: as in `record`.
        self.evicted_keys.fetch_add(1, Ordering::Relaxed);
    }

    /// Keys that were evicted.
    pub(crate) fn evicted_keys(&self) -> u64 {
        // Relaxed: as in `record`.
        self.evicted_keys.load(Ordering::Relaxed)
    }

    /// Starts over, for another rule.
    pub(crate) fn reset(&self) {
        // Relaxed: as in `record`; a hit that a reader of the old rules adds meanwhile may remain.
        for sum in [
            &self.total_hits,
            &self.refused_hits,
            &self.over_limit,
            &self.near_limit,
            &self.shadow_mode,
            &self.evicted_keys,
        ] {
            sum.store(0, Ordering::Relaxed);
        }
    }

    /// Reads the sums; each is right, but they are read one after the other.
    pub(crate) fn read(&self) -> RuleStats {
        // Relaxed: as in `record`. Refused before total, so that the difference never falls below 0 by
        // much; it saturates anyway.
        let refused = self.refused_hits.load(Ordering::Relaxed);
        let total_hits = self.total_hits.load(Ordering::Relaxed);
        RuleStats {
            total_hits,
            over_limit: self.over_limit.load(Ordering::Relaxed),
            near_limit: self.near_limit.load(Ordering::Relaxed),
            within_limit: total_hits.saturating_sub(refused),
            shadow_mode: self.shadow_mode.load(Ordering::Relaxed),
            evicted_keys: self.evicted_keys(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With four fifths of the limit as the threshold.
    fn record(calls: &[(u64, u64, u32)]) -> RuleStats {
        let cell = StatsCell::default();
        for &(before, addend, limit) in calls {
            cell.record(hits(before, addend, limit));
        }
        cell.read()
    }

    fn hits(before: u64, addend: u64, limit: u32) -> Hits {
        Hits {
            before,
            addend,
            limit,
            near_threshold: limit / 5 * 4,
            shadow: false,
        }
    }

    #[test]
    fn single_hits_up_to_and_over_a_limit_of_ten() {
        let calls: Vec<_> = (0..12).map(|before| (before, 1, 10)).collect();
        let expected = RuleStats {
            total_hits: 12,
            over_limit: 2,
            near_limit: 2,
            within_limit: 10,
            ..RuleStats::default()
        };
        assert_eq!(record(&calls), expected);
    }

    #[test]
    fn a_call_across_the_limit_is_split_between_near_and_over() {
        let stats = record(&[(0, 15, 10)]);
        assert_eq!(
            (stats.near_limit, stats.over_limit, stats.within_limit),
            (2, 5, 0)
        );
    }

    #[test]
    fn shadowed_hits_are_counted_as_over_too() {
        let cell = StatsCell::default();
        cell.record(Hits {
            shadow: true,
            ..hits(10, 3, 10)
        });
        assert_eq!((cell.read().over_limit, cell.read().shadow_mode), (3, 3));
    }

    #[test]
    fn calls_with_any_number_of_hits_leave_sums_that_did_not_turn_over() {
        let stats = record(&[(0, u64::MAX, u32::MAX), (u64::from(u32::MAX), u64::MAX, 10)]);
        assert_eq!((stats.total_hits, stats.within_limit), (2 << 32, 0));
        assert!(stats.over_limit <= stats.total_hits, "{stats:?}");
    }

    #[test]
    fn reading_without_counting_leaves_no_trace() {
        assert_eq!(record(&[(20, 0, 10)]), RuleStats::default());
    }
}
