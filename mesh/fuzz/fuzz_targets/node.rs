//! A mesh that a member of its cluster tells anything.
//!
//! The input is records: what is next (1 byte), the length of a body (2), the body. Bit 0 of the first byte:
//! a tick comes before it, bits 1 to 4: after a pause of so many steps of 7 ms. Bit 5: the body is from
//! somebody who is no member. Bit 6: there are hits of a key, and of an odd one they are forgiven. Bit 7: the
//! wall clock is set a minute back.
#![no_main]

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hivemind_mesh::book::ACTORS_MAX;
use hivemind_mesh::counters::Counters;
use hivemind_mesh::node::Mesh;
use hivemind_mesh::outbox::Outbox;
use hivemind_mesh::seal::{KeyRing, Sealer, SenderId};
use hivemind_mesh::settings::{Local, Randomness, Settings};
use hivemind_mesh::time::Now;
use hivemind_shared::fingerprint::Fingerprint;
use hivemind_shared::descriptor::Entry;
use hivemind_shared::region::{Name, Note};
use hivemind_shared::table::words::{Control, Count, Remote};
use hivemind_shared::table::{Beside, CountError, Key, Place, SlotReading};
use hivemind_shared::window::{Period, Unit, Window};
use libfuzzer_sys::fuzz_target;

const CLUSTER: &str = "fuzz";
const KEYS_MAX: usize = 32;
/// What a node says at once, whatever it was told, bytes.
const SAID_BYTES_MAX: usize = 64 << 10;

const RANDOM: Randomness = Randomness { seed: 7, hash_key: [8, 9] };

/// One key of this host, and what others are said to have counted.
#[derive(Default)]
struct Fake {
    hits: u32,
    unit: u8,
    now_s: u64,
    is_dirty: bool,
    remote: BTreeMap<(u64, u64, u32, u32), i64>,
}

impl Fake {
    fn reading(&self) -> SlotReading {
        let period = Period::from(Unit::from_code(self.unit % 7 + 1).unwrap());
        let window = period.window_at(self.now_s).number();
        SlotReading {
            key: Key { fingerprint: Fingerprint { high: 1, low: u64::from(self.unit % 7) }, period },
            place: Place { index: 0, life: Control::from_word(0).life() },
            local: Count::Hits { window, count: self.hits },
            previous: Count::Hits { window: window.saturating_sub(1), count: self.hits / 2 },
            remote: [Remote::Hits { window: 0, hits: 0 }; 2],
            rule: 0,
            is_of_peers: false,
            last_use_s: 0,
        }
    }
}

impl Counters for Fake {
    fn sweep(&mut self, visit: &mut dyn FnMut(&SlotReading)) {
        if std::mem::take(&mut self.is_dirty) {
            visit(&self.reading());
        }
    }

    fn scan(&mut self, visit: &mut dyn FnMut(&SlotReading)) {
        if self.hits > 0 {
            visit(&self.reading());
        }
    }

    fn read(&self, key: &Key) -> Option<SlotReading> {
        Some(self.reading()).filter(|reading| reading.key == *key)
    }

    fn put_remote(&mut self, key: &Key, window: Window, hits: i64) -> Result<(), CountError> {
        let Fingerprint { high, low } = key.fingerprint;
        let place = (high, low, key.period.code(), window.number());
        self.remote.insert(place, hits);
        Ok(())
    }

    fn put_forgiven(&mut self, key: &Key, window: Window, beside: Beside) -> Result<(), CountError> {
        self.put_remote(key, window, beside.hits())
    }

    fn name(&self, key: &Key) -> Option<Name> {
        let value = "v".repeat(usize::try_from(key.fingerprint.low % 1_000).unwrap());
        (self.reading().key == *key).then(|| Name::of(b"edge", &[Entry::new("key", &value)]))
    }

    fn lacks_name(&self, key: &Key) -> bool {
        self.reading().key != *key
    }

    fn put_name(&mut self, key: &Key, name: &Name) {
        // Nothing that was not asked for, and that is of counts that are known.
        let Fingerprint { high, low } = key.fingerprint;
        let from = (high, low, key.period.code(), 0);
        let known = self.remote.range(from..).next();
        assert!(known.is_some_and(|(there, _)| (there.0, there.1, there.2) == (high, low, from.2)));
        assert!(name.text().len() <= Name::TEXT_BYTES_MAX && name.pieces().count() > 0);
    }

    fn forgiven(&self) -> Vec<Note> {
        Vec::new()
    }

