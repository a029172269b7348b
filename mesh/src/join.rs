//! Becoming part of a cluster: the snapshot a node asks for before it is ready.

use std::collections::BTreeSet;

use crate::flights::LinkIndex;

/// How many peers are asked in turn, when none answers, within the time a snapshot is waited for.
const ASKED_IN_TURN: u64 = 4;

/// A request for everything a peer knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Its number.
    pub(crate) number: u64,
    /// Who was asked.
    pub(crate) to: LinkIndex,
    /// When anything of the answer last came, or the request was made.
    heard_us: u64,
}

/// Whether this node has a snapshot yet, and whether one is under way.
#[derive(Debug)]
pub(crate) struct Join {
    joined: bool,
    /// Since when a snapshot is wanted; `None` when none is.
    wanted_us: Option<u64>,
    request: Option<Request>,
    number: u64,
    /// Peers that gave all they had, but are joining themselves.
    joining_too: BTreeSet<LinkIndex>,
}

impl Join {
    /// A node that has begun at this time.
    pub(crate) const fn new(now_us: u64) -> Self {
        Self {
            joined: false,
            wanted_us: Some(now_us),
            request: None,
            number: 0,
            joining_too: BTreeSet::new(),
        }
    }

    /// Whether a snapshot was received, or is not waited for any longer.
    pub(crate) const fn is_joined(&self) -> bool {
        self.joined
    }

    /// There is nobody to get one from.
    pub(crate) const fn set_joined(&mut self) {
        self.joined = true;
    }

    /// A snapshot is wanted again, without this node being any less ready.
    pub(crate) const fn want_again(&mut self, now_us: u64) {
        self.wanted_us = Some(now_us);
        self.request = None;
    }

    /// Looks at the time. Returns a new request if one is to be sent now, to one of `peers`, as `choose`
    /// chooses among so many.
    ///
    /// A peer is asked as long as it answers; another one only after a silence. After `timeout_us` in all
    /// no snapshot is waited for any longer: what is missing is found out by comparing sums.
    pub(crate) fn tick(
        &mut self,
        now_us: u64,
        timeout_us: u64,
        peers: &[LinkIndex],
        choose: impl FnOnce(usize) -> usize,
    ) -> Option<Request> {
        let since_us = self.wanted_us?;
        if now_us.saturating_sub(since_us) >= timeout_us {
            self.end();
            return None;
        }
        let is_open = self.request.is_some_and(|request| {
            now_us.saturating_sub(request.heard_us) < timeout_us / ASKED_IN_TURN
        });
        if is_open || peers.is_empty() {
            return None;
        }
        let is_better = |peer: &&LinkIndex| !self.joining_too.contains(peer);
        let better: Vec<LinkIndex> = peers.iter().filter(is_better).copied().collect();
        if better.is_empty() {
            // Everybody is new here: together they have all there is.
            self.end();
            return None;
        }
        let to = *better.get(choose(better.len()))?;
        self.number += 1;
        self.request = Some(Request {
            number: self.number,
            to,
            heard_us: now_us,
        });
        self.request
    }

    fn end(&mut self) {
        self.joined = true;
        self.wanted_us = None;
        self.request = None;
        self.joining_too.clear();
    }

    /// Notes that a part of a snapshot came.
    pub(crate) fn note_part(&mut self, from: LinkIndex, now_us: u64) {
        if let Some(request) = &mut self.request
            && request.to == from
        {
            request.heard_us = now_us;
        }
    }

    /// Notes the end of a snapshot. One of a peer that is `joining` itself is not enough.
    pub(crate) fn note_end(&mut self, from: LinkIndex, number: u64, joining: bool) {
        let is_it = self
            .request
            .is_some_and(|request| request.number == number && request.to == from);
        if !is_it {
            return;
        }
        self.request = None;
        if joining {
            self.joining_too.insert(from);
        } else {
            self.end();
        }
    }

    /// A peer is gone, and with it what was asked of it.
    pub(crate) fn forget(&mut self, link: LinkIndex) {
        self.joining_too.remove(&link);
        if self.request.is_some_and(|request| request.to == link) {
            self.request = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT_US: u64 = 4_000_000;
    const PEERS: [LinkIndex; 2] = [LinkIndex(0), LinkIndex(1)];

    fn first(_: usize) -> usize {
        0
    }

    #[test]
    fn a_node_is_joined_once_a_peer_has_sent_everything() {
        let mut join = Join::new(0);
        let request = join.tick(1, TIMEOUT_US, &PEERS, first).unwrap();
        join.note_end(PEERS[1], request.number, false);
        assert!(!join.is_joined(), "that was somebody else's");
        join.note_end(request.to, request.number, false);
        assert!(join.is_joined());
        assert_eq!(join.tick(TIMEOUT_US / 2, TIMEOUT_US, &PEERS, first), None);
    }

    #[test]
    fn another_peer_is_asked_after_a_silence_and_not_while_one_answers() {
        let mut join = Join::new(0);
        let request = join.tick(0, TIMEOUT_US, &PEERS, first).unwrap();
        join.note_part(request.to, 900_000);
        assert_eq!(join.tick(1_500_000, TIMEOUT_US, &PEERS, first), None);
        let next = join.tick(1_900_000, TIMEOUT_US, &PEERS, |_| 1).unwrap();
        assert_eq!((next.to, next.number), (PEERS[1], request.number + 1));
    }

    #[test]
    fn nobody_waits_beyond_the_timeout_or_asks_then() {
        let mut join = Join::new(0);
        assert_eq!(join.tick(1, TIMEOUT_US, &[], first), None);
        assert!(!join.is_joined());
        assert_eq!(join.tick(TIMEOUT_US, TIMEOUT_US, &PEERS, first), None);
        assert!(join.is_joined());
        assert_eq!(join.tick(TIMEOUT_US * 2, TIMEOUT_US, &PEERS, first), None);
    }

    #[test]
    fn nodes_that_all_begin_at_once_do_not_wait_for_each_other() {
        let mut join = Join::new(0);
        for now_us in 0..2 {
            let request = join.tick(now_us, TIMEOUT_US, &PEERS, first).unwrap();
            assert_eq!(request.to, PEERS[usize::try_from(now_us).unwrap()]);
            join.note_end(request.to, request.number, true);
            assert!(!join.is_joined());
        }
        assert_eq!(join.tick(2, TIMEOUT_US, &PEERS, first), None);
        assert!(join.is_joined());
    }
}
