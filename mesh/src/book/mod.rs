//! What everybody counted, as far as this node knows: for each key and window, one number an actor.
//!
//! The numbers only ever grow, and two reports of one number merge to the larger. So it does not matter
//! how often, in which order or by which way a report comes: a grow-only counter, as a CRDT.
//!
//! Windows end by this host's clock. The previous, the current and the next one are kept apart from each
//! other; what is older or newer is not taken in, and forgotten where it is. The previous and the next one
//! share a place, which the next one takes once anybody has counted in it: its counts are needed soon, and
//! nothing depends on the others any more.

mod actors;
mod digest;
mod entry;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use hivemind_shared::table::words::{Count, Remote};
use hivemind_shared::table::{Key, SlotReading};
use hivemind_shared::window::Period;

use actors::Actors;
pub use actors::{ActorIndex, FORGIVEN, OWN};
pub use digest::{Group, part_of};
pub use entry::{Entry, Half, Own};

use crate::wire::sections::DigestGroup;

/// Actors with live counts at most. Beyond it, counts of new ones are dropped until windows have ended.
pub const ACTORS_MAX: usize = 4_096;

/// How long counts must not have changed for what is known of them to be compared, seconds.
const SETTLED_S: u64 = 1;

/// Entries looked at for expiry in one go.
const EXPIRE_STEP: usize = 256;

/// The number of a key's entry; good until the entry expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(u32);

impl KeyId {
    fn place(self) -> usize {
        self.0 as usize
    }
}

/// Fingerprints are hashes already, and keyed: no need to hash them again.
#[derive(Debug, Default)]
struct FingerprintHasher(u64);

impl Hasher for FingerprintHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = self.0.rotate_left(5) ^ number;
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number.unsigned_abs() as u64);
    }
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    /// It is news.
    News {
        /// The key.
        key: KeyId,
        /// Hits that were not known.
        growth: u32,
    },
    /// It was known already.
    Known,
    /// The window is over, or not near yet, or there are counts of the next one in its place.
    OutsideWindows,
    /// There are as many keys as there is room for.
    NoRoom,
}

/// Every count that is known.
#[derive(Debug)]
pub struct Book {
    ids: HashMap<Key, KeyId, BuildHasherDefault<FingerprintHasher>>,
    entries: Vec<Option<Entry>>,
    free: Vec<KeyId>,
    actors: Actors,
    keys_max: usize,
    expiry_cursor: usize,
}

/// Whether counts of a window matter at a time: the previous, the current and the next one.
pub fn is_near(period: Period, window: u32, now_s: u64) -> bool {
    period.window_at(now_s).number().abs_diff(window) <= 1
}

impl Book {
    /// An empty one, for this many keys.
    pub fn new(own_actor: u64, keys_max: usize) -> Self {
        Self {
            ids: HashMap::default(),
            entries: Vec::new(),
            free: Vec::new(),
            actors: Actors::new(own_actor),
            keys_max,
            expiry_cursor: 0,
        }
    }

    /// An entry.
    pub fn entry(&self, id: KeyId) -> Option<&Entry> {
        self.entries.get(id.place())?.as_ref()
    }

    /// An entry, to change how it is sent.
    pub fn entry_mut(&mut self, id: KeyId) -> Option<&mut Entry> {
        self.entries.get_mut(id.place())?.as_mut()
    }

    /// Every entry there is.
    pub fn iter(&self) -> impl Iterator<Item = (KeyId, &Entry)> {
        self.entries
            .iter()
            .enumerate()
            .filter_map(|(place, entry)| {
                let id = KeyId(u32::try_from(place).ok()?);
                Some((id, entry.as_ref()?))
            })
    }

    /// How many keys there are.
    pub fn key_count(&self) -> usize {
        self.ids.len()
    }

    /// The place of an actor, if it has any counts.
    pub fn actor(&self, actor: u64) -> Option<ActorIndex> {
        self.actors.find(actor)
    }

    /// The id of an actor.
    pub fn actor_id(&self, actor: ActorIndex) -> Option<u64> {
        self.actors.id(actor)
    }

    /// Every actor with counts, this node included.
    pub fn actors(&self) -> impl Iterator<Item = (ActorIndex, u64)> {
        self.actors.iter()
    }

