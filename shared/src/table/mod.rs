//! The counter table: a hash table in shared memory that any number of threads and processes search,
//! fill and count in at once, without a lock, and that a process killed at any instruction leaves
//! usable.
//!
//! The argument is in SPECIFICATION.md ("The slot algorithm"); in short:
//!
//! * A slot belongs to the key in its **control word**, and that word changes by compare-and-swap
//!   alone. A key's hits are in one **local word** together with their window, and that word changes
//!   by compare-and-swap alone. So a hit is either counted for the right key and window or the swap
//!   fails and is tried again (I1).
//! * A slot is taken from an expired key by first *ending* its local word: from then on no hit can be
//!   added for the old key, and one that was added before makes the ending fail (I1).
//! * When every slot counts, the key that is lost with the least harm is *evicted* in the same way. Words
//!   of different lives of a slot are never equal, so a thread that slept over it adds nothing to its
//!   successor (I1).
//! * A key claims a slot tentatively, then looks through all the slots it may live in for another
//!   claim of the same key, and only then makes its own live. Of two claims the one earlier in the
//!   key's search order wins, and whoever sees it helps it (I2).
//! * Nobody waits: what a killed process leaves half done is either completed by the next one that
//!   wants the same key or taken over by one that wants the slot (I3, I4).

mod claim;
mod claimant;
mod count;
pub mod dirty;
mod gate;
mod probe;
mod remote;
mod slot;
mod usage;
pub mod words;

use crate::fingerprint::Fingerprint;
use crate::sync::{AtomicWord, Ordering, Word};
use crate::window::{Period, Window};
pub use claimant::Claimant;
pub use gate::{Gate, Open, Tally};
use probe::Bucket;
pub use remote::{Beside, Put};
pub use slot::Slot;
pub use usage::{NO_RULE, Share, Source, Usage};
use words::{Control, Count, Life, Remote, State};

/// Slots in a bucket; a key may live in two buckets.
pub const BUCKET_SLOTS: usize = 16;

/// A key and the period it is counted in. The period is part of what the fingerprint was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The key's identity.
    pub fingerprint: Fingerprint,
    /// The length of its windows.
    pub period: Period,
}

/// The outcome of counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The window the hits landed in.
    pub window: Window,
    /// This host's hits in that window before these.
    pub before: u64,
    /// This host's hits in that window after these.
    pub after: u64,
    /// What peers have reported for that window, less what was forgiven in it.
    pub remote: i64,
    /// Hits in the window before that one, here and by peers, less what was forgiven; 0 when no gate had to look at them.
    pub previous: u64,
    /// Whether the gate did not admit the hits, so that only those were added that it charged.
    pub refused: bool,
    /// The slot counted in; `None` when the key has none and nothing was to be added.
    pub slot: Option<Place>,
}

impl Counted {
    /// Hits that counted in that window before these, everywhere.
    #[inline]
    pub const fn total_before(&self) -> u64 {
        self.before.saturating_add_signed(self.remote)
    }

    /// Hits that count in that window with these, everywhere.
    #[inline]
    pub const fn total_after(&self) -> u64 {
        self.after.saturating_add_signed(self.remote)
    }
}

/// A slot, in one of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its number.
    pub index: usize,
    /// The life.
    pub life: Life,
}

/// Why a hit could not be counted. Nothing was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CountError {
    /// Every slot the key may live in holds another key that does not give it up.
    #[error("no slot for a new key: all of them hold keys that are worth more")]
    Full,
    /// Others changed the slot again and again in between. Each time somebody else got further, so
    /// this is either a very hot key on very many threads, or a process that writes garbage.
    #[error("gave up counting after others changed the slot too many times in a row")]
    Contended,
}

/// What one slot holds, as a reader saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotReading {
    /// Whose slot it is.
    pub key: Key,
    /// Which slot it was, in which of its lives.
    pub place: Place,
    /// This host's newest window and its count.
    pub local: Count,
    /// This host's window before that.
    pub previous: Count,
    /// What peers reported, less what was forgiven, for even and for odd windows.
    pub remote: [Remote; 2],
    /// Statistics index of the rule that decided last.
    pub rule: u32,
    /// Whether only peers have asked for the key.
    pub is_of_peers: bool,
    /// When the slot was last counted in, Unix seconds.
    pub last_use_s: u32,
}

