//! A few meshes, their counters, and a network on which a test decides what becomes of each datagram.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;

use hivemind_shared::descriptor::Entry as Part;
use hivemind_shared::fingerprint::Fingerprint;
use hivemind_shared::region::{Forgiven, Name, Note};
use hivemind_shared::table::words::{Control, Count, Remote};
use hivemind_shared::table::{Beside, CountError, Key, Place, SlotReading};
use hivemind_shared::window::{Period, Unit, Window};

use crate::counters::Counters;
use crate::drops::DropCause;
use crate::node::Mesh;
use crate::outbox::Outbox;
use crate::seal::{KeyRing, Opener, Sealer, SenderId};
use crate::settings::{Local, Randomness, Settings};
use crate::time::Now;
use crate::wire::counts::{self, Entry};
use crate::wire::{Body, Kind, writer};

pub(super) const CLUSTER: &str = "test";
pub(super) const TICK_US: u64 = 5_000;

pub(super) fn key(number: u64, unit: Unit) -> Key {
    let fingerprint = Fingerprint {
        high: number.rotate_right(4),
        low: number,
    };
    Key {
        fingerprint,
        period: unit.into(),
    }
}

pub(super) fn address(actor: u64) -> SocketAddr {
    ([10, 0, 0, u8::try_from(actor).unwrap()], 7_946).into()
}

pub(super) fn local(actor: u64, incarnation: u64) -> Local {
    Local {
        actor,
        incarnation,
        session: actor << 32 | incarnation,
        address: address(actor),
        name: format!("node {actor}"),
    }
}

fn random(seed: u64) -> Randomness {
    Randomness {
        seed,
        hash_key: [seed, !seed],
    }
}

/// What a slot of a region holds.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    local: (u32, u32),
    previous: (u32, u32),
    remote: [(u32, i64); 2],
    rule: u32,
}

/// Counters as a region has them.
#[derive(Clone, Debug, Default)]
pub(super) struct Fake {
    slots: BTreeMap<(u32, Fingerprint), Slot>,
    dirty: BTreeSet<(u32, Fingerprint)>,
    /// By key and window.
    pub(super) forgiven: HashMap<(Key, u32), u32>,
    /// What slots are labelled with.
    pub(super) names: BTreeMap<(u32, Fingerprint), Name>,
    /// By rule.
    pub(super) limits: Vec<u32>,
    /// Those of rules that are longer than one unit.
    pub(super) periods: Vec<Period>,
}

/// What a key reads as.
pub(super) fn name(key: &Key) -> Name {
    let value = key.fingerprint.to_string();
    Name::of(b"edge", &[Part::new("key", &value)])
}

impl Fake {
    fn place(key: &Key) -> (u32, Fingerprint) {
        (key.period.code(), key.fingerprint)
    }

    fn hit(&mut self, key: &Key, hits: u32, now_s: u64) {
        let place = Self::place(key);
        let window = key.period.window_at(now_s).number();
        let slot = self.slots.entry(place).or_default();
        if slot.local.0 != window {
            slot.previous = std::mem::replace(&mut slot.local, (window, 0));
        }
        slot.local.1 += hits;
        self.dirty.insert(place);
        self.names.insert(place, name(key));
    }

    fn remote_place(&mut self, key: &Key, window: Window) -> &mut (u32, i64) {
        let slot = self.slots.entry(Self::place(key)).or_default();
        &mut slot.remote[window.number() as usize & 1]
    }

    /// What counts in a window beside this host's own hits.
    pub(super) fn remote(&self, key: &Key, window: u32) -> i64 {
        let slot = self.slots.get(&Self::place(key));
        let there = slot.map_or((0, 0), |slot| slot.remote[window as usize & 1]);
        if there.0 == window { there.1 } else { 0 }
    }

    /// What a key's slot is labelled with.
    pub(super) fn label(&self, key: &Key) -> Option<&Name> {
        self.names.get(&Self::place(key))
    }

    /// What counts in a window, everywhere.
    pub(super) fn total(&self, key: &Key, window: u32) -> u64 {
        self.read(key).map_or(0, |reading| reading.total_in(window))
    }

