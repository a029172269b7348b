//! What becomes of peers, for the log.

use std::net::SocketAddr;

use super::Mesh;
use crate::link::{Link, Told};
use crate::status::PeerState;
use crate::time::Now;

/// How long a peer that is there may take to say its name before it is told of without, microseconds.
const NAME_US: u64 = 3_000_000;

/// How long a peer that went without a word is missed, microseconds: as long as the membership looks for it.
const MISSED_US: u64 = 24 * 60 * 60 * 1_000_000;

/// What became of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerChange {
    /// It is there, for the first time.
    Alive,
    /// It does not answer; others are being asked.
    Suspected,
    /// It was suspected, and answers.
    Answers,
    /// It is gone without a word.
    Down,
    /// It said that it leaves, and did.
    Left,
    /// It was gone, and is there.
    Back,
    /// It is reached elsewhere than before.
    Moved {
        /// Where it was reached.
        from: SocketAddr,
    },
}

/// A change of one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerEvent {
    /// The peer's name; empty when it has not said it.
    pub name: String,
    /// Where it is reached, or was last.
    pub address: SocketAddr,
    /// What became of it.
    pub change: PeerChange,
}

/// Who is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// How many peers are there and answer.
    pub alive: usize,
    /// Name and address of those that were there, did not leave, and are not there or do not answer.
    pub missing: Vec<(String, SocketAddr)>,
}

impl Mesh {
    /// What became of each peer since the last call. Changes that were undone in between are none.
    pub fn changes(&mut self, now: Now) -> Vec<PeerEvent> {
        let suspects = self.membership.suspects();
        let mut events = Vec::new();
        for place in 0..self.links.len() {
            let link = &self.links[place];
            let state = if !link.is_up {
                PeerState::Down
            } else if suspects.contains(&link.actor) {
                PeerState::Suspect
            } else {
                PeerState::Alive
            };
            let (told, change) = self.change_of(now, link, state);
            if let Some(change) = change {
                events.push(PeerEvent {
                    name: link.name.clone(),
                    address: link.address,
                    change,
                });
            }
            self.links[place].told = told;
        }
        events
    }

    /// What is told of a peer by now, and what is to be told.
    fn change_of(&self, now: Now, link: &Link, state: PeerState) -> (Told, Option<PeerChange>) {
        let told = Told::As {
            state,
            address: link.address,
        };
        let (before, known_at) = match (link.told, state) {
            (Told::Nothing | Told::Waits { .. }, PeerState::Down) => return (Told::Nothing, None),
            (Told::Nothing, _) if link.name.is_empty() => {
                let since_us = now.monotonic_us;
                return (Told::Waits { since_us }, None);
            }
            (Told::Waits { since_us }, _)
                if link.name.is_empty() && now.monotonic_us.saturating_sub(since_us) < NAME_US =>
            {
                return (link.told, None);
            }
            (Told::Nothing | Told::Waits { .. }, _) => return (told, self.first_change(link)),
            (Told::As { state, address }, _) => (state, address),
        };
        let change = match (before, state) {
            (PeerState::Down, PeerState::Down) => None,
            _ if known_at != link.address && state != PeerState::Down => {
                Some(PeerChange::Moved { from: known_at })
            }
            (PeerState::Down, _) => Some(PeerChange::Back),
            _ if state != PeerState::Alive && self.is_replaced(link) => None,
            (_, PeerState::Down) if link.said_goodbye => Some(PeerChange::Left),
            (_, PeerState::Down) => Some(PeerChange::Down),
            (PeerState::Alive, PeerState::Suspect) => Some(PeerChange::Suspected),
            (PeerState::Suspect, PeerState::Alive) => Some(PeerChange::Answers),
            _ => None,
        };
        (told, change)
    }

    /// What is told of an actor that is there for the first time: its host may have been there before, with
    /// another region.
    fn first_change(&self, link: &Link) -> Option<PeerChange> {
        let is_same_host = |other: &&Link| {
            other.actor != link.actor && other.name == link.name && !link.name.is_empty()
        };
        let others = self.links.iter().filter(is_same_host);
        let told = others.filter_map(|other| match other.told {
            Told::As { state, address } => Some((other.is_up, state, address)),
            Told::Nothing | Told::Waits { .. } => None,
        });
        // Of several the one that was there last.
        match told.max_by_key(|(is_up, ..)| *is_up) {
            None => Some(PeerChange::Alive),
            Some((_, PeerState::Alive, address)) if address == link.address => None,
            Some((_, _, address)) if address == link.address => Some(PeerChange::Back),
            // Two hosts of one name are no reason to think that one has moved.
            Some((true, PeerState::Alive, _)) => Some(PeerChange::Alive),
            Some((_, _, from)) => Some(PeerChange::Moved { from }),
        }
    }

    /// Whether the same host is there as another actor: its region is a new one.
    fn is_replaced(&self, link: &Link) -> bool {
        self.links.iter().any(|other| {
            let is_same_name = !link.name.is_empty() && other.name == link.name;
            other.is_up
                && other.actor != link.actor
                && (other.address == link.address || is_same_name)
        })
    }

    /// Who is there, and who should be.
    pub fn presence(&self, now: Now) -> Presence {
        let suspects = self.membership.suspects();
        let is_alive = |link: &Link| link.is_up && !suspects.contains(&link.actor);
        let is_missed = |link: &Link| {
            let is_recent = link
                .heard_us
                .is_some_and(|at_us| now.monotonic_us.saturating_sub(at_us) < MISSED_US);
            link.is_up || is_recent && !link.said_goodbye && !self.is_replaced(link)
        };
        let (alive, others): (Vec<&Link>, Vec<&Link>) =
            self.links.iter().partition(|link| is_alive(link));
        Presence {
            alive: alive.len(),
            missing: others
                .into_iter()
                .filter(|link| is_missed(link))
                .map(|link| (link.name.clone(), link.address))
                .collect(),
        }
    }
}
