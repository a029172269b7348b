//! The probe: a number that this node raises once in a while, to see how long news takes to all peers.
//!
//! It goes the way of counts: in a datagram to everybody, acknowledged, and sent again where it was lost.

use std::collections::{BTreeSet, VecDeque};

use crate::flights::LinkIndex;
use crate::link::quality::percentile;
use crate::status::ProbeStatus;

/// Probes that are remembered.
const RECENT_MAX: usize = 256;

/// How long one probe is waited for before the next begins, microseconds.
const PATIENCE_US: u64 = 10_000_000;

/// The present probe and the last ones.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    number: u64,
    started_us: u64,
    waiting: BTreeSet<LinkIndex>,
    recent_us: VecDeque<u64>,
}

impl Probe {
    /// The number to send now. It is raised when the one before has reached everybody.
    pub(crate) fn next(&mut self, now_us: u64, to: impl Iterator<Item = LinkIndex>) -> u64 {
        let is_late = now_us.saturating_sub(self.started_us) > PATIENCE_US;
        if self.waiting.is_empty() || is_late {
            self.number += 1;
            self.started_us = now_us;
            self.waiting = to.collect();
        }
        self.number
    }

    /// The present number.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// Notes that a peer has a probe.
    pub(crate) fn acknowledge(&mut self, now_us: u64, number: u64, by: LinkIndex) {
        if number == self.number && self.waiting.remove(&by) && self.waiting.is_empty() {
            if self.recent_us.len() >= RECENT_MAX {
                self.recent_us.pop_front();
            }
            let took_us = now_us.saturating_sub(self.started_us);
            self.recent_us.push_back(took_us);
        }
    }

    /// Does not wait for a peer any longer: it is gone.
    pub(crate) fn forget(&mut self, link: LinkIndex) {
        self.waiting.remove(&link);
    }

    /// For operators.
    pub(crate) fn status(&self) -> ProbeStatus {
        let mut sorted: Vec<u64> = self.recent_us.iter().copied().collect();
        sorted.sort_unstable();
        ProbeStatus {
            sent: self.number,
            last_us: self.recent_us.back().copied(),
            p50_us: percentile(&sorted, 50),
            p99_us: percentile(&sorted, 99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: LinkIndex = LinkIndex(0);
    const BOB: LinkIndex = LinkIndex(1);

    #[test]
    fn a_probe_takes_until_the_last_peer_has_it_and_then_the_next_begins() {
        let mut probe = Probe::default();
        let both = || [ANN, BOB].into_iter();
        assert_eq!(probe.next(100, both()), 1);
        probe.acknowledge(150, 1, ANN);
        assert_eq!(probe.next(200, both()), 1, "it has not reached everybody");
        assert_eq!(probe.status().last_us, None);
        probe.acknowledge(300, 1, BOB);
        probe.acknowledge(900, 1, BOB);
        assert_eq!(probe.status().last_us, Some(200));
        assert_eq!(probe.next(1_000, both()), 2);
        probe.acknowledge(1_100, 1, ANN);
        probe.acknowledge(1_500, 2, ANN);
        assert_eq!(probe.status().last_us, Some(200));
    }

    #[test]
    fn a_probe_does_not_wait_for_the_gone_nor_for_ever() {
        let mut probe = Probe::default();
        let both = || [ANN, BOB].into_iter();
        probe.next(0, both());
        probe.forget(BOB);
        probe.acknowledge(50, 1, ANN);
        assert_eq!(probe.status().last_us, Some(50));
        assert_eq!(probe.next(100, both()), 2);
        assert_eq!(probe.next(100 + PATIENCE_US, both()), 2);
        assert_eq!(probe.next(101 + PATIENCE_US, both()), 3);
    }
}