    fn visit(&self, place: (u32, Fingerprint), visit: &mut dyn FnMut(&SlotReading)) {
        let hits = |(window, count)| Count::Hits { window, count };
        let slot = self.slots[&place];
        visit(&SlotReading {
            key: Key {
                period: Period::from_code(place.0).unwrap(),
                fingerprint: place.1,
            },
            place: Place {
                index: 0,
                life: Control::from_word(0).life(),
            },
            local: hits(slot.local),
            previous: hits(slot.previous),
            remote: slot
                .remote
                .map(|(window, hits)| Remote::Hits { window, hits }),
            rule: slot.rule,
            is_of_peers: false,
            last_use_s: 0,
        });
    }
}

impl Counters for Fake {
    fn sweep(&mut self, visit: &mut dyn FnMut(&SlotReading)) {
        for place in std::mem::take(&mut self.dirty) {
            self.visit(place, visit);
        }
    }

    fn scan(&mut self, visit: &mut dyn FnMut(&SlotReading)) {
        for &place in self.slots.keys() {
            self.visit(place, visit);
        }
    }

    fn read(&self, key: &Key) -> Option<SlotReading> {
        let place = Self::place(key);
        self.slots.get(&place)?;
        let mut found = None;
        self.visit(place, &mut |reading| found = Some(*reading));
        found
    }

    fn put_remote(&mut self, key: &Key, window: Window, hits: i64) -> Result<(), CountError> {
        let there = self.remote_place(key, window);
        // What is of a window beyond the next one was put before the clock was set back.
        let is_beyond = there.0 > window.number().saturating_add(2);
        if is_beyond || there.0 < window.number() || there.0 == window.number() && hits > there.1 {
            *there = (window.number(), hits);
        }
        Ok(())
    }

    fn put_forgiven(
        &mut self,
        key: &Key,
        window: Window,
        beside: Beside,
    ) -> Result<(), CountError> {
        *self.remote_place(key, window) = (window.number(), beside.hits());
        let note = self.forgiven.entry((*key, window.number())).or_default();
        *note = beside.forgiven.max(*note);
        Ok(())
    }

    fn name(&self, key: &Key) -> Option<Name> {
        self.names.get(&Self::place(key)).cloned()
    }

    fn lacks_name(&self, key: &Key) -> bool {
        let place = Self::place(key);
        self.slots.contains_key(&place) && !self.names.contains_key(&place)
    }

    fn put_name(&mut self, key: &Key, said: &Name) {
        if self.lacks_name(key) && (said.is_truncated() || *said == name(key)) {
            self.names.insert(Self::place(key), said.clone());
        }
    }

    fn forgiven(&self) -> Vec<Note> {
        let notes = self.forgiven.iter();
        notes
            .map(|(&(key, window), &hits)| Note { key, window, hits })
            .collect()
    }

    fn periods(&self) -> &[Period] {
        &self.periods
    }

    fn limit(&self, rule: u32) -> Option<u32> {
        self.limits.get(rule as usize).copied()
    }
}

/// A datagram on its way.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

impl Parcel {
    /// What is in it, as anybody with the keys of an open cluster can see.
    pub(super) fn open(&self) -> (Option<Kind>, Vec<(u8, Vec<u8>)>) {
        let nobody = SenderId {
            actor: 0,
            incarnation: 0,
            session: 0,
        };
        let mut bytes = self.bytes.clone();
        let now = Now {
            monotonic_us: 0,
            unix_us: u64::MAX,
        };
        let mut opener = Opener::new(&KeyRing::open(CLUSTER), CLUSTER, nobody);
        let body = Body::parse(opener.open(now, &mut bytes).unwrap().body).unwrap();
        let sections = body.sections().map(|section| {
            let section = section.unwrap();
            (section.code, section.content.to_vec())
        });
        (body.kind, sections.collect())
    }

    pub(super) fn is(&self, kind: Kind) -> bool {
        self.open().0 == Some(kind)
    }

    /// The content of the first section of this type.
    pub(super) fn section(&self, code: u8) -> Option<Vec<u8>> {
        let mut sections = self.open().1.into_iter();
        sections
            .find(|(there, _)| *there == code)
            .map(|(_, content)| content)
    }

    /// Counts in it.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for (code, content) in self.open().1 {
            if code == counts::CODE {
                counts::read(&content, |_, entry| entries.push(entry)).unwrap();
            }
        }
        entries
    }
}

