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
