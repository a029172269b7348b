//! How well a peer is reached: round trip, loss, skew of its clock, age of its news.

use std::collections::VecDeque;

/// Weight of a new measurement of loss, one in so many.
const LOSS_WEIGHT: f64 = 64.0;

/// The longest wait before a datagram counts as lost, microseconds.
const TIMEOUT_US_MAX: u64 = 1_000_000;

/// The longest round trip that is believed, microseconds: longer is no network, and a peer that holds its
/// acknowledgements back must not make this node wait, and remember, longer and longer.
const ROUND_TRIP_US_MAX: u64 = 2_000_000;

/// Timeouts in a row after which waiting is not doubled any more.
const DOUBLINGS_MAX: u32 = 7;

/// Ages of news that are kept.
const AGES_MAX: usize = 256;

/// How long an age says something about the present, microseconds.
const AGE_KEPT_US: u64 = 60_000_000;

/// Measurements of one peer.
#[derive(Debug, Default)]
pub(crate) struct Quality {
    /// Smoothed round trip and its variation, as RFC 6298 has them, microseconds.
    round_trip: Option<(u64, u64)>,
    /// Smoothed time that the peer holds acknowledgements back, microseconds.
    hold_us: u64,
    timeouts_in_a_row: u32,
    loss: f64,
    /// Smoothed difference of the wall clocks, theirs minus ours, microseconds.
    skew_us: Option<i64>,
    ages: VecDeque<(u64, u64)>,
}

impl Quality {
    /// Takes in a round trip, without the time the peer held the acknowledgement back.
    pub(crate) fn note_round_trip(&mut self, sample_us: u64) {
        let sample_us = sample_us.min(ROUND_TRIP_US_MAX);
        self.round_trip = Some(match self.round_trip {
            None => (sample_us, sample_us / 2),
            Some((smoothed, variation)) => (
                (smoothed * 7 + sample_us) / 8,
                (variation * 3 + smoothed.abs_diff(sample_us)) / 4,
            ),
        });
    }

    /// Takes in how long the peer held an acknowledgement back.
    pub(crate) fn note_hold(&mut self, sample_us: u64) {
        self.hold_us = (self.hold_us * 7 + sample_us.min(TIMEOUT_US_MAX)) / 8;
    }

    /// Takes in a difference of wall clocks.
    pub(crate) fn note_skew(&mut self, sample_us: i64) {
        self.skew_us = Some(match self.skew_us {
            // A clock that was set is believed at once.
            Some(smoothed) if smoothed.abs_diff(sample_us) < 1_000_000 => {
                smoothed + (sample_us - smoothed) / 8
            }
            _ => sample_us,
        });
    }

    /// Notes that a datagram arrived there.
    pub(crate) fn note_arrival(&mut self) {
        self.timeouts_in_a_row = 0;
        self.loss -= self.loss / LOSS_WEIGHT;
    }

    /// Notes that a datagram, or its acknowledgement, was lost.
    pub(crate) fn note_loss(&mut self) {
        self.timeouts_in_a_row = self.timeouts_in_a_row.saturating_add(1);
        self.loss += (1.0 - self.loss) / LOSS_WEIGHT;
    }

    /// Notes how old news were that came from it.
    pub(crate) fn note_age(&mut self, now_us: u64, age_us: u64) {
        if self.ages.len() >= AGES_MAX {
            self.ages.pop_front();
        }
        self.ages.push_back((now_us, age_us));
    }

    /// How long to wait for an acknowledgement: the round trip and four times its variation, and a tick, or
    /// twice the time the peer holds acknowledgements back on average, which is a tick of its own. At least
    /// two ticks. Doubled for each timeout in a row beyond a few.
    pub(crate) fn timeout_us(&self, tick_us: u64, first_guess_us: u64) -> u64 {
        let (smoothed, variation) = self.round_trip.unwrap_or((first_guess_us, 0));
        let patience = smoothed + 4 * variation;
        let hold_us = tick_us.max(2 * self.hold_us);
        let timeout = patience.saturating_add(hold_us).max(2 * tick_us);
        // Loss by chance comes in ones and twos; only a longer silence means that waiting helps.
        let doublings = self.timeouts_in_a_row.saturating_sub(8).min(DOUBLINGS_MAX);
        (timeout << doublings).min(TIMEOUT_US_MAX.max(patience))
    }

    /// Whether it has not answered for long.
    pub(crate) const fn is_silent(&self) -> bool {
        self.timeouts_in_a_row > 8
    }

    /// Smoothed round trip, microseconds.
    pub(crate) fn round_trip_us(&self) -> Option<u64> {
        self.round_trip.map(|(smoothed, _)| smoothed)
    }

    /// Share of datagrams that were lost lately.
    pub(crate) const fn loss(&self) -> f64 {
        self.loss
    }