/// A node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) mesh: Mesh,
    pub(super) counters: Fake,
    pub(super) address: SocketAddr,
    /// How far its wall clock is ahead, microseconds.
    pub(super) ahead_us: u64,
    pub(super) out: Outbox,
}

impl Node {
    pub(super) fn new(local: Local, settings: Settings, keys: &KeyRing, now: Now) -> Self {
        let address = local.address;
        let mut counters = Fake::default();
        let seed = local.session;
        Self {
            mesh: Mesh::new(settings, local, keys, random(seed), now, &mut counters),
            counters,
            address,
            ahead_us: 0,
            out: Outbox::new(),
        }
    }

    fn now(&self, now: Now) -> Now {
        Now {
            unix_us: now.unix_us + self.ahead_us,
            ..now
        }
    }

    pub(super) fn receive(&mut self, now: Now, from: SocketAddr, bytes: &[u8]) {
        let now = self.now(now);
        let mut bytes = bytes.to_vec();
        let Self {
            mesh,
            counters,
            out,
            ..
        } = self;
        mesh.receive(now, from, &mut bytes, counters, out);
    }

    pub(super) fn drops(&self, cause: DropCause) -> u64 {
        self.mesh.drops.of(cause)
    }

    pub(super) fn take_out(&mut self) -> Vec<Parcel> {
        let from = self.address;
        let parcels = self.out.datagrams().flat_map(|(bytes, to)| {
            to.iter().map(move |&to| Parcel {
                from,
                to,
                bytes: bytes.to_vec(),
            })
        });
        let parcels = parcels.collect();
        self.out.clear();
        parcels
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Lab {
    pub(super) nodes: BTreeMap<u64, Node>,
    pub(super) now: Now,
    pub(super) settings: Settings,
    keys: KeyRing,
}

impl Lab {
    /// Nodes that know nobody.
    pub(super) fn apart(actors: &[u64], settings: Settings) -> Self {
        let now = Now {
            monotonic_us: 1_000_000_000,
            // The beginning of a minute.
            unix_us: 1_700_000_040_000_000,
        };
        let mut lab = Self {
            nodes: BTreeMap::new(),
            now,
            settings,
            keys: KeyRing::open(CLUSTER),
        };
        actors.iter().for_each(|&actor| lab.start(actor, 1));
        lab
    }

    /// Nodes that are members to each other, and have nothing to tell.
    pub(super) fn joined(actors: &[u64]) -> Self {
        Self::joined_with(actors, Settings::new(CLUSTER))
    }

    pub(super) fn joined_with(actors: &[u64], settings: Settings) -> Self {
        let mut lab = Self::apart(actors, settings);
        for &actor in &actors[1..] {
            lab.join(actor, actors[0]);
        }
        lab.run_until("all are joined", |lab| {
            lab.nodes.values().all(|node| {
                let up = node.mesh.up.len();
                up + 1 == actors.len() && node.mesh.is_joined()
            })
        });
        lab.run_ms(1_500);
        lab
    }

    /// Starts a node, in the place of an earlier run.
    pub(super) fn start(&mut self, actor: u64, incarnation: u64) {
        self.start_as(local(actor, incarnation));
    }

    /// Starts a node that presents itself like this.
    pub(super) fn start_as(&mut self, local: Local) {
        let actor = local.actor;
        let node = Node::new(local, self.settings.clone(), &self.keys, self.now);
        self.nodes.insert(actor, node);
    }

    /// Starts a node again with the counters it had.
    pub(super) fn restart(&mut self, actor: u64, incarnation: u64) {
        let mut counters = self.nodes.remove(&actor).unwrap().counters;
        self.start(actor, incarnation);
        let (now, settings) = (self.now, self.settings.clone());
        let (local, keys) = (local(actor, incarnation), &self.keys);
        let mesh = Mesh::new(
            settings,
            local,
            keys,
            random(incarnation),
            now,
            &mut counters,
        );
        let node = self.nodes.get_mut(&actor).unwrap();
        (node.mesh, node.counters) = (mesh, counters);
    }

    /// Has a node say hello to another.
    pub(super) fn join(&mut self, actor: u64, to: u64) {
        let node = self.nodes.get_mut(&actor).unwrap();
        node.mesh.join(self.now, &[address(to)], &mut node.out);
    }

    pub(super) fn node(&mut self, actor: u64) -> &mut Node {
        self.nodes.get_mut(&actor).unwrap()
    }

    pub(super) fn hit(&mut self, actor: u64, key: &Key, hits: u32) {
        let now = self.now;
        let node = self.node(actor);
        let now_s = node.now(now).unix_s();
        node.counters.hit(key, hits, now_s);
    }

    /// Resets a key at a node.
    pub(super) fn forgive(&mut self, actor: u64, key: &Key) -> Vec<Forgiven> {
        let now = self.now;
        let node = self.node(actor);
        let now = node.now(now);
        node.mesh.forgive(now, key, &mut node.counters)
    }

    /// What counts in the present window at each node, by its region.
    pub(super) fn totals(&self, key: &Key) -> Vec<u64> {
        let window = key.period.window_at(self.now.unix_s()).number();
        let nodes = self.nodes.values();
        nodes.map(|node| node.counters.total(key, window)).collect()
    }

    /// What counts at a node in the present window beside its own hits.
    pub(super) fn remote(&self, actor: u64, key: &Key) -> i64 {
        let window = key.period.window_at(self.now.unix_s()).number();
        self.nodes[&actor].counters.remote(key, window)
    }

    /// A tick of every node; what they send then is not delivered, but returned.
    pub(super) fn tick(&mut self) -> Vec<Parcel> {
        self.now.monotonic_us += TICK_US;
        self.now.unix_us += TICK_US;
        let mut parcels = Vec::new();
        for node in self.nodes.values_mut() {
            let now = node.now(self.now);
            node.mesh.tick(now, &mut node.counters, &mut node.out);
            parcels.extend(node.take_out());
        }
        parcels
    }

    /// Delivers datagrams, and what is sent because of them, but for those that `is_lost`.
    pub(super) fn deliver(
        &mut self,
        mut parcels: Vec<Parcel>,
        is_lost: &mut dyn FnMut(&Parcel) -> bool,
    ) {
        while !parcels.is_empty() {
            for parcel in std::mem::take(&mut parcels) {
                let bytes_max = self.settings.datagram_bytes_max;
                // Those of the membership have a bound of their own.
                assert!(parcel.bytes.len() <= bytes_max || parcel.is(Kind::Membership));
                if is_lost(&parcel) {
                    continue;
                }
                let to = |node: &&mut Node| node.address == parcel.to;
                if let Some(node) = self.nodes.values_mut().find(to) {
                    node.receive(self.now, parcel.from, &parcel.bytes);
                    parcels.extend(node.take_out());
                }
            }
        }
    }

    /// Some time passes, in which some datagrams are lost.
    pub(super) fn run_lossy_ms(&mut self, ms: u64, is_lost: &mut dyn FnMut(&Parcel) -> bool) {
        for _ in 0..(ms * 1_000).div_ceil(TICK_US) {
            let parcels = self.tick();
            self.deliver(parcels, is_lost);
        }
    }

    pub(super) fn run_ms(&mut self, ms: u64) {
        self.run_lossy_ms(ms, &mut |_| false);
    }

    /// Gives a node a datagram.
    pub(super) fn say(&mut self, to: u64, from: SocketAddr, datagram: &[u8]) {
        let now = self.now;
        self.node(to).receive(now, from, datagram);
    }

    /// Runs until something is so, for 20 seconds at most.
    pub(super) fn run_until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..20_000_000 / TICK_US {
            if is_so(self) {
                return;
            }
            self.run_ms(5);
        }
        panic!("not in 20 seconds: {what}");
    }

    /// What a later run of a member says, which is under the control of the test.
    pub(super) fn sealer(&self, actor: u64) -> Sealer {
        let Local {
            actor,
            incarnation,
            session,
            ..
        } = local(actor, 1_000);
        let sender = SenderId {
            actor,
            incarnation,
            session,
        };
        Sealer::new(&self.keys, CLUSTER, sender)
    }
}

/// A sealed datagram.
pub(super) fn seal(sealer: &mut Sealer, kind: Kind, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut datagram = Vec::new();
    let sealed = sealer.seal(&mut datagram, |body| {
        writer::head(body, kind);
        write(body);
    });
    sealed.unwrap();
    datagram
}
