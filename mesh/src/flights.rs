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

    /// Forgets a peer: nothing is waited for from it any more.
    pub(crate) fn forget(&mut self, link: LinkIndex) {
        for flight in &mut self.0 {
            flight.waiting.retain(|waiting| *waiting != link);
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
