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