impl SlotReading {
    /// This host's hits in a window, as far as the slot still has them.
    pub fn local_in(&self, window: u32) -> u32 {
        let kept = self.previous.within(window);
        self.local.within(window).max(kept)
    }

    /// The same, where it is known.
    pub const fn known_remote_in(&self, window: u32) -> Option<i64> {
        match self.remote[window as usize & 1] {
            Remote::Hits {
                window: found,
                hits,
            } if found == window => Some(hits),
            Remote::Hits { .. } | Remote::Ended => None,
        }
    }

    /// What peers reported for a window, less what was forgiven in it.
    pub const fn remote_in(&self, window: u32) -> i64 {
        self.remote[window as usize & 1].within(window)
    }

    /// The windows that may count for anything at a time: the one before, the present and the next one, in
    /// which hosts are whose clocks are ahead.
    pub fn near_windows(&self, now_s: u64) -> impl Iterator<Item = Window> + use<> {
        let period = self.key.period;
        let now = period.window_at(now_s).number();
        (now.saturating_sub(1)..=now.saturating_add(1)).map(move |number| period.window(number))
    }

    /// Hits that count in a window, everywhere.
    pub fn total_in(&self, window: u32) -> u64 {
        u64::from(self.local_in(window)).saturating_add_signed(self.remote_in(window))
    }

    /// Whether anything counts in the key's window at a time.
    pub fn counts_at(&self, now_s: u64) -> bool {
        let current = self.key.period.window_at(now_s).number();
        self.local.within(current) > 0 || self.remote_in(current) > 0
    }

    /// Statistics index of the rule that decided last; `None` when the request brought its own limit.
    pub fn rule_stats_index(&self) -> Option<u32> {
        (self.rule != NO_RULE).then_some(self.rule)
    }
}

/// The slots of a region, or of a test.
#[derive(Debug)]
pub struct Table<'r, W = AtomicWord, const BUCKET: usize = BUCKET_SLOTS> {
    slots: &'r [Slot<W>],
    buckets: u32,
}

impl<W, const BUCKET: usize> Clone for Table<'_, W, BUCKET> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W, const BUCKET: usize> Copy for Table<'_, W, BUCKET> {}

/// A slot found to belong to a key, and the control word that said so.
#[derive(Clone, Copy, Debug)]
struct Located {
    index: usize,
    control: Control,
}

impl<'r, W: Word, const BUCKET: usize> Table<'r, W, BUCKET> {
    /// A table over these slots: whole buckets, two at least. `None` for any other number.
    pub fn new(slots: &'r [Slot<W>]) -> Option<Self> {
        let buckets = u32::try_from(slots.len() / BUCKET).ok()?;
        (slots.len().is_multiple_of(BUCKET) && buckets >= 2).then_some(Self { slots, buckets })
    }

    /// Finds the live slot of a key. Touches at most two buckets.
    #[inline]
    fn find(&self, key: &Key) -> Option<Located> {
        self.find_in(key, Bucket::first(key.fingerprint, self.buckets))
            .or_else(|| self.find_in_second(key))
    }

    /// Few keys are there.
    #[inline(never)]
    fn find_in_second(&self, key: &Key) -> Option<Located> {
        self.find_in(key, Bucket::second(key.fingerprint, self.buckets))
    }

    #[inline(always)]
    fn find_in(&self, key: &Key, bucket: Bucket<BUCKET>) -> Option<Located> {
        for index in bucket.slots() {
            let slot = &self.slots[index];
            // Acquire, pairs with PROMOTE: whoever sees the slot live sees its identity.
            let control = Control::from_word(slot.control.load(Ordering::Acquire));
            if control == Control::EMPTY {
                return None;
            }
            if control.state() == State::Live
                && control.tags(key.fingerprint)
                && self.identifies(slot, control.life(), key)
            {
                return Some(Located { index, control });
            }
        }
        None
    }

    /// Whether the identity words of a slot are this key's, written in this life.
    #[inline]
    fn identifies(&self, slot: &Slot<W>, life: Life, key: &Key) -> bool {
        // Relaxed: the caller's acquire of the control word ordered these; words of another life do
        // not compare equal.
        slot.identity.load(Ordering::Relaxed) == words::identity(life, key.fingerprint)
            && slot.shape.load(Ordering::Relaxed) == words::shape(life, key.fingerprint, key.period)
    }