    fn periods(&self) -> &[Period] {
        &[]
    }

    fn limit(&self, _rule: u32) -> Option<u32> {
        Some(100)
    }
}

fn local(actor: u8) -> Local {
    Local {
        actor: actor.into(),
        incarnation: 1,
        session: 100 + u64::from(actor),
        address: ([10, 0, 0, actor], 7946).into(),
        name: format!("node {actor}"),
    }
}

struct Node {
    mesh: Mesh,
    counters: Fake,
    settings: Settings,
}

impl Node {
    fn new(actor: u8, keys: &KeyRing, now: Now) -> Self {
        let mut settings = Settings::new(CLUSTER);
        settings.keys_max = KEYS_MAX;
        let mut counters = Fake::default();
        let mesh = Mesh::new(settings.clone(), local(actor), keys, RANDOM, now, &mut counters);
        Self { mesh, counters, settings }
    }

    fn check(&self, now: Now, out: &Outbox) {
        let status = self.mesh.status(now);
        // Own keys have no bound but the region's: here one of each unit.
        assert!(status.keys <= KEYS_MAX + 7 && status.actors <= ACTORS_MAX);
        // What waits to be sent may be of keys that are gone by now.
        let backlog_max = (KEYS_MAX + 7) * ACTORS_MAX;
        assert!(status.peers.iter().all(|peer| peer.backlog <= backlog_max));
        let mut said_bytes = 0;
        for (bytes, to) in out.datagrams() {
            assert!(bytes.len() <= self.settings.datagram_bytes_max);
            said_bytes += bytes.len() * to.len();
        }
        assert!(said_bytes <= SAID_BYTES_MAX);
    }
}

fuzz_target!(|input: &[u8]| {
    let keys = KeyRing::open(CLUSTER);
    let mut now = Now { monotonic_us: 0, unix_us: 1_700_000_000_000_000 };
    let mut me = Node::new(1, &keys, now);
    let mut peer = Node::new(2, &keys, now);
    let (mut said, mut replies) = (Outbox::new(), Outbox::new());
    let [mine, theirs]: [SocketAddr; 2] = [local(1).address, local(2).address];
    peer.mesh.join(now, &[mine], &mut said);
    while !said.is_empty() {
        for (bytes, to) in said.datagrams() {
            let (node, from) = if to[0] == mine { (&mut me, theirs) } else { (&mut peer, mine) };
            let mut bytes = bytes.to_vec();
            node.mesh.receive(now, from, &mut bytes, &mut node.counters, &mut replies);
        }
        said.clear();
        std::mem::swap(&mut said, &mut replies);
    }
    assert_eq!(me.mesh.status(now).peers.len(), 1);

    // A later run of the peer, which says what the input has it say.
    let sealer = |actor, incarnation| Sealer::new(&keys, CLUSTER, SenderId { actor, incarnation, session: 1 });
    let (mut member, mut stranger) = (sealer(2, 2), sealer(3, 1));
    let mut rest = input;
    let mut out = Outbox::new();
    while let Some((&[next, low, high], after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes([low, high])).min(after.len());
        let (body, after) = after.split_at(length);
        rest = after;
        if next & 64 != 0 {
            me.counters.hits += u32::from(next >> 1 & 3);
            me.counters.unit = low;
            me.counters.now_s = now.unix_s();
            me.counters.is_dirty = true;
            if low & 1 != 0 {
                let key = me.counters.reading().key;
                me.mesh.forgive(now, &key, &mut me.counters);
            }
        }
        if next & 128 != 0 {
            now.unix_us -= 60_000_000;
        }
        if next & 1 != 0 {
            let pause_us = u64::from(next >> 1 & 15) * 7_000;
            now = Now { monotonic_us: now.monotonic_us + pause_us, unix_us: now.unix_us + pause_us };
            me.mesh.tick(now, &mut me.counters, &mut out);
            me.check(now, &out);
            out.clear();
        }
        let (from, sealer) = if next & 32 == 0 {
            (theirs, &mut member)
        } else {
            (([10, 0, 0, 3], 7946).into(), &mut stranger)
        };
        let mut datagram = Vec::new();
        sealer.seal(&mut datagram, |buffer| buffer.extend_from_slice(body)).unwrap();
        me.mesh.receive(now, from, &mut datagram, &mut me.counters, &mut out);
        me.check(now, &out);
        out.clear();
    }
    me.mesh.leave(now, &mut me.counters, &mut out);
    me.check(now, &out);
});