    /// A place for an actor that reports counts; `None` when there are too many.
    pub fn actor_or_new(&mut self, actor: u64) -> Option<ActorIndex> {
        self.actors.find_or_add(actor)
    }

    /// The sums of an actor's counts in the windows near a time.
    pub fn digest(&self, actor: ActorIndex, now_s: u64) -> Vec<DigestGroup> {
        let groups = self.actors.groups(actor).iter();
        groups
            .filter(|group| is_near(group.period, group.window, now_s))
            .map(|group| DigestGroup {
                period: group.period,
                window: group.window,
                sums: group.sums,
            })
            .collect()
    }

    /// Whether nothing of a group has changed for a while.
    pub fn is_settled(&self, actor: ActorIndex, group: &DigestGroup, now_s: u64) -> bool {
        let is_it = |there: &&Group| there.period == group.period && there.window == group.window;
        let found = self.actors.groups(actor).iter().find(is_it);
        found.is_none_or(|there| now_s.abs_diff(there.changed_s) > SETTLED_S)
    }

    /// A hash of an actor's sums in the windows near a time; 0 when it has no counts.
    pub fn summary(&self, actor_id: u64, now_s: u64) -> u32 {
        let Some(actor) = self.actor(actor_id) else {
            return 0;
        };
        let groups = self.actors.groups(actor).iter();
        groups
            .filter(|group| is_near(group.period, group.window, now_s))
            .fold(0, |sum, group| sum ^ group.summary())
    }

    /// Notes what this host counted for a key, as its slot has it. Returns the key if any of it is news.
    pub fn note_slot(&mut self, now_s: u64, reading: &SlotReading) -> Option<KeyId> {
        let key = &reading.key;
        let mut news = None;
        let Count::Hits { window, count } = reading.local else {
            return None;
        };
        if let Count::Hits {
            window: previous,
            count,
        } = reading.previous
            && previous < window
            && !self.started_over(key, previous)
        {
            news = self.note_own(now_s, key, previous, count);
        }
        let local = self.note_own(now_s, key, window, count).or(news);
        if let Some(entry) = local.and_then(|id| self.entry_mut(id)) {
            entry.own.rule = reading.rule;
        }
        local
    }

    /// Whether a slot started over in a window: what it kept of that window from before is no news then.
    fn started_over(&self, key: &Key, window: u32) -> bool {
        let id = self.ids.get(key).copied();
        id.and_then(|id| self.entry(id)?.half(window))
            .is_some_and(Half::started_over)
    }

    fn note_own(&mut self, now_s: u64, key: &Key, window: u32, local: u32) -> Option<KeyId> {
        if !is_near(key.period, window, now_s) || (local == 0 && !self.ids.contains_key(key)) {
            return None;
        }
        // Slots bound this host's own keys already; no need to turn one away.
        let id = self.id_or_new(key, usize::MAX)?;
        let entry = self.entries.get_mut(id.place())?.as_mut()?;
        let half = open_half(entry, window, now_s, &mut self.actors)?;
        let before = half.own;
        half.note_local(local);
        let after = half.own;
        if after == before {
            return None;
        }
        self.actors.change(OWN, key, window, before, after, now_s);
        Some(id)
    }

    /// Takes in what an actor is reported to have counted for a key in a window.
    pub fn merge(
        &mut self,
        now_s: u64,
        actor: ActorIndex,
        key: &Key,
        window: u32,
        count: u32,
    ) -> Merged {
        if !is_near(key.period, window, now_s) {
            return Merged::OutsideWindows;
        }
        if count == 0 {
            return Merged::Known;
        }
        let Some(id) = self.id_or_new(key, self.keys_max) else {
            return Merged::NoRoom;
        };
        let Some(entry) = self.entries.get_mut(id.place()).and_then(Option::as_mut) else {
            return Merged::NoRoom;
        };
        let Some(half) = open_half(entry, window, now_s, &mut self.actors) else {
            return Merged::OutsideWindows;
        };
        let before = half.raise(actor, count);
        if before >= count {
            return Merged::Known;
        }
        self.actors.change(actor, key, window, before, count, now_s);
        Merged::News {
            key: id,
            growth: count - before,
        }
    }