    /// Reads a slot, if it is live, for people and for the daemon; never writes.
    ///
    /// The words are read one by one while others write; a slot that changes hands meanwhile reads as
    /// `None`.
    pub fn read(&self, index: usize) -> Option<SlotReading> {
        let slot = self.slots.get(index)?;
        // Acquire, pairs with PROMOTE.
        let control = Control::from_word(slot.control.load(Ordering::Acquire));
        if control.state() != State::Live {
            return None;
        }
        // Acquire each, so that the second look at the control word comes after them.
        let identity = slot.identity.load(Ordering::Acquire);
        let shape = slot.shape.load(Ordering::Acquire);
        let life = control.life();
        // SeqCst, pairs with COUNT: see `dirty`.
        let local = Count::from_word(slot.local.load(Ordering::SeqCst), life);
        let previous = Count::from_word(slot.previous.load(Ordering::Acquire), life);
        let remote = [
            Remote::from_word(slot.remote[0].load(Ordering::Acquire), 0, life),
            Remote::from_word(slot.remote[1].load(Ordering::Acquire), 1, life),
        ];
        let usage = Usage::from_word(slot.usage.load(Ordering::Acquire));
        let same_life = words::life_of(identity) == life && words::life_of(shape) == life;
        if !same_life || slot.control.load(Ordering::Relaxed) != control.word() {
            return None;
        }
        if local == Count::Ended {
            return None;
        }
        Some(SlotReading {
            key: Key {
                fingerprint: words::fingerprint(control, identity, shape),
                period: words::period_of(shape)?,
            },
            place: Place { index, life },
            local,
            previous,
            remote,
            rule: usage.source.stats_index(),
            is_of_peers: usage.source == Source::PEERS,
            last_use_s: usage.last_use_s,
        })
    }

    /// Where the slot of a key is; `None` when it has none.
    pub fn place(&self, key: &Key) -> Option<Place> {
        let located = self.find(key)?;
        Some(Place {
            index: located.index,
            life: located.control.life(),
        })
    }

    /// Reads the slot of a key; `None` when it has none.
    pub fn read_key(&self, key: &Key) -> Option<SlotReading> {
        let reading = self.read(self.find(key)?.index)?;
        (reading.key == *key).then_some(reading)
    }

    /// Slots in the table.
    pub fn slot_count(&self) -> usize {
        self.slots.len()
    }

    /// Notes what the last hits of a key say about its use; a few writes a second at most.
    #[inline]
    pub fn note_usage(&self, index: usize, usage: Usage) {
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        // Relaxed all: advisory, orders nothing.
        let found = slot.usage.load(Ordering::Relaxed);
        if !usage.is_noted_in(found) {
            self.note_new_usage(slot, found, usage.after(found));
        }
    }

    #[inline(never)]
    fn note_new_usage(&self, slot: &Slot<W>, found: u64, usage: Usage) {
        let found = Usage::from_word(found);
        // Hits under a limit of a request do not make the key of a rule one that is given up first.
        let kept = if usage.source == Source::REQUEST && found.source.is_rule() {
            Usage {
                last_use_s: usage.last_use_s,
                since_ms: usage.since_ms,
                ..found
            }
        } else {
            usage
        };
        slot.usage.store(kept.word(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, ManualClock};
    use crate::window::Unit;

    #[test]
    fn a_slot_whose_life_was_ended_reads_as_nobodys() {
        let slots: Vec<Slot> = (0..32).map(|_| Slot::default()).collect();
        let table: Table<'_> = Table::new(&slots).unwrap();
        let clock = ManualClock::at(1_800_000_000);
        let key = Key {
            fingerprint: Fingerprint { high: 1, low: 2 },
            period: Unit::Hour.into(),
        };
        table
            .count(&key, 1, clock.now_s(), &clock, |_, _| {})
            .unwrap();
        let place = table.place(&key).unwrap();
        assert!(table.read(place.index).is_some());
        // As whoever takes the slot does first.
        let ended = Count::Ended.word(place.life);
        slots[place.index].local.store(ended, Ordering::Relaxed);
        assert_eq!(table.read(place.index), None);
        assert_eq!(table.read_key(&key), None);
    }
}
