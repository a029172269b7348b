//! One node's mesh.

mod broadcast;
mod changes;
mod forgive;
mod gossip;
mod links;
mod names;
mod receive;
mod repeat;
mod report;
mod send;
mod snapshot;
mod synchronize;
#[cfg(test)]
mod tests;
mod tick;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;

use hivemind_shared::window::Period;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use crate::book::{Book, FORGIVEN, KeyId};
use crate::budget::{Allowance, Budget};
use crate::counters::Counters;
use crate::drops::{DropCause, Drops};
use crate::flights::{Flights, LinkIndex};
use crate::join::Join;
use crate::link::Link;
use crate::membership::{self, Member, Membership};
use crate::names::Names;
use crate::outbox::Outbox;
use crate::overshoot::Overshoot;
use crate::probe::Probe;
use crate::refusals::{Refusal, Refusals};
use crate::seal::{KeyRing, OVERHEAD_BYTES, Opener, Sealer, SenderId};
use crate::settings::{Local, Randomness, Settings};
use crate::time::Now;
use crate::traffic::Traffic;
use crate::wire::counts::Pack;
use crate::wire::sections::Hello;

pub use changes::{PeerChange, PeerEvent, Presence};

/// Datagrams a second to addresses at which no member is known to be, once [`STRANGERS_MAX`] are used up. It is
/// more than membership takes where the network hides from which address members send.
const STRANGERS_PER_S: u32 = 128;

/// Such datagrams at once.
const STRANGERS_MAX: u32 = 512;

/// One node's mesh: everything between the datagrams of its peers and the counters of its region.
#[derive(Debug)]
pub struct Mesh {
    settings: Settings,
    local: Local,
    sealer: Sealer,
    opener: Opener,
    membership: Membership,
    /// What the membership wants sent and made known.
    said: membership::Output,
    links: Vec<Link>,
    by_actor: BTreeMap<u64, LinkIndex>,
    /// Peers that are members at present.
    up: Vec<LinkIndex>,
    book: Book,
    flights: Flights,
    budget: Budget,
    /// Keys to send with the next datagrams.
    urgent: Vec<KeyId>,
    /// Keys that may wait, by the time they are due.
    waiting: BinaryHeap<Reverse<(u64, KeyId)>>,
    pack: Pack,
    probe: Probe,
    join: Join,
    overshoot: Overshoot,
    names: Names,
    traffic: Traffic,
    drops: Drops,
    refusals: Refusals,
    /// The hash of the rules this node decides by; `None` before it is known.
    rules: Option<u64>,
    random: Xoshiro256PlusPlus,
    ticks: u64,
    /// Periods longer than one unit by which counts are taken in, in order.
    periods: Vec<Period>,
    /// How often something is sent to addresses at which no member is known to be.
    strangers: Allowance,
    /// When what is done once a second was last done.
    second_us: u64,
    heartbeat_us: u64,
    /// Where the next gossip about other actors begins.
    gossip_from: u64,
    /// Probes that were lost since the last tick.
    lost_probes: Vec<(LinkIndex, u64)>,
    /// When a stranger was last greeted, monotonic microseconds.
    greeted_us: Option<u64>,
    /// When there was no room for a peer's key last, monotonic microseconds.
    no_room_us: Option<u64>,
    /// Whether the keys are secret.
    sealed: bool,
    /// The last tick's time, by which a clock that was set is noticed.
    last: Now,
}

