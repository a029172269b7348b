//! Clocks of nodes, which are wrong in their own ways.

use hivemind_mesh::time::Now;

/// Unix time in microseconds at which every simulation begins: ten minutes past a full hour, in the
/// middle of a day, so that no hour or day ends in a run.
pub const START_UNIX_US: u64 = 1_800_000_600 * 1_000_000;

/// One node's clocks: the wall clock is off by an offset, both run too fast or too slow by a drift.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeClock {
    /// What the wall clock shows beyond the truth, microseconds.
    pub offset_us: i64,
    /// Microseconds that both clocks gain in a second; negative ones are too slow. Within 100,000.
    pub drift_ppm: i64,
    /// What the monotonic clock shows at the beginning, microseconds.
    pub uptime_us: u64,
}

impl NodeClock {
    /// What the clocks show when this many microseconds have truly passed.
    pub fn now(&self, true_us: u64) -> Now {
        let passed = i64::try_from(true_us).unwrap_or(i64::MAX);
        let gained = passed.saturating_mul(self.drift_ppm) / 1_000_000;
        let elapsed_us = true_us.saturating_add_signed(gained);
        Now {
            monotonic_us: self.uptime_us.saturating_add(elapsed_us),
            unix_us: START_UNIX_US
                .saturating_add(elapsed_us)
                .saturating_add_signed(self.offset_us),
        }
    }

    /// Sets the wall clock forward or back; the monotonic clock goes on as if nothing happened.
    pub fn step(&mut self, by_us: i64) {
        self.offset_us = self.offset_us.saturating_add(by_us);
    }
}

#[cfg(test)]
mod tests {
    use hivemind_shared::window::{Period, Unit};

    use super::*;
    use crate::time::SECOND_US;

    #[test]
    fn a_right_clock_shows_the_truth() {
        let now = NodeClock::default().now(5 * SECOND_US);
        assert_eq!(now.monotonic_us, 5 * SECOND_US);
        assert_eq!(now.unix_us, START_UNIX_US + 5 * SECOND_US);
    }

    #[test]
    fn drift_grows_with_time() {
        let fast = NodeClock {
            drift_ppm: 100,
            ..NodeClock::default()
        };
        assert_eq!(fast.now(10 * SECOND_US).monotonic_us, 10_001_000);
        let slow = NodeClock {
            drift_ppm: -100,
            ..NodeClock::default()
        };
        assert_eq!(slow.now(10 * SECOND_US).monotonic_us, 9_999_000);
    }

    #[test]
    fn a_step_moves_the_wall_clock_and_never_the_monotonic_one() {
        let mut clock = NodeClock {
            uptime_us: 77,
            ..NodeClock::default()
        };
        let before = clock.now(SECOND_US);
        clock.step(-500_000);
        let after = clock.now(SECOND_US);
        assert_eq!(after.monotonic_us, before.monotonic_us);
        assert_eq!(after.unix_us, before.unix_us - 500_000);
    }

    #[test]
    fn no_hour_ends_within_half_an_hour_of_the_beginning() {
        let hour = |us: u64| Period::from(Unit::Hour).window_at(us / SECOND_US);
        let half_hour = 1_800 * SECOND_US;
        let begin = NodeClock::default().now(0).unix_us;
        assert_eq!(hour(begin - 60 * SECOND_US), hour(begin + half_hour));
    }
}
