//! The way to one peer: what it has, what it lacks, and how well it is reached.

pub(crate) mod backlog;
pub(crate) mod lookup;
pub(crate) mod quality;

use std::collections::VecDeque;
use std::net::SocketAddr;

use backlog::Backlog;
use hivemind_shared::table::Key;
use lookup::Lookup;
use quality::Quality;

use crate::status::PeerState;
use crate::wire::sections::{Ack, DigestGroup, Summary, Want};

/// Acknowledgements that wait to be sent at most; older ones are dropped then, and their datagrams come
/// once more.
const ACKS_MAX: usize = 4 * Ack::SEQUENCES_MAX;

/// Questions of a peer that wait at most, and questions to it.
const WANTS_MAX: usize = 64;

/// Whether a peer is known to have what this node counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    /// Not known: the sums of this node's counts are to be sent to it.
    Unknown,
    /// They were sent.
    Asked,
    /// It has them and asks for what it lacks.
    Known,
}

/// A peer.
#[derive(Debug)]
pub(crate) struct Link {
    /// Its actor.
    pub actor: u64,
    /// Its run.
    pub incarnation: u64,
    /// The session of that run; `None` before anything was heard from it.
    pub session: Option<u64>,
    /// Where it is reached.
    pub address: SocketAddr,
    /// Its name; empty until it has said it.
    pub name: String,
    /// Whether it is a member at present.
    pub is_up: bool,
    /// Whether it was heard from the host at that address.
    pub is_there: bool,
    /// Whether it said that it leaves.
    pub said_goodbye: bool,
    /// What of this was told.
    pub told: Told,
    /// The hash of its rules; `None` when it does not say.
    pub rules: Option<u64>,
    /// When anything was last heard from it, monotonic microseconds.
    pub heard_us: Option<u64>,
    /// How well it is reached.
    pub quality: Quality,
    /// What is to be sent to it alone.
    pub backlog: Backlog,
    /// Whether it has what this node counted.
    pub sync: Sync,
    /// When that was last asked, monotonic microseconds.
    pub sync_us: u64,
    /// Sequences to acknowledge, with the time each arrived.
    pub acks: VecDeque<(u64, u64)>,
    /// What it wants.
    pub wants: VecDeque<Want>,
    /// What is being looked up for it.
    pub lookup: Option<Lookup>,
    /// What it knows of actors that cannot speak for themselves, as long as that is not compared.
    pub summary: Option<Summary>,
    /// Actors of which it is to be told what is known here.
    pub digests: VecDeque<u64>,
    /// What this node wants from it.
    pub asks: VecDeque<Want>,
    /// The sums it sent while this node was still joining.
    pub early_digest: Option<Vec<DigestGroup>>,
    /// What was asked for lately: actor, unit code and window, a hash of the sums, and until when it is
    /// not asked for again.
    pub asked: VecDeque<Asked>,
    /// Keys whose names it wants.
    pub wanted_names: VecDeque<Key>,
    /// The snapshot it asked for, while that is being sent.
    pub snapshot: Option<Snapshot>,
    /// Datagrams to it that are on their way.
    pub in_flight: usize,
    /// Those of them with counts for it alone.
    pub alone_in_flight: usize,
    /// Datagrams sent to it.
    pub sent_datagrams: u64,
    /// Bytes sent to it.
    pub sent_bytes: u64,
    /// Datagrams received from it.
    pub received_datagrams: u64,
    /// Bytes received from it.
    pub received_bytes: u64,
}

/// What was told of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nothing.
    Nothing,
    /// Nothing: it is there, but has not said its name.
    Waits {
        /// Since when, monotonic microseconds.
        since_us: u64,
    },
    /// How it is, and where.
    As {
        /// How it is.
        state: PeerState,
        /// Where it is reached.
        address: SocketAddr,
    },
}

/// A snapshot that a peer asked for: one actor after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Number of the request.
    pub(crate) number: u64,
    /// The actor that is next, or the first after it.
    pub(crate) next: Option<u64>,
}

/// A question that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Whose counts.
    pub actor: u64,
    /// Of which unit and window.
    pub group: (u32, u32),
    /// Of which sums.
    pub sums_hash: u64,
    /// When it may be asked again, monotonic microseconds.
    pub until_us: u64,
}