    /// Its wall clock minus ours, milliseconds.
    pub(crate) fn skew_ms(&self) -> Option<i64> {
        self.skew_us.map(|us| us / 1_000)
    }

    /// Age of its news on arrival over the last minute: median and 99th percentile, microseconds.
    pub(crate) fn ages_us(&self, now_us: u64) -> Option<(u64, u64)> {
        let recent = |&&(at_us, _): &&(u64, u64)| now_us.saturating_sub(at_us) <= AGE_KEPT_US;
        let mut ages: Vec<u64> = self
            .ages
            .iter()
            .filter(recent)
            .map(|&(_, age)| age)
            .collect();
        ages.sort_unstable();
        Some((percentile(&ages, 50)?, percentile(&ages, 99)?))
    }

    /// Forgets what another run of the peer said nothing about.
    pub(crate) fn start_over(&mut self) {
        self.timeouts_in_a_row = 0;
        self.skew_us = None;
    }
}

/// The value that so many hundredths of a sorted list do not exceed.
pub(crate) fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TICK_US: u64 = 5_000;

    proptest! {
        #[test]
        fn a_timeout_is_between_two_ticks_and_what_the_longest_round_trip_makes_it(
            samples in prop::collection::vec(any::<u64>(), 0..50),
            timeouts in 0..100_u32,
        ) {
            let mut quality = Quality::default();
            samples.iter().for_each(|&sample| quality.note_round_trip(sample));
            (0..timeouts).for_each(|_| quality.note_loss());
            let timeout_us = quality.timeout_us(TICK_US, 2_000);
            prop_assert!((2 * TICK_US..=5 * ROUND_TRIP_US_MAX).contains(&timeout_us));
        }

        #[test]
        fn a_percentile_is_the_smallest_value_with_so_many_below(
            mut values in prop::collection::vec(0..50_u64, 1..60),
            percent in 1..=100_usize,
        ) {
            values.sort_unstable();
            let not_above = |value| values.iter().filter(|there| **there <= value).count();
            let found = percentile(&values, percent).unwrap();
            prop_assert!(not_above(found) * 100 >= values.len() * percent);
            let smaller = values.iter().rfind(|there| **there < found);
            prop_assert!(smaller.is_none_or(|&it| not_above(it) * 100 < values.len() * percent));
            prop_assert_eq!(percentile(&[], percent), None);
        }
    }

    #[test]
    fn waiting_is_doubled_only_when_a_peer_is_silent_and_not_without_end() {
        let mut quality = Quality::default();
        quality.note_round_trip(8_000);
        let timeout_us = |quality: &Quality| quality.timeout_us(TICK_US, 2_000);
        assert_eq!(timeout_us(&quality), 8_000 + 4 * 4_000 + TICK_US);
        (0..8).for_each(|_| quality.note_loss());
        assert_eq!((timeout_us(&quality), quality.is_silent()), (29_000, false));
        quality.note_loss();
        assert_eq!((timeout_us(&quality), quality.is_silent()), (58_000, true));
        (0..1_000).for_each(|_| quality.note_loss());
        assert_eq!(timeout_us(&quality), TIMEOUT_US_MAX);
        quality.note_arrival();
        assert_eq!((timeout_us(&quality), quality.is_silent()), (29_000, false));
    }

    #[test]
    fn the_estimate_of_loss_approaches_the_true_one() {
        let mut quality = Quality::default();
        for datagram in 0..2_000 {
            match datagram % 4 {
                0 => quality.note_loss(),
                _ => quality.note_arrival(),
            }
        }
        assert!((quality.loss() - 0.25).abs() < 0.02, "{}", quality.loss());
    }

    #[test]
    fn skew_is_smoothed_until_a_clock_is_set() {
        let mut quality = Quality::default();
        quality.note_skew(80_000);
        quality.note_skew(0);
        assert_eq!(quality.skew_ms(), Some(70));
        quality.note_skew(-3_600_000_000);
        assert_eq!(quality.skew_ms(), Some(-3_600_000));
        for extreme in [i64::MIN, i64::MAX, i64::MAX - 1, 0] {
            quality.note_skew(extreme);
        }
        assert_eq!(quality.skew_ms(), Some(0));
    }

    #[test]
    fn ages_are_of_the_last_minute_and_bounded() {
        let mut quality = Quality::default();
        quality.note_age(0, 1_000_000);
        (1..=99).for_each(|age_us| quality.note_age(1_000_000, age_us));
        assert_eq!(quality.ages_us(60_000_000), Some((50, 1_000_000 - 999_901)));
        assert_eq!(quality.ages_us(60_000_001), Some((50, 99)));
        assert_eq!(quality.ages_us(61_000_001), None);
        (0..1_000).for_each(|_| quality.note_age(0, 0));
        assert_eq!(quality.ages.len(), AGES_MAX);
    }
}
