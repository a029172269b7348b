//! What is remembered of senders, and for how many.
//!
//! Only datagrams that opened get in here, so nobody without a key can make it grow or push anybody
//! out. When it is full, the senders not heard for longest are forgotten.
//!
//! To be forgotten costs a sender nothing: its next datagram is taken like a first one. But a recorded
//! datagram of a forgotten sender is taken as well, once, as it is by a host that has just started.
//! Counts do not mind: merging keeps the larger one, and what was counted once is never too large.

use std::collections::BTreeMap;

use super::header::{Header, SenderId};
use super::replay::ReplayWindow;
use super::session::SessionKey;
use crate::time::Now;

/// How long nothing of a run must have been heard until it keeps no other one out, microseconds.
const SILENT_US: u64 = 60_000_000;

/// The run of an actor that is listened to.
pub(super) struct Run {
    sender: SenderId,
    seen: Box<ReplayWindow>,
    /// Of the key of the ring that its last datagrams were sealed with.
    key: Option<SessionKey>,
    /// When its last datagram was noted, monotonic microseconds.
    heard_us: u64,
    /// [`Runs::uses`] when its last datagram was noted.
    used: u64,
}

impl Run {
    /// Whether a datagram with this header may be a new one: the next of this run, or of a later run. A
    /// second session of one incarnation is a copy of the region at work, and not listened to.
    ///
    /// A run that is silent keeps nobody out: somebody may have spoken in its name once, with a later incarnation
    /// or a sequence far ahead, to silence the true one. Nor does one whose incarnation is not believed any more,
    /// since this host's clock was set back.
    pub(super) fn admits(&self, header: &Header, now: Now) -> bool {
        let is_silent = now.monotonic_us.saturating_sub(self.heard_us) >= SILENT_US;
        if header.sender == self.sender {
            self.seen.is_new(header.sequence) || is_silent
        } else {
            header.sender.incarnation > self.sender.incarnation
                || self.sender.incarnation > now.incarnation_max()
                || is_silent
        }
    }

    /// The key that opens datagrams with this header, if it was noted.
    pub(super) fn key(&self, header: &Header) -> Option<&SessionKey> {
        let key = self.key.as_ref()?;
        (header.sender == self.sender && header.key_id == key.id).then_some(key)
    }
}

/// One run for each actor.
pub(super) struct Runs {
    /// A tree rather than a hash table: nobody can craft actors that make it slow, without randomness.
    of_actors: BTreeMap<u64, Run>,
    capacity: usize,
    /// Counts up with every datagram noted.
    uses: u64,
}

impl Runs {
    /// Room for this many actors.
    pub(super) const fn new(capacity: usize) -> Self {
        Self {
            of_actors: BTreeMap::new(),
            capacity,
            uses: 0,
        }
    }

    /// How many actors are remembered.
    pub(super) fn len(&self) -> usize {
        self.of_actors.len()
    }

    /// The run of an actor that is listened to.
    pub(super) fn of(&self, actor: u64) -> Option<&Run> {
        self.of_actors.get(&actor)
    }

    /// Notes a datagram that was admitted and has opened, with its key if that is not noted yet.
    pub(super) fn note(&mut self, now: Now, header: &Header, key: Option<SessionKey>) {
        self.uses += 1;
        let actor = header.sender.actor;
        if self.of_actors.len() >= self.capacity && !self.of_actors.contains_key(&actor) {
            self.forget_oldest();
        }
        let fresh = || Run {
            sender: header.sender,
            seen: Box::new(ReplayWindow::new()),
            key: None,
            heard_us: 0,
            used: 0,
        };
        let run = self.of_actors.entry(actor).or_insert_with(fresh);
        if run.sender != header.sender || !run.seen.is_new(header.sequence) {
            *run = fresh();
        }
        run.heard_us = now.monotonic_us;
        run.seen.note(header.sequence);
        run.used = self.uses;
        if key.is_some() {
            run.key = key;
        }
    }

    /// Forgets the keys that were derived from keys other than these; what was seen is kept.
    pub(super) fn retain_keys(&mut self, keep: impl Fn(u32) -> bool) {
        for run in self.of_actors.values_mut() {
            run.key = run.key.take().filter(|key| keep(key.id));
        }
    }

    /// Forgets the eighth that was not heard for longest: finding it takes a look at all of them, which
    /// is too much to do for each newcomer.
    fn forget_oldest(&mut self) {
        let mut used: Vec<u64> = self.of_actors.values().map(|run| run.used).collect();
        used.sort_unstable();
        let first_kept = used.get((used.len() / 8).max(1));
        self.of_actors
            .retain(|_, run| first_kept.is_some_and(|&first| run.used >= first));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::session::Cluster;

    const NOW: Now = Now {
        monotonic_us: 0,
        unix_us: 0,
    };

    fn header(actor: u64, sequence: u64) -> Header {
        Header {
            cluster_tag: [0; 4],
            key_id: 7,
            sender: SenderId {
                actor,
                incarnation: 1,
                session: 1,
            },
            sequence,
        }
    }

    fn key(header: &Header) -> Option<SessionKey> {
        SessionKey::derive(&[1; 32], header.key_id, &Cluster::new("c"), header.sender).ok()
    }

    #[test]
    fn a_key_is_kept_until_its_origin_leaves_the_ring_and_what_was_seen_beyond_that() {
        let mut runs = Runs::new(4);
        let header = header(1, 1);
        runs.note(NOW, &header, key(&header));
        assert!(runs.of(1).unwrap().key(&header).is_some());
        let other_key = Header {
            key_id: 8,
            ..header
        };
        assert!(runs.of(1).unwrap().key(&other_key).is_none());
        runs.retain_keys(|id| id == 7);
        assert!(runs.of(1).unwrap().key(&header).is_some());
        runs.retain_keys(|id| id != 7);
        let run = runs.of(1).unwrap();
        assert!(run.key(&header).is_none() && !run.admits(&header, NOW));
    }

    #[test]
    fn a_later_run_does_not_inherit_the_key() {
        let mut runs = Runs::new(4);
        let mut header = header(1, 1);
        runs.note(NOW, &header, key(&header));
        header.sender.incarnation = 2;
        assert!(runs.of(1).unwrap().key(&header).is_none());
        runs.note(NOW, &header, None);
        assert!(runs.of(1).unwrap().key(&header).is_none());
    }

    #[test]
    fn the_one_not_heard_for_longest_is_forgotten_whatever_the_capacity() {
        for capacity in [1, 2, 3, 16] {
            let mut runs = Runs::new(capacity);
            for actor in 0..capacity as u64 {
                runs.note(NOW, &header(actor, 1), None);
            }
            runs.note(NOW, &header(0, 2), None);
            runs.note(NOW, &header(100, 1), None);
            assert!(runs.of(100).is_some() && runs.len() <= capacity);
            assert_eq!(runs.of(0).is_some(), capacity > 1);
            assert!(runs.of(1).is_none());
        }
    }
}