    /// Forgives every hit that is known to be counted for a key in a window, by what its slot and the others
    /// say. `None` if that is no news, or the window is not near.
    pub fn forgive(&mut self, now_s: u64, reading: &SlotReading, window: u32) -> Option<KeyId> {
        // What was counted since the last sweep.
        self.note_slot(now_s, reading);
        let half = || self.entry(*self.ids.get(&reading.key)?)?.half(window);
        let here = reading.total_in(window);
        let all = half().map_or_else(|| Half::of(window).all(here), |half| half.all(here));
        match self.merge(now_s, FORGIVEN, &reading.key, window, all) {
            Merged::News { key, .. } => Some(key),
            Merged::Known | Merged::OutsideWindows | Merged::NoRoom => None,
        }
    }

    /// Notes what a slot says was forgiven before this run: at least what brings its count below zero.
    pub fn restore_forgiven(&mut self, now_s: u64, reading: &SlotReading) {
        for remote in reading.remote {
            if let Remote::Hits { window, hits } = remote
                && hits < 0
            {
                let forgiven = u32::try_from(hits.unsigned_abs()).unwrap_or(u32::MAX);
                self.merge(now_s, FORGIVEN, &reading.key, window, forgiven);
            }
        }
    }

    fn id_or_new(&mut self, key: &Key, keys_max: usize) -> Option<KeyId> {
        if let Some(&id) = self.ids.get(key) {
            return Some(id);
        }
        if self.ids.len() >= keys_max {
            return None;
        }
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                let id = KeyId(u32::try_from(self.entries.len()).ok()?);
                self.entries.push(None);
                id
            }
        };
        *self.entries.get_mut(id.place())? = Some(Entry::new(*key));
        self.ids.insert(*key, id);
        Some(id)
    }

    /// Forgets what is over; a little at each call.
    pub fn expire(&mut self, now_s: u64) {
        for _ in 0..EXPIRE_STEP.min(self.entries.len()) {
            self.expiry_cursor = (self.expiry_cursor + 1) % self.entries.len();
            let Ok(place) = u32::try_from(self.expiry_cursor) else {
                continue;
            };
            let slot = &mut self.entries[self.expiry_cursor];
            let is_over = slot
                .as_ref()
                .is_some_and(|entry| !entry.is_queued() && !entry.is_live(now_s));
            if is_over && let Some(entry) = slot.take() {
                self.ids.remove(&entry.key);
                self.free.push(KeyId(place));
            }
        }
    }

    /// Sums everything up again: after the clock was set, windows may matter again that were over.
    pub fn sum_up(&mut self, now_s: u64) {
        self.actors.clear_groups();
        for entry in self.entries.iter().flatten() {
            for half in &entry.halves {
                let Some(window) = half.window else { continue };
                if is_near(entry.key.period, window, now_s) {
                    for (actor, count) in half.counts() {
                        self.actors.change(actor, &entry.key, window, 0, count, 0);
                    }
                }
            }
        }
    }

    /// Forgets windows that are over, and actors that have none left. Call it once a second.
    pub fn expire_groups(&mut self, now_s: u64, keep: impl Fn(u64) -> bool) {
        let gone = self.actors.expire(now_s, keep);
        if gone.is_empty() {
            return;
        }
        // Their numbers will be given to other actors.
        for entry in self.entries.iter_mut().flatten() {
            for half in &mut entry.halves {
                half.forget(&gone);
            }
        }
    }
}

/// The half of an entry that is for a window, which is near; what was there of another window is dropped,
/// unless that one is near and later.
fn open_half<'e>(
    entry: &'e mut Entry,
    window: u32,
    now_s: u64,
    actors: &mut Actors,
) -> Option<&'e mut Half> {
    let key = entry.key;
    let half = &mut entry.halves[window as usize & 1];
    if half.window != Some(window) {
        // Of two near windows that share a half, one is the previous and one the next. What the sums of
        // an ended window say must go with what they are the sums of.
        if let Some(old) = half.window
            && is_near(key.period, old, now_s)
        {
            if old > window {
                return None;
            }
            for (actor, count) in half.counts() {
                actors.change(actor, &key, old, count, 0, now_s);
            }
        }
        *half = Half::of(window);
    }
    Some(half)
}
