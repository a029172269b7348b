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
mod keyed_hash;
mod set_aside;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::HashMap;

use hivemind_shared::table::words::{Count, Remote};
use hivemind_shared::table::{Key, Place, SlotReading};
use hivemind_shared::window::Period;

use actors::Actors;
pub use actors::{ActorIndex, FORGIVEN, OWN};
pub use digest::{Group, part_of};
pub use entry::{Entry, Half, Own};
use keyed_hash::KeyedHash;
use set_aside::SetAside;

use crate::time::Now;
use crate::wire::sections::DigestGroup;

/// Actors with live counts at most. Beyond it, counts of new ones are dropped until windows have ended.
pub const ACTORS_MAX: usize = 4_096;

/// How long counts must not have changed for what is known of them to be compared, seconds.
const SETTLED_S: u64 = 1;

/// Entries looked at when a key needs room.
const EVICTION_LOOKS: usize = 64;

/// Keys that this host may have counted itself, as a multiple of those it takes in from peers.
const OWN_KEYS_FACTOR: usize = 2;

/// How long nothing must have been heard of a key before it gives way to another one, seconds.
const STALE_S: u64 = 60;

/// How often it is looked which counts that were set aside are over, seconds.
const SET_ASIDE_LOOK_S: u64 = 64;

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
    ids: HashMap<Key, KeyId, KeyedHash>,
    entries: Vec<Option<Entry>>,
    free: Vec<KeyId>,
    actors: Actors,
    keys_max: usize,
    expiry_cursor: usize,
    eviction_cursor: usize,
    is_crowded: bool,
    set_aside: SetAside,
}

/// Whether counts of a window matter at a time: the previous, the current and the next one.
pub fn is_near(period: Period, window: u32, now_s: u64) -> bool {
    period.window_at(now_s).number().abs_diff(window) <= 1
}

