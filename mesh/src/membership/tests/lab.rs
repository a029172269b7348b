//! Many memberships on a network that delays and loses by seed, in virtual time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::ops::Range;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::super::{Event, Member, Membership, Output};
use crate::settings::Preset;
use crate::time::Now;

pub(super) const MS: u64 = 1_000;
pub(super) const S: u64 = 1_000 * MS;
const TICK_US: u64 = 10 * MS;
/// What a socket keeps for a process that is stopped.
const SOCKET_DATAGRAMS: usize = 64;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) me: Member,
    pub(super) membership: Membership,
    pub(super) events: Vec<(u64, Event)>,
    pub(super) sent_bytes: usize,
    /// Bit mask of the halves of the network it is in; it talks to nodes that share one.
    pub(super) side: u8,
    pub(super) is_dead: bool,
    is_stopped: bool,
    socket: Vec<Vec<u8>>,
}

pub(super) struct Lab {
    pub(super) now_us: u64,
    pub(super) nodes: Vec<Node>,
    pub(super) loss: f64,
    pub(super) delay_us: Range<u64>,
    /// A hash over everything that was sent, when, and to whom.
    pub(super) trace: u64,
    preset: Preset,
    wire: BinaryHeap<Reverse<Flight>>,
    sent: u64,
    random: Xoshiro256PlusPlus,
    out: Output,
}

/// A payload on its way: when it arrives, the how-many-eth it is, where to, and what.
type Flight = (u64, u64, SocketAddr, Vec<u8>);

/// A time by the monotonic clock. The wall clock is as late as can be, and finds nothing ahead of it.
pub(super) fn at(monotonic_us: u64) -> Now {
    Now {
        monotonic_us,
        unix_us: u64::MAX,
    }
}

pub(super) fn address(number: u64) -> SocketAddr {
    let [.., high, low] = number.to_be_bytes();
    ([10, 0, high, low], 7_946).into()
}

impl Lab {
    /// Nodes with the actors 0, 1, 2 and so on that know nobody.
    pub(super) fn strangers(count: u64, preset: Preset, seed: u64) -> Self {
        let mut lab = Self {
            now_us: 5 * S,
            nodes: Vec::new(),
            loss: 0.0,
            delay_us: match preset {
                Preset::Lan => 200..2 * MS,
                Preset::Wan => 40 * MS..80 * MS,
            },
            trace: 0,
            preset,
            wire: BinaryHeap::new(),
            sent: 0,
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            out: Output::new(),
        };
        for actor in 0..count {
            lab.start(Member {
                actor,
                incarnation: 1,
                address: address(actor),
            });
        }
        lab
    }

    /// Nodes that have all joined by way of the first, and know each other.
    pub(super) fn cluster(count: u64, preset: Preset, seed: u64) -> Self {
        let mut lab = Self::strangers(count, preset, seed);
        for node in 1..lab.nodes.len() {
            lab.announce(node, 0);
        }
        lab.run_until(60 * S, "all know all", Self::all_know_all);
        lab
    }

    /// Starts a node; returns its place.
    pub(super) fn start(&mut self, me: Member) -> usize {
        let seed = self.random.random();
        self.nodes.push(Node {
            me,
            membership: Membership::new(me, self.preset, seed),
            events: Vec::new(),
            sent_bytes: 0,
            side: 1,
            is_dead: false,
            is_stopped: false,
            socket: Vec::new(),
        });
        self.nodes.len() - 1
    }

    pub(super) fn announce(&mut self, from: usize, to: usize) {
        let to = self.nodes[to].me;
        self.with(from, |membership, now_us, out| {
            membership.announce(now_us, to, out);
        });
    }

    pub(super) fn leave(&mut self, node: usize) {
        self.with(node, |membership, now_us, out| {
            membership.leave(now_us, out);
        });
        self.nodes[node].is_dead = true;
    }

    pub(super) fn kill(&mut self, node: usize) {
        self.nodes[node].is_dead = true;
    }

    pub(super) fn stop(&mut self, node: usize) {
        self.nodes[node].is_stopped = true;
    }

    /// Lets a stopped node go on: first it does what is due, then it finds what its socket kept.
    pub(super) fn go_on(&mut self, node: usize) {
        self.nodes[node].is_stopped = false;
        self.with(node, |membership, now_us, out| membership.tick(now_us, out));
        for payload in std::mem::take(&mut self.nodes[node].socket) {
            self.receive(node, &payload);
        }
    }

    /// Cuts the network: each node is on the side(s) that `side` says.
    pub(super) fn cut(&mut self, side: impl Fn(u64) -> u8) {
        for node in &mut self.nodes {
            node.side = side(node.me.actor);
        }
    }

