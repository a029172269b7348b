//! Datagrams on their way: which peers have not acknowledged which, and what was in them.
//!
//! Nothing is stored to be sent again. What is lost names the keys that a peer lacks; it gets their
//! counts as they are by then.

use std::collections::VecDeque;

use smallvec::SmallVec;

use crate::book::{ActorIndex, KeyId};
use crate::wire::Kind;
use crate::wire::sections::Want;

/// A peer's number among this node's links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkIndex(pub usize);

/// What was in a datagram.
#[derive(Clone, Debug)]
pub(crate) enum Cargo {
    /// Counts: of whom, and of which keys.
    Counts(Vec<(ActorIndex, KeyId)>),
    /// The probe with this number.
    Probe(u64),
    /// The sums of this node's counts.
    Digest,
    /// The sums of other actors' counts; not sent again when lost, but next time.
    Gossip,
    /// A question.
    Want(Want),
    /// A request for a snapshot.
    SnapshotRequest,
    /// The end of one.
    SnapshotEnd(u64),
}

/// A datagram that somebody has not acknowledged.
#[derive(Debug)]
pub(crate) struct Flight {
    /// Its sequence.
    pub sequence: u64,
    /// What it was sent for.
    pub kind: Kind,
    /// When it was sent, monotonic microseconds.
    pub sent_us: u64,
    /// Since when the oldest change in it waits, monotonic microseconds.
    pub since_us: u64,
    /// What was in it.
    pub cargo: Cargo,
    waiting: SmallVec<[LinkIndex; 8]>,
}

impl Flight {
    /// A datagram to these peers.
    pub(crate) fn new(
        sequence: u64,
        kind: Kind,
        sent_us: u64,
        since_us: u64,
        cargo: Cargo,
        to: impl IntoIterator<Item = LinkIndex>,
    ) -> Self {
        Self {
            sequence,
            kind,
            sent_us,
            since_us,
            cargo,
            waiting: to.into_iter().collect(),
        }
    }
}

/// All of them, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Flights(VecDeque<Flight>);

impl Flights {
    /// Adds one; its sequence is larger than all before.
    pub(crate) fn push(&mut self, flight: Flight) {
        self.0.push_back(flight);
    }

    /// Notes that a peer has a datagram. Returns it, unless that was known or given up.
    pub(crate) fn acknowledge(&mut self, sequence: u64, by: LinkIndex) -> Option<&Flight> {
        let place = self
            .0
            .binary_search_by_key(&sequence, |flight| flight.sequence)
            .ok()?;
        let flight = self.0.get_mut(place)?;
        let at = flight.waiting.iter().position(|&waiting| waiting == by)?;
        flight.waiting.swap_remove(at);
        self.0.get(place)
    }

    /// Gives up on what was to be acknowledged by now: `is_late` says by whom and sent when; `lost` is
    /// told.
    pub(crate) fn expire(
        &mut self,
        is_late: impl Fn(LinkIndex, u64) -> bool,
        mut lost: impl FnMut(LinkIndex, &Flight),
    ) {
        for flight in &mut self.0 {
            let sent_us = flight.sent_us;
            let mut late = SmallVec::<[LinkIndex; 8]>::new();
            flight.waiting.retain(|link| {
                let is_late = is_late(*link, sent_us);
                if is_late {
                    late.push(*link);
                }
                !is_late
            });
            for link in late {
                lost(link, flight);
            }
        }
        self.drop_done();
    }

    /// Forgets peers, which are in order: nothing is waited for from them any more.
    pub(crate) fn forget(&mut self, links: &[LinkIndex]) {
        if links.is_empty() {
            return;
        }
        for flight in &mut self.0 {
            flight
                .waiting
                .retain(|waiting| links.binary_search(waiting).is_err());
        }
        self.drop_done();
    }

    fn drop_done(&mut self) {
        while self
            .0
            .front()
            .is_some_and(|flight| flight.waiting.is_empty())
        {
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: LinkIndex = LinkIndex(0);
    const BOB: LinkIndex = LinkIndex(1);

    /// Probes with the number of their sequence, each sent at 10 times that.
    fn flights(sequences: impl IntoIterator<Item = u64>) -> Flights {
        let mut flights = Flights::default();
        for sequence in sequences {
            let (at_us, cargo) = (10 * sequence, Cargo::Probe(sequence));
            flights.push(Flight::new(
                sequence,
                Kind::Heartbeat,
                at_us,
                0,
                cargo,
                [ANN, BOB],
            ));
        }
        flights
    }

    fn lost(
        flights: &mut Flights,
        is_late: impl Fn(LinkIndex, u64) -> bool,
    ) -> Vec<(LinkIndex, u64)> {
        let mut lost = Vec::new();
        flights.expire(is_late, |link, flight| lost.push((link, flight.sequence)));
        lost
    }

    #[test]
    fn each_peer_acknowledges_a_datagram_once() {
        let mut flights = flights([2, 4, 9]);
        let flight = flights.acknowledge(4, BOB).unwrap();
        assert!(flight.sent_us == 40 && matches!(flight.cargo, Cargo::Probe(4)));
        assert!(flights.acknowledge(4, BOB).is_none());
        assert!(flights.acknowledge(4, ANN).is_some());
        assert!(
            flights.acknowledge(3, ANN).is_none() && flights.acknowledge(4, LinkIndex(2)).is_none()
        );
        assert_eq!(
            lost(&mut flights, |_, _| true),
            [(ANN, 2), (BOB, 2), (ANN, 9), (BOB, 9)]
        );
        assert!(flights.0.is_empty());
    }

    #[test]
    fn what_is_late_is_lost_once_and_by_whom_it_is_missed() {
        let mut flights = flights([1, 2, 3]);
        let is_late = |link, sent_us| link == ANN && sent_us < 30;
        assert_eq!(lost(&mut flights, is_late), [(ANN, 1), (ANN, 2)]);
        assert_eq!(lost(&mut flights, is_late), []);
        // Too late to say that it arrived after all.
        assert!(flights.acknowledge(1, ANN).is_none());
        assert!(flights.acknowledge(1, BOB).is_some());
    }

    #[test]
    fn nothing_is_waited_for_from_a_peer_that_is_gone() {
        let mut flights = flights([1, 2]);
        assert!(flights.acknowledge(1, BOB).is_some());
        flights.forget(&[ANN]);
        assert_eq!(flights.0.len(), 1);
        assert_eq!(lost(&mut flights, |_, _| true), [(BOB, 2)]);
    }
}