impl Book {
    /// An empty one, for this many keys of peers. Nobody else may know the hash key.
    pub fn new(own_actor: u64, keys_max: usize, hash_key: [u64; 2]) -> Self {
        Self {
            ids: HashMap::with_hasher(KeyedHash::new(hash_key)),
            entries: Vec::new(),
            free: Vec::new(),
            actors: Actors::new(own_actor),
            keys_max,
            expiry_cursor: 0,
            eviction_cursor: 0,
            is_crowded: false,
            set_aside: SetAside::default(),
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

    /// The entries in so many places from one on, and the place after them; `None` behind the last one.
    pub fn part(
        &self,
        from: usize,
        places: usize,
    ) -> (impl Iterator<Item = (KeyId, &Entry)>, Option<usize>) {
        let end = from.saturating_add(places).min(self.entries.len());
        let from = from.min(end);
        let part = self.entries[from..end].iter().enumerate();
        let entries = part.filter_map(move |(place, entry)| {
            let id = KeyId(u32::try_from(from + place).ok()?);
            Some((id, entry.as_ref()?))
        });
        (entries, (end < self.entries.len()).then_some(end))
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

    /// A place for an actor that reports counts, which is a member or not; `None` when there are too many. There
    /// is always room for members.
    pub fn actor_or_new(&mut self, actor: u64, is_member: bool) -> Option<ActorIndex> {
        self.actors.find_or_add(actor, is_member)
    }

    /// The sums of an actor's counts in the windows near a time.
    pub fn digest(&self, actor: ActorIndex, now_s: u64) -> Vec<DigestGroup> {
        let groups = self.actors.groups(actor);
        groups
            .filter(|group| is_near(group.period, group.window, now_s))
            .map(|group| DigestGroup {
                period: group.period,
                window: group.window,
                sums: group.sums,
            })
            .collect()
    }

    /// The sums of an actor's counts of a period in a window, if it has any.
    pub fn group(&self, actor: ActorIndex, period: Period, window: u32) -> Option<&Group> {
        self.actors.group(actor, period, window)
    }

    /// How many places there are for entries.
    pub fn places(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing of a group has changed for a while.
    pub fn is_settled(&self, actor: ActorIndex, group: &DigestGroup, now_s: u64) -> bool {
        let found = self.actors.group(actor, group.period, group.window);
        found.is_none_or(|there| now_s.abs_diff(there.changed_s) > SETTLED_S)
    }

    /// A hash of an actor's sums in the windows near a time; 0 when it has no counts.
    pub fn summary(&self, actor_id: u64, now_s: u64) -> u32 {
        let Some(actor) = self.actor(actor_id) else {
            return 0;
        };
        let groups = self.actors.groups(actor);
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
        self.note_place(key, reading.place);
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
            entry.place = Some(reading.place);
        }
        local
    }

    /// Notes where a key is counted. In another slot than before, or in another life of it, it was evicted
    /// meanwhile and counts from 0.
    fn note_place(&mut self, key: &Key, place: Place) {
        let id = self.ids.get(key).copied();
        let Some(entry) = id.and_then(|id| self.entry_mut(id)) else {
            return;
        };
        if entry.place.is_some_and(|before| before != place) {
            entry.halves.iter_mut().for_each(Half::note_eviction);
        }
        entry.place = Some(place);
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
        let id = self.own_id(key, now_s)?;
        let entry = self.entries.get_mut(id.place())?.as_mut()?;
        let half = open_half(entry, window, now_s, &mut self.actors)?;
        let before = half.own;
        half.note_local(local);
        let after = half.own;
        if after == before {
            return None;
        }
        entry.changed_s = now_s;
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
        let Some(id) = self.id_or_evict(key, now_s) else {
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
        entry.changed_s = now_s;
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

    /// Whether there was no room for a key since the last call, or room had to be made.
    pub fn take_crowded(&mut self) -> bool {
        std::mem::take(&mut self.is_crowded)
    }

    /// The number of a key that a peer reports. When there are too many keys, the one of which nothing was heard
    /// for longest gives way, among a few: what is stale, and whatever somebody has filled the book with, keeps
    /// nothing new out for long.
    fn id_or_evict(&mut self, key: &Key, now_s: u64) -> Option<KeyId> {
        if let Some(id) = self.id_or_new(key, self.keys_max) {
            return Some(id);
        }
        self.is_crowded = true;
        self.evict(now_s, |entry| {
            let is_stale = entry.changed_s.abs_diff(now_s) >= STALE_S;
            (is_stale && !entry.is_own()).then_some(entry.changed_s)
        })?;
        self.id_or_new(key, self.keys_max)
    }

    /// The number of a key that this host counts. Its slots bound how many there are at a time; of keys that were
    /// evicted from them, and came from everywhere, those with the fewest hits give way.
    fn own_id(&mut self, key: &Key, now_s: u64) -> Option<KeyId> {
        let keys_max = self.keys_max.saturating_mul(OWN_KEYS_FACTOR);
        if let Some(id) = self.id_or_new(key, keys_max) {
            return Some(id);
        }
        self.is_crowded = true;
        self.evict(now_s, |entry| {
            let near = entry
                .halves
                .iter()
                .filter(|half| half.is_near(&entry.key, now_s));
            Some((near.map(Half::total).max(), entry.changed_s))
        })?;
        self.id_or_new(key, keys_max)
    }

    /// Forgets the key of the smallest rank among a few that do not wait to be sent.
    fn evict<R: Ord>(&mut self, now_s: u64, rank: impl Fn(&Entry) -> Option<R>) -> Option<()> {
        if self.entries.is_empty() {
            return None;
        }
        let looked_at =
            (1..=EVICTION_LOOKS).map(|step| (self.eviction_cursor + step) % self.entries.len());
        let ranked = looked_at.filter_map(|place| {
            let entry = self.entries[place].as_ref()?;
            let rank = rank(entry).filter(|_| !entry.is_queued())?;
            Some((rank, place))
        });
        let least = ranked.min();
        self.eviction_cursor = (self.eviction_cursor + EVICTION_LOOKS) % self.entries.len();
        let (_, place) = least?;
        let entry = self.entries[place].take()?;
        for half in &entry.halves {
            let Some(window) = half.window else { continue };
            if half.is_near(&entry.key, now_s) {
                for (actor, count) in half.counts() {
                    self.actors
                        .change(actor, &entry.key, window, count, 0, now_s);
                }
            }
        }
        self.ids.remove(&entry.key);
        self.free.push(KeyId(u32::try_from(place).ok()?));
        Some(())
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

    /// Notes that the clock was set from `then` to `now`. What this host counted in windows that mattered then,
    /// and do not now, is set aside; what was set aside before and matters again is taken back. Returns the
    /// keys and windows of the latter. `read` reads a key's slot.
    pub fn set_clock(
        &mut self,
        then: Now,
        now: Now,
        read: impl Fn(&Key) -> Option<SlotReading>,
    ) -> Vec<(KeyId, u32)> {
        let (then_s, now_s) = (then.unix_s(), now.unix_s());
        for entry in self.entries.iter().flatten() {
            for half in &entry.halves {
                let key = &entry.key;
                if half.own > 0 && half.is_near(key, then_s) && !half.is_near(key, now_s) {
                    self.set_aside.put(key, half, then);
                }
            }
        }
        let mut taken_back = Vec::new();
        for (key, window, own_part) in self.set_aside.take(now) {
            let local = read(&key).map_or(0, |reading| reading.local_in(window));
            let Some(id) = self.id_or_new(&key, usize::MAX) else {
                continue;
            };
            if let Some(entry) = self.entries.get_mut(id.place()).and_then(Option::as_mut)
                && let Some(half) = open_half(entry, window, now_s, &mut self.actors)
            {
                half.take_back(&own_part);
                half.note_local(local);
                taken_back.push((id, window));
            }
        }
        self.sum_up(now_s);
        taken_back
    }

    /// Sums everything up again: after the clock was set, windows may matter again that were over.
    fn sum_up(&mut self, now_s: u64) {
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
    pub fn expire_groups(&mut self, now: Now, keep: impl Fn(u64) -> bool) {
        let now_s = now.unix_s();
        if now_s.is_multiple_of(SET_ASIDE_LOOK_S) {
            self.set_aside.expire(now);
        }
        let mut gone = self.actors.expire(now_s, keep);
        if gone.is_empty() {
            return;
        }
        gone.sort_unstable();
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
