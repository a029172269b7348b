//! Becoming part of a cluster: the snapshot a node asks for before it is ready.

use crate::flights::LinkIndex;

/// How many peers are asked in turn within the time a snapshot is waited for.
const ASKED_IN_TURN: u64 = 4;

/// A request for everything a peer knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Its number.
    pub number: u64,
    /// Who was asked.
    pub to: LinkIndex,
    asked_us: u64,
}

/// Whether this node has a snapshot yet, and whether one is under way.
#[derive(Debug)]
pub(crate) struct Join {
    joined: bool,
    since_us: u64,
    wanted: bool,
    request: Option<Request>,
    number: u64,
}

impl Join {
    /// A node that has begun at this time.
    pub(crate) const fn new(now_us: u64) -> Self {
        Self {
            joined: false,
            since_us: now_us,
            wanted: true,
            request: None,
            number: 0,
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

    /// A snapshot is wanted again, without being waited for.
    pub(crate) const fn want_again(&mut self) {
        self.wanted = true;
    }

    /// Looks at the time. Returns a new request if one is to be sent now, to `peer`.
    pub(crate) fn tick(
        &mut self,
        now_us: u64,
        timeout_us: u64,
        peer: impl FnOnce() -> Option<LinkIndex>,
    ) -> Option<Request> {
        if !self.joined && now_us.saturating_sub(self.since_us) >= timeout_us {
            self.joined = true;
        }
        let is_open = self.request.is_some_and(|request| {
            now_us.saturating_sub(request.asked_us) < timeout_us / ASKED_IN_TURN
        });
        if !self.wanted || is_open {
            return None;
        }
        let to = peer()?;
        self.number += 1;
        self.request = Some(Request {
            number: self.number,
            to,
            asked_us: now_us,
        });
        self.request
    }

    /// Notes the end of a snapshot; whether this node is joined by it.
    pub(crate) fn note_end(&mut self, from: LinkIndex, number: u64) -> bool {
        let is_it = self
            .request
            .is_some_and(|request| request.number == number && request.to == from);
        if !is_it {
            return false;
        }
        self.request = None;
        self.wanted = false;
        !std::mem::replace(&mut self.joined, true)
    }

    /// A peer is gone, and with it what was asked of it.
    pub(crate) fn forget(&mut self, link: LinkIndex) {
        if self.request.is_some_and(|request| request.to == link) {
            self.request = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: LinkIndex = LinkIndex(0);
    const BOB: LinkIndex = LinkIndex(1);
    const TIMEOUT_US: u64 = 4_000;

    fn ask(join: &mut Join, now_us: u64, peer: Option<LinkIndex>) -> Option<(u64, LinkIndex)> {
        let request = join.tick(now_us, TIMEOUT_US, || peer)?;
        Some((request.number, request.to))
    }

    #[test]
    fn another_peer_is_asked_when_one_does_not_answer_or_is_gone() {
        let mut join = Join::new(0);
        assert_eq!(ask(&mut join, 0, None), None);
        assert_eq!(ask(&mut join, 10, Some(ANN)), Some((1, ANN)));
        assert_eq!(ask(&mut join, 1_009, Some(BOB)), None);
        assert_eq!(ask(&mut join, 1_010, Some(BOB)), Some((2, BOB)));
        join.forget(ANN);
        assert_eq!(ask(&mut join, 1_020, Some(ANN)), None);
        join.forget(BOB);
        assert_eq!(ask(&mut join, 1_030, Some(ANN)), Some((3, ANN)));
        // The answers to earlier questions, or of somebody else, are none.
        assert!(!join.note_end(BOB, 2) && !join.note_end(BOB, 3) && !join.is_joined());
        assert!(join.note_end(ANN, 3) && join.is_joined());
        assert_eq!(ask(&mut join, 3_000, Some(ANN)), None);
    }

    #[test]
    fn after_the_timeout_a_node_is_ready_and_goes_on_asking() {
        let mut join = Join::new(0);
        ask(&mut join, TIMEOUT_US - 1, Some(ANN));
        assert!(!join.is_joined());
        assert_eq!(ask(&mut join, TIMEOUT_US, Some(ANN)), None);
        assert!(join.is_joined());
        assert_eq!(ask(&mut join, TIMEOUT_US + 999, Some(BOB)), Some((2, BOB)));
        assert!(!join.note_end(BOB, 2), "it was ready before");
        join.want_again();
        assert_eq!(ask(&mut join, 9_000, Some(BOB)), Some((3, BOB)));
        assert!(join.is_joined());
    }
}
