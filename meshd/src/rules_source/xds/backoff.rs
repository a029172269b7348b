//! How long to wait before trying again.

use std::time::Duration;

/// Waits that double from one to the next, each shortened by chance to between half and all of it:
/// hosts that lost one server together do not come back to it together.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    initial: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// The first wait is `initial` at most, all others up to `max`.
    pub(super) fn new(initial: Duration, max: Duration) -> Self {
        Self {
            initial,
            max,
            next: initial,
        }
    }

    /// The next wait, by a random number.
    pub(super) fn next(&mut self, random: u64) -> Duration {
        let full = self.next;
        self.next = full.saturating_mul(2).min(self.max);
        shortened(full, random)
    }

    /// Begins again with the shortest: something worked.
    pub(super) fn reset(&mut self) {
        self.next = self.initial;
    }
}

/// Between half and all of a wait, by a random number.
pub(super) fn shortened(full: Duration, random: u64) -> Duration {
    let half = full / 2;
    // The upper half of the number, as a share of one.
    let share = f64::from((random >> 32) as u32) / f64::from(u32::MAX);
    half + half.mul_f64(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_double_up_to_the_longest_and_begin_again() {
        let mut backoff = Backoff::new(SECOND, 5 * SECOND);
        let waits: Vec<u64> = (0..5).map(|_| backoff.next(u64::MAX).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 5, 5]);
        backoff.reset();
        assert_eq!(backoff.next(u64::MAX), SECOND);
    }

    #[test]
    fn chance_shortens_a_wait_to_half_at_most() {
        let mut backoff = Backoff::new(SECOND, SECOND);
        assert_eq!(backoff.next(0), SECOND / 2);
        let between = backoff.next(1 << 63);
        assert!(between > SECOND / 2 && between < SECOND, "{between:?}");
    }
}
