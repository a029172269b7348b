//! How far over a limit it may go.
//!
//! A request that passes does so because its node's own count and what the node has seen of the others
//! are within the limit. So what passed by then goes beyond the limit by no more than what the others
//! counted and the node had not seen: hits no older than the staleness. Of that holds, for N nodes,
//! rates R, staleness d:
//!
//! > overshoot ≤ min( ε · limit + max over i of Σ over j ≠ i of Rⱼ · d, (N − 1) · limit )
//!
//! `Rⱼ · d` is the most that node j counts within any span of d. Here it is taken from what was really
//! counted, not from the rates demanded, which chance exceeds.

use crate::time::whole;
use crate::window_ledger::WindowLedger;

/// How far over its limit a key went in a window, and how far it might have gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overshoot {
    /// Hits that passed.
    pub passed: u64,
    /// Hits that may pass in a window.
    pub limit: u32,
    /// The staleness that the bound is for, microseconds.
    pub staleness_us: u64,
    /// The most hits beyond the limit that the formula allows.
    pub bound: u64,
}

impl Overshoot {
    /// What was counted, held against the formula with a staleness; the one the decisions really
    /// suffered from if `None` is given.
    pub fn of(
        window: &WindowLedger,
        limit: u32,
        actors: u32,
        epsilon: f64,
        staleness_us: Option<u64>,
    ) -> Self {
        let staleness_us = staleness_us.unwrap_or_else(|| window.blind_us());
        let withheld = whole((epsilon * f64::from(limit)).ceil());
        let cap = u64::from(actors.saturating_sub(1)) * u64::from(limit);
        // The formula costs a look at every hit; most windows were never over.
        let is_over = window.passed() > u64::from(limit);
        let on_the_way = if is_over {
            window.most_by_others(staleness_us)
        } else {
            0
        };
        Self {
            passed: window.passed(),
            limit,
            staleness_us,
            bound: cap.min(withheld + on_the_way),
        }
    }

    /// Hits that passed beyond the limit.
    pub const fn beyond(&self) -> u64 {
        self.passed.saturating_sub(self.limit as u64)
    }

    /// Whether it went further than it may.
    pub const fn is_broken(&self) -> bool {
        self.beyond() > self.bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two nodes that each pass `each` hits, one every 100 µs, without ever seeing each other's.
    fn blind(each: u64) -> WindowLedger {
        let mut window = WindowLedger::new(2);
        for hit in 0..each {
            for node in [0, 1] {
                window.hit(hit * 100, node as usize, node, 1, 10, true);
            }
        }
        window
    }

    #[test]
    fn who_sees_nothing_goes_over_by_what_the_other_counted_and_no_further() {
        let overshoot = Overshoot::of(&blind(10), 10, 2, 0.0, None);
        assert_eq!((overshoot.beyond(), overshoot.bound), (10, 10));
        assert!(!overshoot.is_broken());
    }

    #[test]
    fn a_short_staleness_does_not_excuse_a_far_overshoot() {
        let overshoot = Overshoot::of(&blind(10), 10, 2, 0.0, Some(300));
        assert_eq!((overshoot.beyond(), overshoot.bound), (10, 4));
        assert!(overshoot.is_broken());
    }

    #[test]
    fn no_staleness_excuses_one_node_passing_more_than_the_limit() {
        let mut window = WindowLedger::new(1);
        for at_us in 0..11 {
            window.hit(at_us, 0, 0, 1, 10, true);
        }
        assert!(Overshoot::of(&window, 10, 1, 0.5, None).is_broken());
    }

    #[test]
    fn the_share_that_may_go_unsent_is_allowed_for() {
        let bound = |epsilon| Overshoot::of(&blind(10), 10, 3, epsilon, Some(0)).bound;
        assert_eq!((bound(0.0), bound(0.25)), (1, 4));
    }
}