    pub(super) fn run(&mut self, duration_us: u64) {
        let end_us = self.now_us + duration_us;
        while self.now_us < end_us {
            self.step();
        }
    }

    /// Runs until a condition holds and returns how long that took, microseconds.
    pub(super) fn run_until(
        &mut self,
        at_most_us: u64,
        what: &str,
        condition: impl Fn(&Self) -> bool,
    ) -> u64 {
        let start_us = self.now_us;
        while !condition(self) {
            assert!(
                self.now_us - start_us < at_most_us,
                "not within {} ms: {what}",
                at_most_us / MS
            );
            self.step();
        }
        self.now_us - start_us
    }

    /// The nodes that run.
    pub(super) fn living(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| !node.is_dead)
    }

    /// Whether every running node knows exactly the others that run.
    pub(super) fn all_know_all(&self) -> bool {
        let living: BTreeMap<u64, Member> = self.living().map(|n| (n.me.actor, n.me)).collect();
        self.living().all(|node| {
            let others = living.values().filter(|other| other.actor != node.me.actor);
            node.membership.members().eq(others.copied())
        })
    }

    /// Whether no running node knows this actor.
    pub(super) fn nobody_knows(&self, actor: u64) -> bool {
        self.living()
            .all(|node| node.membership.member(actor).is_none())
    }

    /// How often a running node has said since this moment that another is down.
    pub(super) fn downs_since(&self, since_us: u64) -> usize {
        self.events_since(since_us)
            .filter(|event| matches!(event, Event::Down(_)))
            .count()
    }

    /// How often a running node has said since this moment that it was thought down.
    pub(super) fn rejoins_since(&self, since_us: u64) -> usize {
        self.events_since(since_us)
            .filter(|event| matches!(event, Event::Rejoined(_)))
            .count()
    }

    fn events_since(&self, since_us: u64) -> impl Iterator<Item = Event> {
        self.living()
            .flat_map(|node| &node.events)
            .filter(move |(at_us, _)| *at_us >= since_us)
            .map(|(_, event)| *event)
    }

    pub(super) fn sent_bytes(&self) -> usize {
        self.nodes.iter().map(|node| node.sent_bytes).sum()
    }

    /// One tick of all nodes, and what arrives until the next.
    fn step(&mut self) {
        for node in 0..self.nodes.len() {
            if !self.nodes[node].is_stopped {
                self.with(node, |membership, now_us, out| membership.tick(now_us, out));
            }
        }
        let end_us = self.now_us + TICK_US;
        while let Some(Reverse((at_us, ..))) = self.wire.peek()
            && *at_us < end_us
        {
            let Some(Reverse((at_us, _, to, payload))) = self.wire.pop() else {
                break;
            };
            self.now_us = at_us;
            let runs_at = |node: &Node| node.me.address == to && !node.is_dead;
            let Some(place) = self.nodes.iter().position(runs_at) else {
                continue;
            };
            let node = &mut self.nodes[place];
            if !node.is_stopped {
                self.receive(place, &payload);
            } else if node.socket.len() < SOCKET_DATAGRAMS {
                node.socket.push(payload);
            }
        }
        self.now_us = end_us;
    }

    fn receive(&mut self, node: usize, payload: &[u8]) {
        self.with(node, |membership, now_us, out| {
            membership.receive(at(now_us), payload, out).unwrap();
        });
    }

    fn with(&mut self, from: usize, work: impl FnOnce(&mut Membership, u64, &mut Output)) {
        let mut out = std::mem::take(&mut self.out);
        let now_us = self.now_us;
        let node = &mut self.nodes[from];
        if !node.is_dead {
            work(&mut node.membership, now_us, &mut out);
        }
        node.events.extend(out.events.iter().map(|&e| (now_us, e)));
        let side = node.side;
        for (to, payload) in out.messages() {
            self.nodes[from].sent_bytes += payload.len();
            self.sent += 1;
            self.note(now_us, to, payload);
            let is_lost = self.loss > 0.0 && self.random.random_bool(self.loss);
            let is_cut = self
                .nodes
                .iter()
                .any(|node| node.me.address == to && node.side & side == 0);
            if !is_lost && !is_cut {
                let at_us = now_us + self.random.random_range(self.delay_us.clone());
                let flight = (at_us, self.sent, to, payload.to_vec());
                self.wire.push(Reverse(flight));
            }
        }
        out.clear();
        self.out = out;
    }

    fn note(&mut self, now_us: u64, to: SocketAddr, payload: &[u8]) {
        use std::hash::{Hash, Hasher};
        let mut hasher = siphasher::sip::SipHasher13::new();
        (self.trace, now_us, to, payload).hash(&mut hasher);
        self.trace = hasher.finish();
    }
}