impl Mesh {
    /// A mesh that knows nobody yet. It scans the counters once: what an earlier run counted is news to
    /// peers that have not heard it.
    pub fn new(
        settings: Settings,
        local: Local,
        keys: &KeyRing,
        random: Randomness,
        now: Now,
        counters: &mut impl Counters,
    ) -> Self {
        let sender = SenderId {
            actor: local.actor,
            incarnation: local.incarnation,
            session: local.session,
        };
        let me = Member {
            actor: local.actor,
            incarnation: local.incarnation,
            address: local.address,
        };
        let body_bytes_max = settings.datagram_bytes_max.saturating_sub(OVERHEAD_BYTES);
        let Randomness { seed, hash_key } = random;
        let mut book = Book::new(local.actor, settings.keys_max, hash_key);
        counters.scan(&mut |reading| {
            book.note_slot(now.unix_s(), reading);
            book.restore_forgiven(now.unix_s(), reading);
        });
        for note in counters.forgiven() {
            book.merge(now.unix_s(), FORGIVEN, &note.key, note.window, note.hits);
        }
        Self {
            sealer: Sealer::new(keys, &settings.cluster, sender),
            opener: Opener::new(keys, &settings.cluster, sender),
            membership: Membership::new(me, settings.preset, seed),
            said: membership::Output::new(),
            links: Vec::new(),
            by_actor: BTreeMap::new(),
            up: Vec::new(),
            book,
            flights: Flights::default(),
            budget: Budget::new(settings.send_bytes_per_s, now.monotonic_us),
            urgent: Vec::new(),
            waiting: BinaryHeap::new(),
            pack: Pack::new(body_bytes_max),
            probe: Probe::default(),
            join: Join::new(now.monotonic_us),
            overshoot: Overshoot::default(),
            names: Names::default(),
            traffic: Traffic::default(),
            drops: Drops::default(),
            refusals: Refusals::default(),
            rules: None,
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            ticks: 0,
            periods: counters.periods().to_vec(),
            strangers: Allowance::new(STRANGERS_PER_S, STRANGERS_MAX),
            second_us: now.monotonic_us,
            heartbeat_us: now.monotonic_us,
            gossip_from: 0,
            lost_probes: Vec::new(),
            no_room_us: None,
            greeted_us: None,
            sealed: keys.is_secret(),
            last: now,
            settings,
            local,
        }
    }

    /// Says hello to these addresses, which bootstrap names lead to; again and again is fine.
    pub fn join(&mut self, _now: Now, addresses: &[SocketAddr], out: &mut Outbox) {
        let expected = addresses.iter().filter(|it| **it != self.local.address);
        let known = self.links.iter().map(|link| &link.address);
        self.refusals.expect_only(known.chain(expected).copied());
        for &address in addresses {
            let is_known = self
                .links
                .iter()
                .any(|link| link.is_up && link.address == address);
            if !is_known && address != self.local.address {
                self.send_hello(address, true, out);
            }
        }
    }

    /// Nobody to join: this node is the first, and ready at once.
    pub const fn join_nobody(&mut self) {
        self.join.set_joined();
    }

    /// Seals and opens with other keys from now on.
    pub fn replace_keys(&mut self, keys: &KeyRing) {
        self.sealer.replace_keys(keys);
        self.opener.replace_keys(keys);
        self.sealed = keys.is_secret();
    }

    /// Tells peers with every heartbeat which rules this node decides by: a hash of them.
    pub const fn set_rules(&mut self, hash: u64) {
        self.rules = Some(hash);
    }

    /// Which datagrams were of no use lately for a cause that says something of their sender's settings.
    pub fn refusals(&mut self, now: Now) -> Vec<Refusal> {
        self.refusals.take(now.monotonic_us)
    }

    /// Notes datagrams that the system did not send.
    pub fn note_unsent(&mut self, datagrams: u64) {
        self.drops.add_many(DropCause::Unsent, datagrams);
    }

    /// Whether a snapshot was received, or is not waited for any longer.
    pub const fn is_joined(&self) -> bool {
        self.join.is_joined()
    }

    fn link(&self, index: LinkIndex) -> Option<&Link> {
        self.links.get(index.0)
    }

    fn is_up(&self, index: LinkIndex) -> bool {
        self.link(index).is_some_and(|link| link.is_up)
    }

    fn link_mut(&mut self, index: LinkIndex) -> Option<&mut Link> {
        self.links.get_mut(index.0)
    }

    fn hello(&self, wants_answer: bool) -> Hello {
        Hello {
            wants_answer,
            address: self.local.address,
            name: self.local.name.clone(),
        }
    }
}