impl Link {
    /// A peer nothing is known of yet.
    pub(crate) fn new(actor: u64, incarnation: u64, address: SocketAddr) -> Self {
        Self {
            actor,
            incarnation,
            session: None,
            address,
            name: String::new(),
            is_up: false,
            is_there: false,
            said_goodbye: false,
            told: Told::Nothing,
            rules: None,
            heard_us: None,
            quality: Quality::default(),
            backlog: Backlog::default(),
            sync: Sync::Unknown,
            sync_us: 0,
            acks: VecDeque::new(),
            wants: VecDeque::new(),
            lookup: None,
            summary: None,
            digests: VecDeque::new(),
            asks: VecDeque::new(),
            early_digest: None,
            asked: VecDeque::new(),
            wanted_names: VecDeque::new(),
            snapshot: None,
            in_flight: 0,
            alone_in_flight: 0,
            sent_datagrams: 0,
            sent_bytes: 0,
            received_datagrams: 0,
            received_bytes: 0,
        }
    }

    /// Begins again: the peer is another run of its actor, or came back. What it has is not known.
    pub(crate) fn start_over(&mut self) {
        self.backlog.clear();
        self.sync = Sync::Unknown;
        self.acks.clear();
        self.wants.clear();
        self.lookup = None;
        self.summary = None;
        self.digests.clear();
        self.asks.clear();
        self.asked.clear();
        self.wanted_names.clear();
        self.early_digest = None;
        self.snapshot = None;
        self.quality.start_over();
        self.in_flight = 0;
        self.alone_in_flight = 0;
    }

    /// Notes a datagram that is to be acknowledged.
    pub(crate) fn note_arrival(&mut self, sequence: u64, now_us: u64) {
        if self.acks.len() >= ACKS_MAX {
            self.acks.pop_front();
        }
        self.acks.push_back((sequence, now_us));
    }

    /// Notes that a datagram to the peer is not on its way any more.
    pub(crate) fn note_arrived(&mut self, for_one: bool) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.alone_in_flight = self.alone_in_flight.saturating_sub(usize::from(for_one));
    }

    /// Notes what the peer wants; when it wants too much at a time, the rest is found missing again
    /// later.
    pub(crate) fn note_want(&mut self, want: Want) {
        if self.wants.len() < WANTS_MAX {
            self.wants.push_back(want);
        }
    }

    /// Notes what this node wants of the peer; the rest is found missing again later, too.
    pub(crate) fn note_ask(&mut self, want: Want) {
        if self.asks.len() < WANTS_MAX {
            self.asks.push_back(want);
        }
    }

    /// Whether this peer has, as far as is known, everything but what is on its way.
    pub(crate) fn is_in_sync(&self) -> bool {
        self.sync == Sync::Known
            && self.backlog.is_empty()
            && self.wants.is_empty()
            && self.lookup.is_none()
    }

    /// Whether nothing is on its way to it or waits for it.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_in_sync() && self.in_flight == 0
    }

    /// Takes the acknowledgements to send, newest first, and how long the newest one has waited.
    pub(crate) fn take_acks(&mut self, now_us: u64) -> Option<(Vec<u64>, u64)> {
        let count = self.acks.len().min(Ack::SEQUENCES_MAX);
        let mut taken: Vec<(u64, u64)> = self.acks.drain(..count).collect();
        taken.sort_unstable_by(|a, b| b.cmp(a));
        taken.dedup_by_key(|(sequence, _)| *sequence);
        let &(_, arrived_us) = taken.first()?;
        let sequences = taken.into_iter().map(|(sequence, _)| sequence).collect();
        Some((sequences, now_us.saturating_sub(arrived_us)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_are_given_newest_first_once_and_never_without_end() {
        let mut link = Link::new(1, 1, ([127, 0, 0, 1], 1).into());
        for (sequence, at_us) in [(5, 10), (7, 20), (6, 30), (7, 40)] {
            link.note_arrival(sequence, at_us);
        }
        // The newest one's own time counts: the other side subtracts it from that one's round trip.
        assert_eq!(link.take_acks(100), Some((vec![7, 6, 5], 60)));
        assert_eq!(link.take_acks(100), None);
        (0..10_000).for_each(|sequence| link.note_arrival(sequence, 0));
        let taken = std::iter::from_fn(|| link.take_acks(0)).map(|(sequences, _)| sequences);
        let lengths: Vec<usize> = taken.map(|sequences| sequences.len()).collect();
        assert_eq!(lengths, [Ack::SEQUENCES_MAX; 4]);
    }
}
